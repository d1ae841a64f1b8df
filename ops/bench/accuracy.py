"""Accuracy and honesty of the fused value over many seeds, beside common methods.

`python -m ops.bench.accuracy [--seeds N] [--snr DB ...]`: five instruments for ten minutes a seed
(`ops.simulate.scenario.laboratory`), errors pooled over seeds (`ops.evaluate.accuracy`). One
recording takes about eight seconds.

With `--hindsight`, the same recordings run in both modes. Errors are given from `--from` seconds to
the first minute, and from there to the end.
"""

from __future__ import annotations

import argparse

import numpy as np

from configs.schema import RunMode
from ops.bench.baselines import fusers, series
from ops.evaluate.accuracy import LAGS_S, TAIL_S, Accuracy, oracle
from ops.evaluate.experiment import measure, runs, show
from ops.simulate.recording import START, make
from ops.simulate.scenario import laboratory
from ops.text.table import number, table

FIRST_SEED = 1000
"""First seed; no parameter was tuned on these seeds."""
MINUTE_S = 60.0
MODES: tuple[RunMode, ...] = ("causal", "hindsight")
IN_HINDSIGHT = (
    ("fused_over_oracle", "fused/oracle", 3),
    ("fused_nees", "NEES", 2),
    ("lag_ms", "lag ms", 2),
    ("lag_nees", "NEES", 2),
    ("map_median_ms", "mapped ms", 4),
    ("map_step_ms", "after a step", 4),
    ("offset_nees", "NEES", 2),
    ("skew_nees", "NEES", 2),
    ("bound_pct", "in the bound %", 1),
)
"""Figures of `ops.evaluate.accuracy`: key, title, digits."""


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


def in_hindsight(seeds: range, snr_db: float, since_s: float) -> list[list[dict[str, float]]]:
    """Return the figures by mode, causal first, and by span: the first minute, all later."""
    found = []
    for mode in MODES:
        spans = [Accuracy(since_s, MINUTE_S), Accuracy(MINUTE_S)]
        for run in runs(seeds, snr_db, mode=mode):
            for span in spans:
                span.add(*run)
        found.append([span.figures() for span in spans])
    return found


def show_hindsight(seeds: range, ratios_db: list[float], since_s: float) -> str:
    """Return the table of both modes and spans."""
    rows = []
    for r in ratios_db:
        found = in_hindsight(seeds, r, since_s)
        for mode, spans in zip(MODES, found, strict=True):
            names = (f"{since_s:g} to {MINUTE_S:g} s", f"{MINUTE_S:g} s on")
            for name, figures in zip(names, spans, strict=True):
                cells = (number(figures[key], digits) for key, _, digits in IN_HINDSIGHT)
                rows.append((f"{r:.0f} dB", mode, name, *cells))
    return table(("", "mode", "span", *(title for _, title, _ in IN_HINDSIGHT)), rows)


def main() -> int:
    """Print both tables, or that of both modes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4, help="default %(default)s")
    parser.add_argument("--snr", type=float, nargs="+", default=[20.0, 10.0, 0.0], metavar="DB")
    parser.add_argument("--hindsight", action="store_true", help="both modes beside each other")
    parser.add_argument(
        "--from",
        dest="since_s",
        type=float,
        default=3.0,
        metavar="S",
        help="begin (s) of the first span; default %(default)s",
    )
    parser.add_argument(
        "--members",
        type=int,
        default=5,
        choices=range(2, 6),
        help="the reference and sensors; default %(default)s",
    )
    parser.add_argument(
        "--gains",
        type=float,
        default=0.0,
        metavar="PART",
        help="gain error of the sensors; the scale of the reference is then "
        "that of the signal; default %(default)s",
    )
    args = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)
    if args.hindsight:
        print(show_hindsight(seeds, args.snr, args.since_s))
        return 0
    figures = {
        r: measure(seeds, r, members=args.members, gains=args.gains).figures() for r in args.snr
    }
    print(show(figures))
    if (args.members, args.gains) != (5, 0.0):
        return 0
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
