"""What `lumen check` shows of the members of a signal."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ops.__main__ import main

BASE = """version: 2
streams: [{name: r, type: file, path: %s}]
channels: {"b:x": {gain: auto, offset: auto}}
signals: {s: {scale: %s, members: {%s}}}
"""


def checked(place: Path, members: str, capsys: pytest.CaptureFixture[str], scale: str) -> str:
    (place / "r.ndjson").touch()
    (place / "c.yaml").write_text(BASE % (place / "r.ndjson", scale, members), "utf-8")
    assert main(["check", str(place / "c.yaml")]) == 0
    return capsys.readouterr().out


def test_a_lone_origin_and_a_learnt_unit_are_named(tmp_path, capsys) -> None:
    shown = checked(tmp_path, '"a:x": {sd: 0.2}, "a:y": {}, "b:x": {}', capsys, '"a:x"')
    assert "scale a:x" in shown
    assert "one origin votes on the scale (a)" in shown
    assert "unit learnt: no vote on the scale" in shown
    assert "systematic sd 0.2" in shown


def test_two_origins_are_not_remarked_upon(tmp_path, capsys) -> None:
    shown = checked(tmp_path, '"a:x": {}, "c:x": {}, "b:x": {}', capsys, "consensus")
    assert "one origin" not in shown
    named = checked(
        tmp_path, '"a:x": {origin: o}, "c:x": {origin: o}, "b:x": {}', capsys, "consensus"
    )
    assert "one origin votes on the scale (o)" in named


def test_units_are_shown_and_unlike_ones_remarked_upon(tmp_path, capsys) -> None:
    def shown(channels: str) -> str:
        text = BASE.replace('{"b:x": {gain: auto, offset: auto}}', channels)
        members = '"a:x": {}, "b:x": {}'
        (tmp_path / "r.ndjson").touch()
        (tmp_path / "c.yaml").write_text(
            text % (tmp_path / "r.ndjson", "consensus", members), "utf-8"
        )
        assert main(["check", str(tmp_path / "c.yaml")]) == 0
        return capsys.readouterr().out

    unlike = shown('{"a:*": {unit: m/s2}, "b:x": {unit: g}}')
    assert ", in m/s2" in unlike
    assert "unlike units: a:x in m/s2, b:x in g; set gain: auto" in unlike
    assert "unlike" not in shown('{"a:*": {unit: m/s2}, "b:x": {unit: g, gain: auto}}')
    assert "unlike" not in shown('{"*:x": {unit: g}}')


@pytest.mark.parametrize(
    ("host", "open_"),
    [("127.0.0.1", False), ("localhost", False), ("::1", False), ("0.0.0.0", True), ("::", True),
     ("192.168.1.7", True), ("stage.local", True)],
)  # fmt: skip
def test_an_exporter_that_leaves_loopback_is_remarked_upon(tmp_path, capsys, host, open_) -> None:
    text = BASE % (tmp_path / "r.ndjson", "consensus", '"a:x": {}, "b:x": {}')
    (tmp_path / "r.ndjson").touch()
    (tmp_path / "c.yaml").write_text(f"{text}exporter: {{host: '{host}'}}\n", "utf-8")
    assert main(["check", str(tmp_path / "c.yaml")]) == 0
    assert (f"exporter  {host}:9310 is open to other machines" in capsys.readouterr().out) == open_


def test_a_host_name_with_a_port_is_refused(tmp_path, capsys) -> None:
    text = BASE % (tmp_path / "r.ndjson", "consensus", '"a:x": {}, "b:x": {}')
    (tmp_path / "r.ndjson").touch()
    for name in ("stage.local:9310", "http://stage.local", "stage.local\\n", ""):
        (tmp_path / "c.yaml").write_text(f'{text}exporter: {{allow_hosts: ["{name}"]}}\n', "utf-8")
        with pytest.raises(SystemExit) as caught:
            main(["check", str(tmp_path / "c.yaml")])
        assert caught.value.code == 2
        assert "a host name without a port" in capsys.readouterr().err


def test_a_bridge_is_shown_with_its_silence(capsys):
    assert main(["check", "configs/bridge.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    begin = "bridge    follows osc_1:/beat, 1 a tick; ticks of 200 ms to music, decided 0.2 s ahead"
    assert begin in lines
    (silence,) = [line for line in lines if "`lumen bridge release`" in line]
    assert "more than 15 s of silence" in silence


def test_thresholds_that_the_shipped_alerts_do_not_have_are_shown(tmp_path, capsys):
    text = (
        Path("configs/bridge.yaml")
        .read_text()
        .replace("path: configs/", f"path: {Path.cwd()}/configs/")
    )
    config = tmp_path / "c.yaml"
    config.write_text(
        text.replace("bridge:\n", "bridge:\n  burn_rate_thresholds: {phase: {fast: 0.05}}\n")
    )
    assert main(["check", str(config)]) == 0
    shown = [x for x in capsys.readouterr().out.splitlines() if "burn_rate" in x]
    assert [x.strip() for x in shown] == [
        "burn_rate_thresholds.phase.fast 0.05: the Prometheus alerts keep 0.03"
    ]
    assert main(["check", "configs/bridge.yaml"]) == 0
    assert "burn_rate" not in capsys.readouterr().out


def test_topics_are_named_with_their_brokers_and_no_broker_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def topics(stream: str, rest: str) -> list[str]:
        path.write_text(f"version: 2\nstreams: [{stream}]\n{rest}")
        assert main(["check", str(path)]) == 0
        lines = capsys.readouterr().out.splitlines()
        return [line for line in lines if line.startswith("topic ")]

    path = tmp_path / "c.yaml"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        broker = f"127.0.0.1:{server.getsockname()[1]}"
        named = f'brokers: ["{broker}", "hall.invalid:9092"]'
        rest = f"""signals: {{s: {{members: {{"o:/x": {{}}}}}}}}
send:
  - {{name: results, type: kafka, {named}, files: [fused, evidence]}}
"""
        read = topics(
            f'{{name: field, type: kafka, {named}, topic: lumen.events, partitions: "0-3"}}', rest
        )
        written = topics(
            '{name: o, type: osc, addr: "127.0.0.1:9000"}',
            f"{rest}tap: {{dir: t, kafka: {{{named}}}}}\n",
        )
        with pytest.raises(BlockingIOError):
            server.accept()
    where = f"at {broker}, hall.invalid:9092"
    sent = f"topic     lumen.fused has fused and evidence of results, {where}"
    field = f"topic     lumen.events is read by field, partitions 0-3, {where}"
    tape = f"topic     lumen.events has the tape of `lumen record --to kafka`, {where}"
    assert read == [field, sent]
    assert written == [tape, sent]
