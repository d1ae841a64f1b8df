"""The place of a process in a cluster of the engine, and the port of its exporter."""

import socket

import pytest

from configs.load import load
from flows import cluster
from flows.cluster import ALONE, Place, place_of_command
from flows.fusion import build
from ops.fakes.ports import free_port
from sinks.exporter.server import HttpPortError
from sources.host.shutdown import Shutdown

TWO = "127.0.0.1:2101;127.0.0.1:2102"


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        (["flows.fusion"], {}, ALONE),
        (["flows.fusion", "-i", "1", "-a", TWO], {}, Place(1, TWO)),
        (["-i1", f"--addresses={TWO}", "flows.fusion", "-r", "db"], {}, Place(1, TWO)),
        (["flows.fusion"], {"BYTEWAX_PROCESS_ID": "1", "BYTEWAX_ADDRESSES": TWO}, Place(1, TWO)),
        (["flows.fusion", "-i", "one"], {}, ALONE),
    ],
)
def test_the_place_is_that_of_the_engines_command(monkeypatch, arguments, environ, expected):
    for name in ("BYTEWAX_PROCESS_ID", "BYTEWAX_ADDRESSES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["run.py", *arguments])
    monkeypatch.setattr(cluster, "is_engine_command", lambda: True)
    assert place_of_command() == expected


def test_arguments_of_another_program_are_no_place(monkeypatch):
    monkeypatch.delenv("BYTEWAX_PROCESS_ID", raising=False)
    monkeypatch.delenv("BYTEWAX_ADDRESSES", raising=False)
    monkeypatch.setattr("sys.argv", ["lumen", "-i", "1", "-a", TWO])
    assert place_of_command() == ALONE


def test_each_process_has_a_port_for_its_exporter(tmp_path):
    recording = tmp_path / "r.ndjson"
    recording.write_text('{"ts": 1.0, "source": "a", "key": "x", "value": 1.0}\n')
    port = free_port()
    config = tmp_path / "c.yaml"
    config.write_text(
        f"version: 2\nstreams: [{{name: r, type: file, path: {recording}}}]\n"
        f'signals: {{s: {{members: {{"a:x": {{}}}}}}}}\nexporter: {{http_port: {port}}}\n'
        f"output: {{dir: {tmp_path}/out}}\n"
    )
    with socket.create_server(("127.0.0.1", port + 10)):
        build(load(config), Shutdown(), progress=False, place=Place(0, TWO))
        with pytest.raises(HttpPortError, match=f"127.0.0.1:{port + 10} is taken"):
            build(load(config), Shutdown(), progress=False, place=Place(1, TWO))
