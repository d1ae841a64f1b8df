"""Cost of the stations without parsing and writing: microseconds of CPU an event.

`python -m ops.bench.chain [--repeats N]`: all stations in their order, in this process, on rows in
memory. Every stream has its own stamps, clock, rate and lag, so that all have to be estimated. Each
repeat begins with empty stations. The minimum is the cost of the work, the median includes other
load of the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from configs.schema import Config
from operators.align import Align
from operators.collect import Collect
from operators.drift import Drift
from operators.events import Batch
from operators.evidence import Evidence
from operators.fuse import Fuse
from operators.guard import Guard
from operators.normalize import Normalize
from operators.quality import Quality
from operators.records import Packet
from operators.resample import Resample
from operators.scale import Scale
from operators.types import F64
from ops.text.table import table

STATIONS = (
    "collect",
    "normalize",
    "drift",
    "guard",
    "align",
    "resample",
    "scale",
    "quality",
    "fuse",
    "evidence",
)
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


_FIVE = (20.0, 25.0, 31.7, 50.0, 64.0)
CASES = (
    Case("3.2 kev/s, 1 s blocks, 5 Hz", tuple(17 * rate for rate in _FIVE), 90.0, 1.0, 5.0),
    Case("190 ev/s, 1 s blocks, 5 Hz", _FIVE, 180.0, 1.0, 5.0),
    Case("200 ev/s, 10 s blocks, 100 Hz", (100.0, 100.0), 600.0, 10.0, 100.0),
)


class Chain:
    """All stations of a configuration, without an engine.

    Attributes
    ----------
    cpu_s : list of float
        CPU time of each of STATIONS (s).
    """

    def __init__(self, config: Config) -> None:
        plan = config.plan()
        self.collect = Collect(plan, config.block_s())
        self.others: list[Any] = [
            Normalize(plan),
            Drift(plan),
            Guard(plan),
            Align(plan, config.align),
            Resample(plan, config.align.max_lag_s),
            Scale(plan),
            Quality(plan, config.quality),
            Fuse(plan),
            Evidence(plan, ()),
        ]
        self.cpu_s = [0.0] * len(STATIONS)

    def run(self, batches: Iterable[Batch]) -> Iterator[Packet]:
        """Yield the output of the last station."""
        now = time.process_time
        for batch in batches:
            begin = now()
            packets = self.collect.update(batch)
            self.cpu_s[0] += now() - begin
            for packet in packets:
                for i, core in enumerate(self.others, 1):
                    begin = now()
                    packet = core.update(packet)
                    self.cpu_s[i] += now() - begin
                yield packet


def movement(t: F64, seed: int) -> F64:
    """Return 60 sinusoids of 0.02 to 1.5 Hz at the moments (n,), RMS 1."""
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, 60)
    total = np.zeros(len(t))
    for hz, phase in zip(np.linspace(0.02, 1.5, 60), phases, strict=True):
        total += np.cos(2 * np.pi * hz * t + phase) / np.sqrt(30)
    return total


def batches(case: Case, seed: int = 3) -> tuple[int, list[Batch]]:
    """Return the number of events of a case, and the events in order of arrival."""
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
    cuts = [slice(i, min(i + _ROWS, n)) for i in range(0, n, _ROWS)]
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
            "resample": {"target_hz": case.hz},
        },
        Config,
    )


def measure(case: Case, repeats: int) -> list[list[float]]:
    """Return the cost of an event at each station (us of CPU), one list for each repeat."""
    n, rows = batches(case)
    config = configuration(case)
    costs = []
    for _ in range(repeats):
        chain = Chain(config)
        ticks = sum(len(packet.fused) for packet in chain.run(rows) if packet.fused is not None)
        if not ticks:
            raise RuntimeError(f"{case.name}: there is no tick")
        costs.append([1e6 * cpu_s / n for cpu_s in chain.cpu_s])
    return costs


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    least, typical = [], []
    for case in CASES:
        costs = measure(case, args.repeats)
        sums = [sum(repeat) for repeat in costs]
        stations = [*zip(*costs, strict=True), sums]
        least.append([min(x) for x in stations])
        typical.append([statistics.median(x) for x in stations])
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
