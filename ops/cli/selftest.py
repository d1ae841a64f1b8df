"""`lumen selftest`: estimates of offset, skew, lag and dropouts beside truth; then accuracy.

The first table shows one recording with every kind of fault. The second table shows the figures of
`ops.evaluate.accuracy` for the laboratory recordings of the seed. Both have bars for a single seed
(`ops.evaluate.single_seed`): quantiles of the spread of each figure over seeds, and values that
follow from the faults.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows.run import execute
from ops.evaluate import single_seed as single
from ops.evaluate import truth
from ops.evaluate.experiment import measure, show
from ops.evaluate.truth import Truth
from ops.results.folder import Results, rigs, run_json
from ops.simulate.recording import START, make
from ops.simulate.scenario import Scenario, Sensor
from ops.text.table import number, table, with_sd

REJOIN_S = 10.0
COVERAGE = 0.95
WITHIN = "share within 95 % interval"
EXPLAINED = (
    "Bars are for one seed: about one of a thousand healthy seeds exceeds each.\n"
    "`python -m ops.bench.single` measures them again."
)
CONFIG = """\
version: 2
streams:
  - {{name: recording, type: file, path: {recording}, speed: 0}}
signals:
  pulse:
    reference: "ure:pulse"
    members:
      "ure:pulse": {{group: ure}}
      "phone:/body": {{group: sensors}}
      "watch:/wrist": {{group: sensors}}
