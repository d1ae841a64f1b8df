"""What the doctor finds, and what it makes of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from configs.connectors.kafka import KafkaStream
from configs.load import load
from configs.outputs import OutputConfig, StoreConfig
from configs.schema import Config
from operators import native
from ops.__main__ import main
from ops.cli import doctor
from ops.cli.doctor import Diagnosis, judged_clock
from ops.cli.guess.machine import addresses
from ops.fakes import kafka_broker
from ops.fakes.ports import free_port
from sinks.files.progress import TakenIn
from sinks.history.sqlite_store import SqliteStore
from tests.support.shown import config as live


@pytest.fixture
def held() -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def config(folder: Path, port: int) -> Path:
    path = folder / "c.yaml"
    path.write_text(
        f"""version: 2
streams:
  - {{name: a, type: osc, addr: "127.0.0.1:{port}"}}
  - {{name: m, type: midi, device: no such thing}}
  - {{name: u, type: ure, metrics_url: "http://127.0.0.1:1/m"}}
signals: {{s: {{members: {{"a:/x": {{}}}}}}}}
output: {{dir: {folder}/out}}
"""
    )
    return path


@pytest.mark.parametrize(
    "section", ["exporter: {{http_port: {}}}\n", "bridge: {{exporter: {{http_port: {}}}}}\n"]
)
def test_an_exporter_s_port_that_is_held_is_bad(tmp_path: Path, section: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        path = config(tmp_path, 1)
        path.write_text(path.read_text() + section.format(port))
        found = [str(f) for f in doctor.ports(load(str(path)).config) if f.verdict == "bad"]
    assert f"127.0.0.1:{port} is taken by process {os.getpid()}" in "".join(found)


def test_a_port_that_is_held_is_bad_and_its_holder_is_named(
    held: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", str(config(tmp_path, held))]) == 1
    lines = capsys.readouterr().out.splitlines()
    (port,) = [line for line in lines if line.startswith("bad")]
    assert f"127.0.0.1:{held} is taken by process {os.getpid()}" in port
    warnings = {line.split()[1]: line for line in lines if line.startswith("warn")}
    assert "no port fits 'no such thing'" in warnings["midi"]
    assert "http://127.0.0.1:1/m: Connection refused" in warnings["ure"]
    assert not (tmp_path / "out").exists()


def test_of_two_streams_on_one_midi_port_the_second_is_bad(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ports = ("LPK25:LPK25 MIDI 1 20:0", "nano:out", "nano-01:out")
    monkeypatch.setattr(doctor.MidiInputs, "look", lambda self: (ports, ""))
    devices = {"a": "LPK", "b": "LPK25 MIDI 1", "c": "nano", "d": "nano#2", "e": "nano#3"}
    streams = [{"name": name, "type": "midi", "device": device} for name, device in devices.items()]
    signals = {"s": {"members": {"a:cc/1/1": {}}}}
    config = msgspec.convert({"version": 2, "streams": streams, "signals": signals}, Config)
    found = {f.found.partition(":")[0]: f for f in doctor.midi(config)}
    assert [(found[name].verdict, found[name].found) for name in "abcd"] == [
        ("ok", f"a: {ports[0]}"),
        ("bad", f"b: {ports[0]} is the port of a"),
        ("ok", "c: nano:out"),
        ("ok", "d: nano-01:out"),
    ]
    assert found["e"].verdict == "warn"


def test_every_line_is_ok_or_has_a_remedy(tmp_path: Path) -> None:
    found = list(doctor.examine(load(config(tmp_path, 1)).config))
    assert {f.subject for f in found} >= {
        "python", "system", "load", "package", "clock", "buffer", "port", "address", "midi", "disk",
    }  # fmt: skip
    for finding in found:
        assert finding.verdict == "ok" or finding.todo, finding
        assert str(finding).startswith(finding.verdict)
        assert "\n" not in str(finding)


@pytest.mark.parametrize(
    ("state", "status", "most_s", "verdict"),
    [
        (0, 0x2001, 0.02, "ok"),
        (0, 0x2001, 3.0, "warn"),  # not settled yet
        (5, 0x40, 16.0, "warn"),
        (0, 0x40, 0.02, "warn"),
        (-1, 0, 0.0, "warn"),
    ],
)
def test_a_clock_is_judged_by_the_status_of_the_kernel(
    state: int, status: int, most_s: float, verdict: str
) -> None:
    finding = judged_clock(state, status, most_s, 0.001)
    assert finding.verdict == verdict
    assert (finding.todo == "") == (verdict == "ok")


def test_a_small_buffer_is_reported_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "BUFFER", 1 << 40)
    buffer = next(iter(doctor.buffers()))
    assert buffer.verdict == "warn"
    assert f"sysctl -w net.core.rmem_max={1 << 40}" in buffer.todo


def test_a_missing_package_is_bad_and_another_version_of_the_engine_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", {"no-such-thing": "nothing", "numpy": "numpy"})
    monkeypatch.setattr(doctor, "NEEDED", {"numpy": "0.1"})
    missing, other, there = doctor.packages()
    assert (missing.verdict, other.verdict, there.verdict) == ("bad", "bad", "ok")
    assert "no-such-thing" in missing.found
    assert "install 0.1" in other.todo


@pytest.mark.parametrize(
    ("form", "verdict"),
    [
        ("compiled", "ok"),
        ("python (not built)", "ok"),
        (f"{native.REFUSED} it was built from other sources)", "warn"),
    ],
)
def test_a_refused_extension_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, form: str, verdict: str
) -> None:
    monkeypatch.setattr(native, "form", form)
    finding = doctor.kernels()
    assert (finding.verdict, finding.found) == (verdict, form)


def test_this_machine_has_its_loopback_last() -> None:
    found = [address for address, _ in addresses()]
    assert "127.0.0.1" in found
    assert found[-1] in ("127.0.0.1", "::1")


def test_a_line_reads_verdict_matter_finding_and_advice() -> None:
    assert str(Diagnosis("warn", "disk", "full", "make room")) == "warn  disk      full: make room"


def test_the_history_is_judged_by_its_store_and_its_follower(tmp_path: Path) -> None:
    path, out = tmp_path / "h.sqlite", tmp_path / "out"
    configured = live(store=StoreConfig(dsn=f"sqlite:{path}"), output=OutputConfig(dir=str(out)))

    def verdicts() -> list[tuple[str, str]]:
        return [(finding.verdict, finding.found) for finding in doctor.history(configured)]

    assert verdicts() == [("ok", "no store yet; the first run makes it")]
    SqliteStore(path).close()
    assert verdicts()[0][0] == "ok"
    out.mkdir()
    TakenIn(1, 0.0, True, lost=3).write(out)
    assert verdicts()[1] == ("warn", "3 lines were not taken in")
    path.write_text("some text\n" * 200)
    verdict, found = verdicts()[0]
    assert verdict == "bad"
    assert "damaged" in found
    assert list(doctor.history(None)) == []


def reading(broker: str, **given: object) -> Config:
    stream = {"name": "t", "type": "kafka", "brokers": [broker], "topic": "lumen.events"}
    signals = {"s": {"members": {"a:/x": {}}}}
    made = msgspec.convert({"version": 2, "streams": [stream | given], "signals": signals}, Config)
    assert isinstance(made.streams[0], KafkaStream)
    return made


def test_a_topic_whose_brokers_do_not_answer_is_a_warning() -> None:
    broker = f"127.0.0.1:{free_port()}"
    (finding,) = doctor.topic(reading(broker))
    assert (finding.verdict, finding.subject) == ("warn", "kafka")
    assert finding.found == f"topic lumen.events: {broker}: no answer"
    assert finding.todo == "a run waits for it, and begins when it is there"


@pytest.mark.skipif(kafka_broker.program() is None, reason="no broker here")
def test_a_topic_is_shown_with_its_partitions_and_its_absence_is_a_warning() -> None:
    with kafka_broker.serving() as broker:
        (absent,) = doctor.topic(reading(broker.address))
        broker.make_topic("lumen.events", 4)
        (whole,) = doctor.topic(reading(broker.address))
        (shard,) = doctor.topic(reading(broker.address, partitions="2-3"))
    assert (absent.verdict, absent.subject) == ("warn", "kafka")
    assert absent.found.startswith("topic lumen.events: ")
    read = "topic lumen.events: 4 partitions, 4 of them read, offsets 0 to 0"
    assert whole == Diagnosis("ok", "kafka", read)
    assert shard == Diagnosis("ok", "kafka", read.replace("4 of them", "2 of them"))


def test_the_offsets_of_a_topic_are_those_of_the_partitions_that_are_read() -> None:
    from confluent_kafka import Producer

    with kafka_broker.mock_brokers() as brokers:
        producer = Producer({"bootstrap.servers": brokers})
        for _ in range(3):
            producer.produce("lumen.events", b"{}", b"r", 1)
        assert producer.flush(60) == 0
        (whole,) = doctor.topic(reading(brokers))
        (shard,) = doctor.topic(reading(brokers, partitions="2-3"))
    assert whole.found.endswith("4 partitions, 4 of them read, offsets 0 to 3")
    assert shard.found.endswith("4 partitions, 2 of them read, offsets 0 to 0")
