"""What became of a run, in words and tables for the terminal."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from pathlib import Path

from operators.records import ENDS
from ops.results import Results, rigs, run_json
from ops.table import number, table, with_sd

MOST_SPELLS = 12
MOST_FINDINGS = 8


def summary(folder: Path) -> Iterator[str]:
    """Yield what a run in `folder` came to, section by section."""
    results = rigs(folder)
    for rig in results:
        head = f"Rig {rig.folder.name}\n" if len(results) > 1 else ""
        yield f"{head}{channels(rig)}"
        yield modes(rig)
        yield evidence(rig)
        yield losses(rig)
    yield account(folder)
    yield files(folder)


def channels(results: Results) -> str:
    """Return the newest estimates of each channel."""
    rows = [
        (
            name, s.state, with_sd(s.offset_s, s.offset_sd_s, 5),
            with_sd(s.skew_ppm, s.skew_sd_ppm, 2), str(s.clock_resets),
            with_sd(s.lag_s, s.lag_sd_s, 4), number(s.confidence, 2), number(s.rate_hz, 1),
            str(s.received), str(s.used),
        )
        for name, s in results.last_sync().items()
    ]  # fmt: skip
    head = ("channel", "state", "offset s", "skew ppm", "resets", "lag s", "confidence", "Hz",
            "received", "used")  # fmt: skip
    return f"Clocks and lags\n{table(head, rows)}"


def modes(results: Results) -> str:
    """Return when the mode changed."""
    spells = results.modes()
    if not spells:
        return "Modes over time: no tick was written"
    start = spells[0][0]
    rows: list[tuple[str, ...]] = [
        (f"{ts - start:.1f}", mode, str(count), f"{100 * count / sum(n for *_, n in spells):.1f}")
        for ts, mode, count in spells
    ]
    if (more := len(rows) - MOST_SPELLS) > 0:
        rows[MOST_SPELLS:] = [(f"and {more} more", "", "", "")]
    head = ("from second", "mode", "ticks", "%")
    return f"Modes over time\n{table(head, rows)}"


def evidence(results: Results) -> str:
    """Return what the rules found."""
    found = list(results.evidence())
    if not found:
        return "Evidence: none"
    start = next(results.ticks()).ts
    lines = [
        f"  {e.ts - start:6.1f} s  {e.rule} {e.state}: {e.risk or e.quote or ''}"
        + (f" ({', '.join(f'{k} {number(v, 3)}' for k, v in e.facts.items())})" if e.facts else "")
        for e in found[:MOST_FINDINGS]
    ]
    if len(found) > MOST_FINDINGS:
        lines.append(f"  and {len(found) - MOST_FINDINGS} more")
    return "Evidence\n" + "\n".join(lines)


def losses(results: Results) -> str:
    """Return what could not be used, and why."""
    counts: collections.Counter[tuple[str, str, str]] = collections.Counter()
    for letter in results.dead():
        counts[letter.stage, letter.reason, letter.source] += letter.count
    if not counts:
        return "Dead letters: none"
    rows = [(*what, str(count)) for what, count in sorted(counts.items())]
    return f"Dead letters\n{table(('stage', 'reason', 'source', 'events'), rows)}"


def account(folder: Path) -> str:
    """Return where every event ended."""
    report = run_json(folder)
    if not report:
        return "Account: none was written"
    counts = report["account"]
    rows = [
        (name, *(str(ends[end]) for end in ENDS))
        for name, ends in [*sorted(counts["by_source"].items()), ("total", counts["total"])]
    ]
    total = counts["total"]
    balanced = total["received"] == sum(total[end] for end in ENDS[1:])
    verdict = "balanced" if balanced else "NOT BALANCED"
    verdict += "" if report["ended"] else "; stopped before the end of the data"
    return f"Account of events, {verdict}\n{table(('source', *ENDS), rows)}"


def files(folder: Path) -> str:
    """Return where the results lie."""
    paths = sorted([*folder.glob("*.json*"), *folder.glob("*/*.jsonl")])
    rows = [(str(p), f"{p.stat().st_size / 1000:.0f} kB") for p in paths]
    return f"Files\n{table(('path', 'size'), rows)}"