align: {{max_lag_s: 2.0, window_s: 30, hop_s: 5}}
failover: {{rejoin_after_s: {rejoin}}}
output: {{dir: {out}, aligned: true}}
"""


@dataclass(frozen=True)
class Check:
    """One quantity: the estimate with its sd, the truth, and the largest error allowed.

    `measured`: the bar comes from `ops.evaluate.single_seed`.
    """

    name: str
    found: float | None
    true: float
    bar: float
    digits: int = 4
    sd: float | None = None
    measured: bool = False

    @property
    def passed(self) -> bool:
        """Return whether there is an estimate within the bar."""
        return self.found is not None and abs(self.found - self.true) <= self.bar

    def row(self) -> tuple[str, ...]:
        """Return the cells of the table row."""
        error = None if self.found is None else self.found - self.true
        values = (number(v, self.digits) for v in (self.true, error, self.bar))
        found = with_sd(self.found, self.sd, self.digits)
        return (self.name, found, *values, "pass" if self.passed else "FAIL")


def scenario(seconds: float) -> Scenario:
    """Return a recording of three instruments; both sensors are silent for 12 s."""
    silent = ((0.72 * seconds, 0.72 * seconds + 12),)
    return Scenario(
        seconds=seconds,
        sensors=(
            Sensor("ure", "pulse", 20.0, "ure", loss=0.02),
            Sensor(
                "phone",
                "/body",
                50.0,
                offset_s=4.213,
                skew_ppm=120.0,
                lag_s=0.35,
                loss=0.02,
                outliers=0.01,
                resets=((0.55 * seconds, 0.4),),
                silent=silent,
                duplicates=3,
            ),
            Sensor(
                "watch",
                "/wrist",
                25.0,
                offset_s=-2.508,
                skew_ppm=-75.0,
                lag_s=-0.22,
                loss=0.02,
                outliers=0.01,
                silent=silent,
                wild=1,
            ),
        ),
        damaged=2,
    )


def checks(folder: Path, true: Truth, quick: bool) -> Iterator[Check]:
    """Yield every check of a run against the truth."""
    results = rigs(folder)[0]
    last = results.last_sync()
    bars = single.allowed(quick)

    def estimate(
        name: str, found: float | None, sd: float | None, true: float, digits: int
    ) -> Check:
        bar = bars.get(name, math.nan)
        return Check(name, found, true, bar, digits=digits, sd=sd, measured=True)

    for channel, known in true.channels.items():
        if (line := last.get(channel)) is None:
            yield Check(f"{channel} sync lines", 0, 1, 0, 0)
            continue
        offset_s, skew_ppm = true.offset_s(channel, line.ts), known.skew_ppm
        assert offset_s is not None and skew_ppm is not None
        yield estimate(
            f"{channel} offset ms",
            _ms(line.offset_s),
            _ms(line.offset_sd_s),
            offset_s * 1e3,
            3,
        )
        yield estimate(f"{channel} skew ppm", line.skew_ppm, line.skew_sd_ppm, skew_ppm, 2)
        yield estimate(
            f"{channel} lag ms", _ms(line.lag_s), _ms(line.lag_sd_s), known.lag_s * 1e3, 2
        )
        yield Check(f"{channel} resets", line.clock_resets, len(known.resets), 0, 0)
        yield Check(
            f"{channel} outliers",
            line.outliers,
            known.outliers,
            0.005 * known.received,
            0,
        )
    yield from _dropout(results, true)
    yield from _signal(results, true, bars.get(WITHIN, math.nan))
    total = run_json(folder)["account"]["total"]
    ends = sum(n for end, n in total.items() if end != "received")
    yield Check("events received", total["received"], true.received, 0, 0)
    yield Check("events with an end", ends, true.received, 0, 0)
    yield Check("duplicates", total["duplicate"], _count(true), 0, 0)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


def _count(true: Truth) -> int:
    return sum(known.duplicates for known in true.channels.values())


def _dropout(results: Results, true: Truth) -> Iterator[Check]:
    """Yield the times at which the mode shows the silence of the sensors, and their return."""
    began, ended = true.channels["phone:/body"].silent[0]
    gone = [t.ts for t in results.ticks() if t.mode == "ure_only" and t.ts > began - 5]
    first = gone[0] - START if gone else None
    last = gone[-1] - START if gone else None
    # Stale after three intervals, at least one tick; live again after `rejoin_after_s`.
    yield Check("dropout seen, s", first, began + 0.2 - START, 0.3, 1)
    yield Check("rejoined, s", last, ended + REJOIN_S - START, 0.5, 1)


def _signal(results: Results, true: Truth, bar: float) -> Iterator[Check]:
    """Yield the error of the fused signal with all members live, beside the best member."""
    ticks = list(results.ticks())
    time, value, sd = truth.fused(ticks, true.signal)
    clean = true.at(time)
    whole = truth.settled(ticks, len(true.channels))
    if not whole.any():
        yield Check("fused RMS error", None, 0.0, 0.0)
        return
    alone = truth.alone(results.aligned(), true, time)
    best = min(truth.rms_error(corrected[whole], clean[whole]) for _, corrected in alone.values())
    yield Check("fused RMS error", truth.rms_error(value[whole], clean[whole]), 0.0, best)
    inside = np.abs(value - clean)[whole] <= 1.96 * sd[whole]
    yield Check(WITHIN, float(inside.mean()), COVERAGE, bar, 2, measured=True)


def recorded(seed: int, quick: bool) -> list[Check]:
    """Record a seed, run it and return its checks."""
    with tempfile.TemporaryDirectory() as place:
        recording = Path(place, "selftest.ndjson")
        make(scenario(150.0 if quick else 600.0), seed).write(recording)
        config = Path(place, "selftest.yaml")
        out = Path(place, "out")
        config.write_text(CONFIG.format(recording=recording, out=out, rejoin=REJOIN_S), "utf-8")
        return list(checks(execute(config, progress=False), truth.load(recording), quick))


def accurate(seed: int, ratios_db: tuple[float, ...]) -> tuple[str, int, int]:
    """Return the table of a seed's laboratory recordings, the figures that hold, and all."""
    figures = {r: measure([seed], r).figures() for r in ratios_db}
    held = [bar.holds(figures[r][bar.key]) for r in ratios_db for bar in single.bars(r)]
    return show(figures, single.bars), sum(held), len(held)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen selftest`."""
    parser.add_argument(
        "--quick",
        action="store_true",
        help="150 s of data instead of 600 s, accuracy at 20 dB alone",
    )
    parser.add_argument("--seed", type=int, default=1, help="default %(default)s")


def main(args: argparse.Namespace) -> int:
    """Inject, estimate and compare; return 1 if a bar is missed."""
    found = recorded(args.seed, args.quick)
    print(table(("quantity", "estimated", "true", "error", "bar", ""), [c.row() for c in found]))
    passed = sum(check.passed for check in found)
    print(f"\n{passed} of {len(found)} passed\n")
    ratios_db = (20.0,) if args.quick else (20.0, 10.0, 0.0)
    shown, held, figures = accurate(args.seed, ratios_db)
    print(f"{shown}\n\n{held} of {figures} within their bars; ! marks the others. {EXPLAINED}")
    return 0 if passed == len(found) and held == figures else 1
