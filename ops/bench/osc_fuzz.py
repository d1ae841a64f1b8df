"""Mutated datagrams through the OSC decoder: exceptions, the slowest one, growth of memory.

python -m ops.bench.osc_fuzz [COUNT] [--seed N]
"""

from __future__ import annotations

import argparse
import random
import struct
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sources.inbox import Unread
from sources.osc.datagram import MAX_DATAGRAM, Datagrams

WORST_MS = 5.0
GROWTH_MB = 20.0
_EDGES = (0, 1, -1, -4, 4, 16, 0x7FFFFFFF, -0x80000000, 8191, 8192, 3)


def message(address: str, tags: str, arguments: bytes = b"") -> bytes:
    """Return an OSC message."""
    return _padded(address.encode()) + _padded(b"," + tags.encode()) + arguments


def bundle(*elements: bytes, seconds: int = 0, fraction: int = 1) -> bytes:
    """Return an OSC bundle; by default with the time tag `immediately`."""
    parts = b"".join(struct.pack(">i", len(e)) + e for e in elements)
    return b"#bundle\0" + struct.pack(">II", seconds, fraction) + parts


def _padded(text: bytes) -> bytes:
    return text + bytes(4 - len(text) % 4)


def nested(depth: int) -> bytes:
    """Return nested bundles."""
    data = message("/deep", "f", struct.pack(">f", 1.0))
    for _ in range(depth):
        data = bundle(data)
    return data


def seeds() -> list[bytes]:
    """Return the seeds of the mutants."""
    number = message("/ure/velocity", "f", struct.pack(">f", 0.5))
    return [
        number,
        message("/accel", "fff", struct.pack(">3f", 0.1, 9.8, -0.2)),
        message(
            "/mixed",
            "ifsbTFNIhdt",
            struct.pack(">if", 1, 2.0)
            + b"text\0\0\0\0"
            + struct.pack(">i3sx", 3, b"abc")
            + struct.pack(">qdQ", 1 << 60, 1e300, 1),
        ),
        message("/arrays", "[ff][i]", struct.pack(">ffi", 1.0, 2.0, 3)),
        message("/empty", ""),
        message("/bad", "ff", struct.pack(">ff", float("nan"), float("inf"))),
        bundle(number, bundle(number, number, seconds=3_900_000_000), seconds=3_900_000_000),
        bundle(*[number] * 250),
        nested(6),
        nested(300),
        message("/tags", "f" * 1000, bytes(4000)),
        message("/unknown", "~" * 6000),
        b"#bundle\0" + bytes(8) + struct.pack(">i", -4),
    ]


def mutant(seed: bytes, chance: random.Random) -> bytes:
    """Return a datagram with a few random faults."""
    data = bytearray(seed)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        how = chance.choice((0, 0, 0, 1, 2, 3, 3, 4, 5, 6))
        at = chance.randrange(len(data) + 1)
        if how == 0 and data:
            data[at - 1] ^= 1 << chance.randrange(8)
        elif how == 1:
            del data[at:]
        elif how == 2:
            data[at:at] = chance.randbytes(chance.randrange(1, 9))
        elif how == 3:
            at &= -4
            data[at : at + 4] = struct.pack(">i", chance.choice(_EDGES))
        elif how == 4:
            del data[at : at + chance.randrange(1, 9)]
        elif how == 5:
            data[at:at] = data[: chance.randrange(64)]
        else:
            data[at : at + 8] = chance.randbytes(8)
    return bytes(data[: 8 * MAX_DATAGRAM])


def fuzz(count: int, seed: int, report: Callable[[str], None] = print) -> tuple[int, float, float]:
    """Decode mutants; return exceptions, CPU time of the slowest one (ms), growth (MB)."""
    chance, kinds = random.Random(seed), seeds()
    datagrams = Datagrams()
    ends: Counter[str] = Counter()
    escapes, slowest = 0, 0
    grown_from = 0.0
    for i in range(count):
        if i == count // 10:  # all intended caches are filled by now
            grown_from = resident_mb()
        data = mutant(chance.choice(kinds), chance)
        begin = time.thread_time_ns()
        try:
            items = datagrams.decode(data, 1.0)
            took = time.thread_time_ns() - begin
        except Exception as error:
            escapes += 1
            report(f"escaped: {error!r} from {data[:80]!r}")
            continue
        if took > 1e6:  # measured again, to exclude a busy machine
            took = min(took, *(_time(data) for _ in range(3)))
        slowest = max(slowest, took)
        ends[items[0].reason if items and isinstance(items[0], Unread) else "decoded"] += 1
    growth = resident_mb() - grown_from
    report(f"{count} datagrams: {dict(ends)}")
    return escapes, slowest / 1e6, growth


def _time(data: bytes) -> int:
    """Return the CPU time of a new decoder (ns)."""
    datagrams = Datagrams()
    begin = time.thread_time_ns()
    datagrams.decode(data, 1.0)
    return time.thread_time_ns() - begin


def resident_mb() -> float:
    """Return the resident memory of this process (MB)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main() -> int:
    """Fuzz; return 1 if a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    escapes, slowest, growth = fuzz(args.count, args.seed)
    print(f"escapes {escapes}, slowest {slowest:.2f} ms, memory +{growth:.1f} MB")
    return int(escapes > 0 or slowest > WORST_MS or growth > GROWTH_MB)


if __name__ == "__main__":
    raise SystemExit(main())
