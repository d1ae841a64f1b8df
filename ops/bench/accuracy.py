"""How right and how honest, over many seeds, beside what one would do without Lumen Fusion.

`python -m ops.bench.accuracy [--seeds N] [--snr DB ...]`: five instruments for ten minutes a seed
(`ops.scenario.laboratory`), errors pooled over seeds (`ops.accuracy`). About eight seconds a
recording.
"""

from __future__ import annotations

import argparse

import numpy as np

from ops.accuracy import LAGS_S, TAIL_S, oracle
from ops.bench.baselines import fusers, series
from ops.laboratory import measure, show
from ops.scenario import laboratory
from ops.simulate import START, make
from ops.table import number, table

FIRST_SEED = 1000
"""Seeds from here on: nothing was tuned on them."""


def compare(seeds: range, snr_db: float, seconds: float = 600.0) -> dict[str, float]:
    """Return the RMS error of the fused value by method, and of the oracle."""
    errors: dict[str, list[float]] = {}
    for seed in seeds:
        recording = make(laboratory(seed, snr_db, seconds), seed)
        grid = np.arange(0.0, seconds, 0.2)
        scored = (grid > LAGS_S) & (grid < seconds - TAIL_S)
        clean = recording.clean(START + grid)
        for name, fuse in fusers().items():
            error = (fuse(series(recording), grid) - clean)[scored]
            errors.setdefault(name, []).extend((error**2).tolist())
        error = oracle(recording, START + grid[scored]) - clean[scored]
        errors.setdefault("oracle", []).extend((error**2).tolist())
    return {name: float(np.sqrt(np.nanmean(e))) for name, e in errors.items()}


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4, help="default %(default)s")
    parser.add_argument("--snr", type=float, nargs="+", default=[20.0, 10.0, 0.0], metavar="DB")
    args = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)
    figures = {r: measure(seeds, r).figures() for r in args.snr}
    print(show(figures))
    others = {r: compare(seeds, r) for r in args.snr}
    ours = {r: figures[r]["fused_rmse"] for r in args.snr}
    rows = [("Lumen Fusion", *(number(ours[r], 4) for r in args.snr))]
    for name in next(iter(others.values())):
        worse = (f"{number(o[name], 4)} ({o[name] / ours[r]:.1f}x)" for r, o in others.items())
        rows.append((name, *worse))
    print()
    print(table(("fused RMSE", *(f"{r:.0f} dB" for r in args.snr)), rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
