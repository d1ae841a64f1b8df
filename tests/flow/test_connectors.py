"""Streams of extras in a whole run: the account, the tape, faults of the configuration."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from mcap.writer import Writer
from websockets.sync.client import connect

from configs import extras
from configs.document import ConfigError
from configs.inputs import FileStream
from configs.load import load
from flows.run import execute
from ops.cli.convert import convert
from ops.fakes.ports import free_port
from tests.support.json_lines import json_lines
from tests.support.waiting import HUNG_S, until

ROOT = Path(__file__).parents[2]


def test_a_run_uses_the_events_of_a_websocket_and_its_tape_gives_the_same(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "c.yaml"
    config.write_text(
        "version: 2\nrig: stage\n"
        f'streams: [{{name: pad, type: websocket, addr: "127.0.0.1:{port}"}}]\n'
        'signals: {level: {members: {"pad:/a": {}, "pad:/b": {}}}}\n'
        f"tap: {{dir: {tmp_path}/tap}}\noutput: {{dir: {tmp_path}/out}}\n"
    )
    run = subprocess.Popen([sys.executable, "-m", "ops", "run", str(config)], cwd=ROOT)
    done = threading.Event()
    try:
        until(lambda: _plays(port, done), process=run, every_s=0.1)
        until(lambda: len(json_lines(tmp_path / "out/fused.jsonl")) > 20, process=run)
    finally:
        done.set()
        run.terminate()
        assert run.wait(HUNG_S) == 0
    account = json.loads((tmp_path / "out/run.json").read_text())
    assert account["balanced"]
    pad = account["account"]["by_source"]["pad"]
    assert pad["used"] > 400
    assert pad["rejected"] == 1
    replay = tmp_path / "r.yaml"
    text = config.read_text().replace(str(tmp_path / "out"), str(tmp_path / "again"))
    text = text.replace(f"tap: {{dir: {tmp_path}/tap}}\n", "")
    (tape,) = (tmp_path / "tap").glob("2*")
    found = yaml.safe_load(text)
    found["streams"] = [{"name": "tape", "type": "file", "path": str(tape)}]
    replay.write_text(yaml.safe_dump(found))
    subprocess.run([sys.executable, "-m", "ops", "run", str(replay)], cwd=ROOT, check=True)
    for name in ("fused", "sync", "dead"):
        live, again = ((tmp_path / d / f"{name}.jsonl").read_bytes() for d in ("out", "again"))
        assert live == again


def _plays(port: int, done: threading.Event) -> bool:
    """Begin to play two channels and one bad event in a thread; return whether it connected."""
    try:
        connection = connect(f"ws://127.0.0.1:{port}", legacy=True)
    except OSError:
        return False

    def play() -> None:
        import time

        connection.send('{"key": "/a"}')
        n = 0
        while not done.wait(0.01):
            n += 1
            part = [
                {"key": key, "value": (n % 50) + delay, "ts": time.time()}
                for key, delay in (("/a", 0.0), ("/b", 0.1))
            ]
            connection.send(json.dumps(part))
        connection.close()

    threading.Thread(target=play, daemon=True).start()
    return True


@pytest.mark.parametrize(
    ("stream", "faults"),
    [
        (
            'type: mqtt, broker: "mqtt://127.0.0.1:70000", topics: ["a#"], value: x, ca_file: no',
            [
                "the broker 'mqtt://127.0.0.1:70000', expected a port",
                "the topic 'a#', expected + and # as whole levels",
                "the pointer 'x', expected one such as /sensor/celsius",
                "no does not exist, expected a file",
                "certificates for a connection without TLS, expected an mqtts:// broker",
            ],
        ),
        (
            'type: lsl, stream: "a\\e[2J", source_id: "\\0"',
            [
                "the text 'a\\x1b[2J', expected one without",
                "the text '\\x00', expected one without",
            ],
        ),
        ('type: mqtt, broker: "http://a", topics: [a]', ["expected a broker such as mqtt://"]),
        ('type: websocket, addr: "127.0.0.1:0"', ["expected a port from 1 to 65535"]),
        (
            'type: websocket, addr: "127.0.0.1:9400", origins: [stage], token_file: no',
            ["expected an origin such as https://stage.local"],
        ),
    ],
)
def test_each_fault_of_a_connector_is_one_line(
    tmp_path: Path, stream: str, faults: list[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        f"version: 2\nstreams: [{{name: m, {stream}}}]\n"
        'signals: {x: {members: {"m:a": {}, "m:b": {}}}}\n'
    )
    with pytest.raises(ConfigError) as refused:
        load(path)
    lines = refused.value.lines()
    for fault in faults:
        assert any(fault in line for line in lines), (fault, lines)


def test_a_member_that_no_topic_covers_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        'version: 2\nstreams: [{name: m, type: mqtt, broker: "mqtt://a", topics: ["stage/#"]}]\n'
        'signals: {x: {members: {"m:stage/a": {}, "m:stage/b": {}}}}\nfacts: ["m:hall/c"]\n'
    )
    with pytest.raises(ConfigError, match=r"one of stage/# of the stream's topics|stage/#"):
        load(path)


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        ("mqtt", 'broker: "mqtt://a", topics: [a]'),
        ("websocket", 'addr: "127.0.0.1:9400"'),
        ("lsl", "stream: eeg"),
    ],
)
def test_a_type_without_its_extra_is_named_with_the_remedy(
    tmp_path: Path, type_: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"version: 2\nstreams:\n  - {{name: m, type: {type_}, {text}}}\n"
        'signals: {x: {members: {"m:a": {}, "m:b": {}}}}\n'
    )
    with pytest.raises(ConfigError) as refused:
        load(path)
    (line,) = refused.value.lines()
    assert line == f"{path}:3:21: type {type_} needs pip install 'lumen-fusion[{type_}]'"


def test_an_extra_that_is_not_used_is_not_imported() -> None:
    modules = sorted({"mcap", "lz4", *extras.EXTRAS.values()})
    code = (
        "import sys, flows.fusion, sources.live.live, ops.cli.run\n"
        f"print([m for m in {modules} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    "text", re.findall(r"```yaml\n(.*?)```", (ROOT / "ops/docs/CONNECTORS.md").read_text(), re.S)
)
def test_the_configurations_of_the_page_are_valid(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _recordings(tmp_path)
    path = tmp_path / "c.yaml"
    path.write_text(f"version: 2\n{text}")
    config = load(path).config
    files = [stream for stream in config.streams if isinstance(stream, FileStream)]
    assert config.live or config.topic is not None or files
    if files:
        out = execute(path)
        assert json.loads((out / "run.json").read_text())["account"]["total"]["used"] == 400


def _recordings(folder: Path) -> None:
    """Write the recordings that the page names: 200 events of each of two channels."""
    times = [1.7e9 + i / 20 for i in range(200)]
    rows = [f"{t},{i % 7},{i % 5}\n" for i, t in enumerate(times)]
    (folder / "left.csv").write_text("time,x,y\n" + "".join(rows))
    dates = [datetime.fromtimestamp(t, UTC).isoformat() for t in times]
    rows = [f"{t},{key},{i % 7}\n" for i, t in enumerate(dates) for key in ("left", "right")]
    (folder / "room.csv").write_text("when,sensor,reading\n" + "".join(rows))
    with (folder / "take.ndjson").open("w") as file:
        for i, t in enumerate(times):
            for source in ("left", "right"):
                event = {"ts": t, "source": source, "key": "pulse", "value": float(i % 7)}
                file.write(json.dumps(event) + "\n")
    convert(str(folder / "take.ndjson"), folder / "take.parquet")
    with (folder / "robot.mcap").open("wb") as binary:
        writer = Writer(binary)
        writer.start()
        content = {"/arm": b'{"pose": {"x": 1.5}}', "/gripper": b'{"x": 0.5}'}
        number = {topic: writer.register_channel(topic, "json", 0) for topic in content}
        for at in (int(t * 1e9) for t in times):
            for topic, data in content.items():
                writer.add_message(number[topic], at, data, at)
        writer.finish()
