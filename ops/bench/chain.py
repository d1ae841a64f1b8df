"""CPU time of the stations without parsing and writing (us an event).

`python -m ops.bench.chain [--repeats N]` runs all stations in their order, in this process, on
rows that are made before. Every stream has its own stamps, clock, rate and lag, and all of them
have to be found. Each repeat begins with empty stations. The least time is the cost of the work;
the median includes the load of the machine.

`--packets` prints the least time of one rig of 190 events/s by block length instead, `--calls`
the number of numpy calls a packet (ops/bench/numpy_calls.py).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from configs.schema import Config
from flows.fusion import stations
from flows.pipeline import STATIONS
from flows.stations import Settings, StationLine
from operators.events import Batch
from operators.records import Packet
from operators.types import F64
from ops.text.table import table

BEGIN = 1_700_000_000.0
_ROWS = 10_000


@dataclass(frozen=True)
class Case:
    """Streams by rate, read in blocks of `block_s`, resampled to a grid of `hz`."""

    name: str
    rates_hz: tuple[float, ...]
    seconds: float
    block_s: float
    hz: float
    profile: Literal["accurate", "low_latency"] = "accurate"


_FIVE = (20.0, 25.0, 31.7, 50.0, 64.0)
CASES = (
    Case("3.2 kev/s, 1 s blocks, 5 Hz", tuple(17 * rate for rate in _FIVE), 90.0, 1.0, 5.0),
    Case("190 ev/s, 1 s blocks, 5 Hz", _FIVE, 180.0, 1.0, 5.0),
    Case("200 ev/s, 10 s blocks, 100 Hz", (100.0, 100.0), 600.0, 10.0, 100.0),
)
PACKETS = (
    Case("60 s", _FIVE, 300.0, 60.0, 5.0),
    Case("10 s", _FIVE, 180.0, 10.0, 5.0),
    Case("1 s", _FIVE, 120.0, 1.0, 5.0),
    Case("0.25 s", _FIVE, 60.0, 0.25, 5.0),
    Case("0.05 s", _FIVE, 60.0, 0.05, 5.0),
    Case("0.05 s, 100 Hz", _FIVE, 60.0, 0.05, 100.0),
    Case("0.01 s, 100 Hz, low latency", _FIVE, 40.0, 0.01, 100.0, "low_latency"),
)
"""One rig, in packets from a recording's to a live one; 5 Hz where nothing else is given."""


class _Metered:
    """A station whose use of a resource is added up."""

    def __init__(self, core: Any, meter: Callable[[], float]) -> None:
        self._core, self._meter = core, meter
        self.used = 0.0

    def update(self, item: Any) -> Any:
        begin = self._meter()
        made = self._core.update(item)
        self.used += self._meter() - begin
        return made


class TimedPipeline:
    """All stations of a configuration for one rig; the CPU time of each is measured.

    Another `meter` than the CPU time (s) is a count that grows.
    """

    def __init__(self, config: Config, meter: Callable[[], float] = time.process_time) -> None:
        self._line = StationLine()
        stations(self._line, self._line.add, Settings.of(config))
        self._cores: dict[str, Any] = {
            name: _Metered(core, meter) for name, core in self._line.cores.items()
        }
        self._line.cores = self._cores

    @property
    def cpu_s(self) -> list[float]:
        """The time that each of STATIONS took (s), or its count."""
        return [core.used for core in self._cores.values()]

    def run(self, batches: Iterable[Batch]) -> Iterator[Packet]:
        """Yield the packets that leave the last station."""
        for batch in batches:
            yield from self._line.feed(batch)


def movement(t: F64, seed: int) -> F64:
    """Return 60 sinusoids of 0.02 to 1.5 Hz at the moments (n,), RMS 1."""
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, 60)
    total = np.zeros(len(t))
    for hz, phase in zip(np.linspace(0.02, 1.5, 60), phases, strict=True):
        total += np.cos(2 * np.pi * hz * t + phase) / np.sqrt(30)
    return total


