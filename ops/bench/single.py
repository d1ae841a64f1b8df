"""Spread of the figures of one seed, and the resulting bars of `lumen selftest`.

`python -m ops.bench.single [--seeds N] [--jobs N] [--add] [--keep]`: the self-test's recordings and
the laboratory's, seed by seed. Writes `ops/evaluate/single_seed.json`, the bars of a single seed,
and prints the spread beside them. About 30 s of CPU a seed. Run it on a healthy build after each
change of an estimator. `--add` continues from the seeds of the table; `--keep` writes nothing and
only counts the seeds beyond the shipped bars.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import msgspec
import numpy as np

from ops.cli import selftest
from ops.evaluate import single_seed as single
from ops.evaluate.accuracy import bars
from ops.evaluate.experiment import measure
from ops.text.table import number, table

FIRST_SEED = 5000
"""First seed; no parameter was tuned on these seeds."""
RATIOS_DB = (20.0, 10.0, 0.0)


class One(NamedTuple):
    """Results of one seed: errors by length and check, figures by ratio and key."""

    errors: dict[str, dict[str, float]]
    figures: dict[float, dict[str, float]]


def one(seed: int) -> One:
    """Run the recordings of a seed."""
    errors = {
        single.length(quick): {
            c.name: c.found - c.true
            for c in selftest.recorded(seed, quick)
            if c.measured and c.found is not None
        }
        for quick in (True, False)
    }
    return One(errors, {r: measure([seed], r).figures() for r in RATIOS_DB})


def main() -> int:
    """Measure; write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=64, help="default %(default)s")
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="default %(default)s")
    parser.add_argument("--jobs", type=int, default=1, help="default %(default)s")
    parser.add_argument("--add", action="store_true", help="add to the seeds of the shipped table")
    parser.add_argument("--keep", action="store_true", help="write nothing")
    args = parser.parse_args()
    made = single.SeedTable(args.first, args.seeds, {}, {})
    first = args.first
    if args.add:
        made = single.table()
        first = made.first + made.seeds
        made.seeds += args.seeds
    with ProcessPoolExecutor(args.jobs, get_context("spawn")) as pool:
        for found in pool.map(one, range(first, first + args.seeds)):
            for name, of in found.errors.items():
                for what, error in of.items():
                    made.checks.setdefault(name, {}).setdefault(what, []).append(_short(error))
            for r, of in found.figures.items():
                for key in (bar.key for bar in bars(r)):
                    by_key = made.figures.setdefault(single.ratio(r), {})
                    by_key.setdefault(key, []).append(_short(of[key]))
    if not args.keep:
        single.TABLE.write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=0) + b"\n")
        single.table.cache_clear()
    head = ["", "least", "median", "most", "bar", "", "beyond"]
    print(table(head, [*_checks(made), *_figures(made)]))
    return 0


def _short(x: float) -> float:
    return float(f"{x:.5g}")


def _checks(made: single.SeedTable) -> list[list[str]]:
    rows = []
    for quick in (True, False):
        allowed = single.allowed(quick)
        for what, x in made.checks[single.length(quick)].items():
            bar = allowed.get(what, float("nan"))
            beyond = sum(not abs(e) <= bar for e in x)
            name = f"{single.length(quick)}: {what}"
            rows.append([name, *_spread(x), "±", number(bar, 4), str(beyond)])
    return rows


def _figures(made: single.SeedTable) -> list[list[str]]:
    rows = []
    for r in RATIOS_DB:
        for bar in single.bars(r):
            x = made.figures[single.ratio(r)][bar.key]
            beyond = sum(not bar.holds(v) for v in x)
            low = number(bar.low, 3) if bar.low else ""
            row = [f"{r:g} dB: {bar.key}", *_spread(x), low, number(bar.high, 3), str(beyond)]
            rows.append(row)
    return rows


def _spread(x: list[float]) -> list[str]:
    return [number(float(v), 3) for v in (np.min(x), np.median(x), np.max(x))]


if __name__ == "__main__":
    raise SystemExit(main())
