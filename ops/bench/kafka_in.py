"""Kafka in: CPU time an event from a topic over that from a file of the same lines.

    python -m ops.bench.kafka_in [--events 400000]

The lines are those of 8 rigs in blocks of 64, in one partition of a Tansu broker. Each reading is a
process of its own, from the open source to its last batch, without stations; its CPU time holds the
threads of librdkafka. Five rounds take turns, and the medians are compared.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from configs.connectors.kafka import KafkaStream
from configs.inputs import FileStream
from configs.schema import Config
from ops.fakes import kafka_broker
from ops.text.table import table

TOPIC, SIZE, RIGS, ROUNDS = "bench", 64, 8, 5
BAR_US = 1.0


def _blocks(events: int) -> list[bytes]:
    """Return blocks of lines, each of one rig, by turns."""
    line = '{"ts":%.6f,"source":"pad","key":"/a","value":%.6f,"rig":"r%d","meta":{"rx":%.6f}}\n'
    made = []
    for n in range(events // SIZE):
        begin, rig = 1.73e9 + n // RIGS * SIZE / 190, n % RIGS
        stamps = (begin + i / 190 for i in range(SIZE))
        made.append("".join(line % (t, t % 1, rig, t + 0.004) for t in stamps).encode())
    return made


def _config(stream: FileStream | KafkaStream) -> Config:
    data = {"version": 2, "streams": [{"name": "x", "type": "file", "path": "x"}],
            "signals": {"level": {"members": {"pad:/a": {}}}}}  # fmt: skip
    return msgspec.structs.replace(msgspec.convert(data, Config), streams=[stream])


def read(kind: str, where: str) -> None:
    """Read all events of a file or a topic; print their number and the CPU time (s)."""
    from sources.kafka.topic_replay import TopicReplay
    from sources.replay import Replay

    if kind == "file":
        replay: Replay | TopicReplay = Replay(_config(FileStream(name="x", path=where)))
    else:
        topic = KafkaStream(name="x", brokers=[where], topic=TOPIC, follow=False)
        replay = TopicReplay(_config(topic))
    begin = time.process_time()
    part = replay.build_part("x", replay.list_parts()[0], None)
    count = 0
    while True:
        try:
            count += sum(len(batch.ts) for _, batch in part.next_batch())
        except StopIteration:
            break
    print(count, time.process_time() - begin)


def main() -> None:
    """Run the rounds and print the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        read(*args.read)
        return
    from confluent_kafka import Producer

    blocks = _blocks(args.events)
    found: dict[str, list[float]] = {"file": [], "topic": []}
    with tempfile.TemporaryDirectory() as folder, kafka_broker.serving() as broker:
        path = Path(folder) / "lines.ndjson"
        path.write_bytes(b"".join(blocks))
        broker.make_topic(TOPIC, 1)
        producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 5})
        for block in blocks:
            producer.produce(TOPIC, block, partition=0)
            producer.poll(0)
        assert producer.flush(60) == 0
        for _ in range(ROUNDS):
            for kind, where in (("file", str(path)), ("topic", broker.address)):
                command = [sys.executable, "-m", "ops.bench.kafka_in", "--read", kind, where]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                count, cpu = done.stdout.split()
                assert int(count) == len(blocks) * SIZE, (kind, count)
                found[kind].append(float(cpu) / int(count) * 1e6)
    rows = [[k, *(f"{x:.2f}" for x in (min(v), statistics.median(v), max(v)))]
            for k, v in found.items()]  # fmt: skip
    print(table(["from", "least us", "median us", "most us"], rows))
    more = statistics.median(found["topic"]) - statistics.median(found["file"])
    print(f"a topic costs {more:.2f} us an event more, bar {BAR_US:g}")


if __name__ == "__main__":
    main()