def batches(case: Case, seed: int = 3, size: int = _ROWS) -> tuple[int, list[Batch]]:
    """Return the number of events of a case, and batches of `size` in order of arrival."""
    columns = []
    for k, rate in enumerate(case.rates_hz):
        rng = np.random.default_rng([seed, k])
        t: F64 = np.arange(int(case.seconds * rate)) / rate + rng.random() / rate
        value = movement(t - 0.1 * k, seed)  # a lag of 0.1 s for each further stream
        value += 0.1 * rng.standard_normal(len(t))
        arrival = t + 0.002 + rng.exponential(0.005, len(t))
        columns.append((np.full(len(t), float(k)), t * (1 + 1e-5 * k) + k, arrival, value))
    rows = np.concatenate(columns, axis=1)
    name, ts, rx, value = rows[:, np.argsort(rows[2], kind="stable")]
    names, n = tuple((f"s{k}", "x") for k in range(len(case.rates_hz))), len(name)
    cuts = [slice(i, min(i + size, n)) for i in range(0, n, size)]
    return n, [
        Batch(
            rig="bench",
            names=names,
            name=name[cut].astype(np.int32),
            ts=BEGIN + ts[cut],
            rx=BEGIN + rx[cut],
            stamped=np.ones(cut.stop - cut.start, bool),
            wild=np.zeros(cut.stop - cut.start, bool),
            value=value[cut],
            seq=np.full(cut.stop - cut.start, -1),
            line=np.arange(cut.start, cut.stop),
            end=cut.stop == n,
        )
        for cut in cuts
    ]


def configuration(case: Case) -> Config:
    """Return the configuration of a case: one signal, the first stream its reference."""
    members = {f"s{k}:x": {"group": "sensors" if k else "ure"} for k in range(len(case.rates_hz))}
    return msgspec.convert(
        {
            "version": 2,
            "rig": "bench",
            "streams": [{"name": "rows", "type": "file", "path": "rows", "speed": 0}],
            "signals": {"pulse": {"reference": "s0:x", "members": members}},
            "collect": {"block_s": case.block_s},
            "align": {"max_lag_s": 2.5},
            "resample": {"target_hz": case.hz, "profile": case.profile},
        },
        Config,
    )


def measure(case: Case, repeats: int) -> list[list[float]]:
    """Return the CPU time of an event at each station (us), a list a repeat."""
    n, rows = batches(case)
    config = configuration(case)
    costs = []
    for _ in range(repeats):
        pipeline = TimedPipeline(config)
        ticks = sum(len(packet.fused) for packet in pipeline.run(rows) if packet.fused is not None)
        if not ticks:
            raise RuntimeError(f"{case.name}: no tick came out")
        costs.append([1e6 * cpu_s / n for cpu_s in pipeline.cpu_s])
    return costs


def calls(case: Case, count: Callable[[], int]) -> list[float]:
    """Return the numpy calls of a packet at each station, and of all; `count`: calls so far."""
    pipeline = TimedPipeline(configuration(case), count)
    packets = sum(1 for _ in pipeline.run(batches(case)[1]))
    each = [used / packets for used in pipeline.cpu_s]
    return [*each, sum(each)]


def by_packets(repeats: int) -> str:
    """Return the table of the least times by block length."""
    columns = []
    for case in PACKETS:
        costs = measure(case, repeats)
        every = [*zip(*costs, strict=True), [sum(repeat) for repeat in costs]]
        columns.append([min(x) for x in every])
    rows = [[name, *(f"{c[i]:.2f}" for c in columns)] for i, name in enumerate([*STATIONS, "all"])]
    rate = sum(_FIVE)
    rows.append(["share of a core (%)", *(f"{c[-1] * rate / 1e4:.2f}" for c in columns)])
    return table(["us an event", *(case.name for case in PACKETS)], rows)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--packets", action="store_true", help="one rig by block length")
    parser.add_argument("--calls", action="store_true", help="numpy calls a packet instead")
    args = parser.parse_args()
    if args.calls:
        subprocess.run((sys.executable, "-m", "ops.bench.numpy_calls"), check=True)
    if args.packets:
        print(by_packets(args.repeats))
    if args.calls or args.packets:
        return
    least, typical = [], []
    for case in CASES:
        costs = measure(case, args.repeats)
        sums = [sum(repeat) for repeat in costs]
        columns = [*zip(*costs, strict=True), sums]
        least.append([min(x) for x in columns])
        typical.append([statistics.median(x) for x in columns])
    for k, case in enumerate(CASES):
        print(f"{'abc'[k]}: {case.name}; least and median of {args.repeats}")
    rows = [
        [name, *(f"{x[k][i]:.2f}" for k in range(len(CASES)) for x in (least, typical))]
        for i, name in enumerate([*STATIONS, "all"])
    ]
    head = ["us an event", *(f"{c} {x}" for c in "abc" for x in ("least", "median"))]
    print(table(head, rows))


if __name__ == "__main__":
    main()
