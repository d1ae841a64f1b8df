"""`lumen watch --once --judge`: whether three indicators meet their thresholds.

A running flow is judged by its newest tick. Without a URL, the shipped recording is replayed and
judged by the medians of its ticks, because it contains failures on purpose.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from configs.load import load
from configs.thresholds import THRESHOLDS
from flows.run import execute
from ops.cli.state_client import URL, NoAnswerError, ask
from ops.cli.verify import write_config
from ops.results.folder import Results
from ops.text.table import number, table

JUDGED = ("phase_diff", "sync_quality", "entropy_ratio")
CONFIG = Path("configs/fusion.yaml")
Values = dict[str, float | None]


def judge(values: Values, left_out: str | None = None) -> tuple[str, bool]:
    """Return the values beside their thresholds, and whether all of them pass.

    An unknown value fails. With members left out (`left_out` gives their names and the reason), an
    unknown value counts as not compared. At least one value has to be known.
    """
    rows, passed, known = [], True, False
    for name in JUDGED:
        threshold, value = THRESHOLDS[name], values.get(name)
        sign = "≥" if threshold.least else "≤"
        kept = value is not None and bool(threshold.ok(value))
        uncompared = value is None and bool(left_out)
        passed, known = passed and (kept or uncompared), known or value is not None
        verdict = "ok" if kept else "not compared" if uncompared else "BAD"
        rows.append((name, number(value, 3), f"{sign} {threshold.good:g}", verdict))
    shown = table(("indicator", "value", "budget", ""), rows)
    return f"{shown}\n{left_out}" if left_out else shown, passed and known


def running(url: str) -> Iterator[tuple[str, Values, str | None]]:
    """Yield each rig of a running flow: its title, newest indicators and members left out."""
    for name, rig in ask(url).rigs.items():
        values = {i: each.value for i, each in rig.indicators.items()}
        yield f"rig {name} at {url}", values, rig.left_out


def replayed(config: Path) -> Iterator[tuple[str, Values, str | None]]:
    """Replay a configuration; yield the medians of its indicators."""
    with tempfile.TemporaryDirectory(prefix="lumen-judge-") as place:
        chosen = write_config(load(config).config, Path(place, "judge.yaml"), Path(place, "out"))
        folder = execute(chosen, progress=False)
        ticks = [tick.indicators for tick in Results(folder).ticks()]
    medians: Values = {}
    for name in JUDGED:
        known = [x for tick in ticks if (x := tick.get(name)) is not None]
        medians[name] = statistics.median(known) if known else None
    title = f"a replay of {config}, medians of {len(ticks)} ticks; ${URL} names a running flow"
    yield title, medians, None


def report_on(url: str | None) -> int:
    """Print the judgement of a running flow, or of the shipped replay without a URL.

    Returns
    -------
    int
        Exit code: 0 if all thresholds are met, 1 if not or if no flow answers.
    """
    all_passed = True
    try:
        for title, values, left_out in running(url) if url else replayed(CONFIG):
            shown, passed = judge(values, left_out)
            all_passed &= passed
            print(f"{title}\n{shown}\nverdict: {'OK' if passed else 'BAD'}")
    except NoAnswerError as error:
        print(f"lumen watch: {error}", file=sys.stderr)
        return 1
    return 0 if all_passed else 1
