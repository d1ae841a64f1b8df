"""The tape as a topic while the broker is away: sent by the devices, on the tapes, in the topic.

    python -m ops.bench.kafka_edge [--away 300] [--rate 1000] [--rigs 4]

Each rig is a `lumen record --to kafka` with one OSC stream. The broker is reached through a relay,
which is cut for `--away` seconds while the devices send on; the first edge is killed and started
again in mid-absence. `lost` is what a device sent and the tape does not hold, or what the tape
holds and the topic does not; `twice` is counted after a consumer has dropped blocks by their place.
"""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ops.fakes.kafka_broker import serving
from ops.fakes.ports import free_port
from ops.fakes.tcp_relay import TcpRelay
from ops.simulate.devices import bundle
from ops.text.table import table
from sources.opening import head
from sources.tape.writer import tapes_in

if TYPE_CHECKING:
    from confluent_kafka import Message

TOPIC, PARTITIONS = "lumen.events", 4
_CONFIG = """version: 2
rig: {rig}
streams: [{{name: a, type: osc, addr: "127.0.0.1:{port}"}}]
signals: {{s: {{members: {{"a:/x": {{}}}}}}}}
tap: {{dir: {folder}/tap, kafka: {{brokers: ["127.0.0.1:{broker}"], topic: {topic}}}}}
output: {{dir: {folder}/out}}
"""


@dataclass
class Edge:
    """One rig: its device, its process, and what they did."""

    rig: str
    folder: Path
    broker: int
    port: int = field(default_factory=free_port)
    sent: int = 0
    peak_mb: float = 0.0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start to record, and wait until the stream is open."""
        self.folder.mkdir(exist_ok=True)
        config = self.folder / "edge.yaml"
        config.write_text(
            _CONFIG.format(
                rig=self.rig, port=self.port, folder=self.folder, broker=self.broker, topic=TOPIC
            )
        )
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ops", "record", str(config), "--to", "kafka"],
                stdout=out,
                stderr=out,
            )
        while b"recording to" not in log.read_bytes():
            if self.process.poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.05)

    def look(self) -> None:
        """Note the peak of the process's memory."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        self.peak_mb = max(self.peak_mb, int(peak.split()[1]) / 1000)

    def kill(self) -> None:
        """Kill the process."""
        assert self.process is not None
        self.look()
        self.process.kill()
        self.process.wait()

    def stop(self) -> str:
        """End the recording; return its last lines."""
        assert self.process is not None
        self.look()
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        return (self.folder / "log").read_text()

    def taped(self) -> list[bytes]:
        """Return the lines of all tapes."""
        tapes = tapes_in(self.folder / "tap")
        return [line for tape in tapes for line in head(str(tape), 1 << 34).splitlines()]


def send(edges: list[Edge], rate: float, ended: threading.Event) -> None:
    """Send rising numbers to all edges at a rate in all (1/s), until the end."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        began, k = time.monotonic(), 0
        while not ended.is_set():
            edge = edges[k % len(edges)]
            sender.sendto(bundle(time.time(), [("/x", (edge.sent,))]), ("127.0.0.1", edge.port))
            edge.sent += 1
            k += 1
            if (wait := began + k / rate - time.monotonic()) > 0.001:
                time.sleep(wait)


def messages(port: int) -> list[Message]:
    """Return all messages of the topic, by partition and offset."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {"bootstrap.servers": f"127.0.0.1:{port}", "group.id": "bench", "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(TOPIC, n, 0) for n in range(PARTITIONS)])
    found: list[Message] = []
    newest = time.monotonic()
    while time.monotonic() < newest + 5.0:
        if more := consumer.consume(1000, 0.2):
            found += [message for message in more if message.error() is None]
            newest = time.monotonic()
    consumer.close()
    return sorted(found, key=lambda m: (m.partition() or 0, m.offset() or 0))


def lines_by_rig(found: list[Message]) -> tuple[dict[str, list[bytes]], int]:
    """Return the lines by rig without blocks that were sent twice, and the number of those."""
    lines: dict[str, list[bytes]] = {}
    newest: dict[tuple[int | None, object], int] = {}
    again = 0
    for message in found:
        headers = dict(message.headers() or [])
        key, place = (message.partition(), headers["tape"]), int(headers["place"] or 0)
        if place <= newest.get(key, -1):
            again += 1
            continue
        newest[key] = place
        rig = (message.key() or b"").decode()
        lines.setdefault(rig, []).extend((message.value() or b"").splitlines())
    return lines, again


class _NumberOnly(msgspec.Struct):
    value: float | None = None


def numbers(lines: list[bytes]) -> Counter[float | None]:
    """Return how often each number is in the lines."""
    decoder = msgspec.json.Decoder(_NumberOnly)
    found = Counter(decoder.decode(line).value for line in lines)
    del found[None]
    return found


def measured(folder: Path, away_s: float, rate: float, rigs: int) -> str:
    """Return the figures."""
    with TcpRelay() as relay, serving(relay.port) as broker:
        relay.to = broker.port
        broker.make_topic(TOPIC, PARTITIONS)
        edges = [Edge(f"rig-{n}", folder / f"rig-{n}", relay.port) for n in range(rigs)]
        for edge in edges:
            edge.start()
        ended = threading.Event()
        sender = threading.Thread(target=send, args=(edges, rate, ended))
        sender.start()
        time.sleep(10.0)
        relay.cut()
        time.sleep(away_s / 2)
        killed_at = edges[0].sent
        edges[0].kill()
        edges[0].start()
        not_received = edges[0].sent - killed_at
        time.sleep(away_s / 2)
        relay.mend()
        began = time.monotonic()
        time.sleep(10.0)
        ended.set()
        sender.join()
        printed = [edge.stop() for edge in edges]
        caught_up_s = time.monotonic() - began
        lines, again = lines_by_rig(messages(relay.port))
    rows = []
    for edge, text in zip(edges, printed, strict=True):
        taped, arrived = edge.taped(), lines.get(edge.rig, [])
        on_tape, in_topic = numbers(taped), numbers(arrived)
        lost = (on_tape - in_topic).total()
        twice = (in_topic - on_tape).total()
        waiting = text.partition(" sent, ")[2].partition("\n")[0]
        counts = (edge.sent, on_tape.total(), len(taped), len(arrived))
        rows.append(
            (edge.rig, *(f"{n:,}" for n in counts), f"{lost:,}", f"{twice:,}", waiting,
             f"{edge.peak_mb:.0f}")
        )  # fmt: skip
    shown = table(
        ("rig", "sent", "events on tape", "lines on tape", "lines in topic", "lost", "twice",
         "at the end", "peak MB"),
        rows,
    )  # fmt: skip
    return (
        f"{shown}\n\nbroker away {away_s:g} s at {rate:g} events/s; all was sent at the latest"
        f" {caught_up_s:.1f} s after it was back, 10 s of them still recording;\n"
        f"blocks sent again after the kill and dropped by their place: {again}; while the killed"
        f" edge was down its device sent at most {not_received:,}: no tape holds them"
    )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--away", type=float, default=300.0)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--rigs", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lumen-") as folder:
        print(measured(Path(folder), args.away, args.rate, args.rigs))


if __name__ == "__main__":
    main()
