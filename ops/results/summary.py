"""Summary of a run for the terminal: sentences and tables."""

from __future__ import annotations

import collections
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import numpy as np

from configs.inert import inert
from operators.types import ENDS, ChannelState
from ops.results.folder import Results, rigs, run_json
from ops.results.unused import UnusedKind, refused
from ops.results.unused import findings as unused
from ops.text.table import number, table, with_sd
from sinks.advice.comparison import NOT_COMPARED, MemberState, reasons
from sinks.advice.units import unlike
from sinks.files.parts import parts_of
from sources.recordings.remarks import comma, is_comma_number

MAX_MOMENTS, MAX_REMARKS = 24, 24
Moment = tuple[float, str]
Accounts = dict[str, dict[str, int]]
AT_THE_END = "Clocks and lags at the end"


def summary(folder: Path) -> Iterator[str]:
    """Yield the sections of the summary of the run in `folder`."""
    results = rigs(folder)
    for rig in results:
        head = f"Rig {rig.folder.name}\n" if len(results) > 1 else ""
        yield f"{head}{channels(rig)}"
        start = next((tick.ts for tick in rig.ticks()), 0.0)
        events = f"{timeline(seen(rig), start)}\n{modes(rig)}\n{sync(rig, by_source(folder))}"
        yield f"Detected events, by second\n{events}"
        if odd := units(rig):
            yield f"Units\n{odd}"
        yield losses(rig)
    if known := remarks(folder, results):
        yield "Remarks on the recordings\n" + "\n".join(known)
    if found := findings(folder, results):
        yield "Findings\n" + "\n".join(found)
    yield account(folder)
    yield files(folder)


def channels(results: Results) -> str:
    """Return the newest estimates of each channel."""
    last = results.last_sync()
    head = ["channel", "state", "offset ms", "skew ppm", "resets", "lag ms", "sure", "Hz", "events"]
    rows = [
        (
            name,
            s.state or "-",
            with_sd(s.offset_s, s.offset_sd_s, 2, 1e3),
            with_sd(s.skew_ppm, s.skew_sd_ppm, 1),
            number(s.clock_resets, 0),
            with_sd(s.lag_s, s.lag_sd_s, 1, 1e3),
            number(s.confidence, 2),
            number(s.rate_hz, 1),
            number(s.received, 0),
        )
        for name, s in last.items()
    ]
    whole = any(s.hindsight for s in last.values())
    title = "Clocks and lags in hindsight, of the whole recording" if whole else AT_THE_END
    return f"{title}\n{table(head, rows)}"


def units(results: Results) -> str:
    """Return the members in unlike units, a line each, with the remedy."""
    last, signals = results.last_sync(), {}
    for tick in results.ticks():
        signals = tick.signals
    found = (x for s in signals.values() for x in unlike(list(s.weights), last))
    return "\n".join(dict.fromkeys(inert(x.text) for x in found))


def seen(results: Results) -> list[Moment]:
    """Return the times of mode changes, clock steps, and rules fired or resolved."""
    moments = [(ts, f"mode {mode}") for ts, mode, _ in results.modes()]
    moments += _steps(results)
    for found in results.evidence():
        facts = ", ".join(f"{name} {number(value, 3)}" for name, value in found.facts.items())
        text = found.quote or facts if found.state == "firing" else "resolved"
        moments.append((found.ts, f"{found.kind} {found.rule}: {text}"))
    return sorted(moments)


def _steps(results: Results) -> Iterator[Moment]:
    """Yield each step of a clock once, for all channels of its source."""
    before: dict[str, float] = {}
    reported = set()
    for line in results.sync():
        if line.offset_s is None:
            continue
        source = line.channel.partition(":")[0]
        if line.why == "reset" and (source, line.clock_resets) not in reported:
            reported.add((source, line.clock_resets))
            step_s = before.get(line.channel, line.offset_s) - line.offset_s
            by = with_sd(step_s, line.offset_sd_s, 3)
            yield line.reset_at or line.ts, f"clock of {source} has stepped by {by} s"
        before[line.channel] = line.offset_s


def timeline(moments: Iterable[Moment], start: float) -> str:
    """Return the events, a line each, in seconds after `start`."""
    lines = [f"{ts - start:7.1f}  {inert(text)}" for ts, text in moments]
    if (more := len(lines) - MAX_MOMENTS) > 0:
        lines[MAX_MOMENTS:] = [f"         and {more} more"]
    return "\n".join(lines) or "         nothing"


def modes(results: Results) -> str:
    """Return the share of each mode in the ticks."""
    counts: collections.Counter[str] = collections.Counter()
    for _, mode, count in results.modes():
        counts[mode] += count
    if not counts:
        return "No tick was written."
    shares = (f"{mode} {100 * n / counts.total():.0f} %" for mode, n in counts.most_common())
    return f"Of {counts.total()} ticks: {', '.join(shares)}."


def sync(results: Results, accounts: Accounts) -> str:
    """Return the bound of the sync error, or the reason for its absence."""
    bounds, ticks, signals = array("d"), 0, dict[str, list[str]]()
    for tick in results.ticks():
        ticks += 1
        signals = signals or {name: list(s.weights) for name, s in tick.signals.items()}
        if tick.sync_bound_s is not None:
            bounds.append(tick.sync_bound_s)
    if not ticks:
        return "Not compared: there is no tick."
    if bounds:
        middle, high = (number(float(np.quantile(bounds, q)), 1, 1e3) for q in (0.5, 0.95))
        return (
            f"Sync error bound: {middle} ms in the median, {high} in 95 % of the "
            f"{100 * len(bounds) / ticks:.0f} % of ticks at which channels were compared."
        )
    return f"{NOT_COMPARED}: {_why_not(results, signals, accounts)}."


def _why_not(results: Results, signals: dict[str, list[str]], accounts: Accounts) -> str:
    lines: dict[str, MemberState] = {}
    for line in results.sync():
        before = lines.get(line.channel)
        state = "live" if before is not None and before.live else cast(ChannelState, line.state)
        arrived = (line.received or 0) > 0
        lines[line.channel] = MemberState(line.channel, state, line.lag_s, line.lag_sd_s, arrived)
    return reasons(
        [
            lines.get(c, MemberState(c, None, None, None, False))._replace(
                refused=refused(accounts, c.partition(":")[0])
            )
            for c in names
        ]
        for names in signals.values()
    )


def losses(results: Results) -> str:
    """Return the dead letters by stage, reason and source."""
    counts: collections.Counter[tuple[str, str, str]] = collections.Counter()
    for letter in results.dead():
        kind = letter.stage or "?", letter.reason or "?", letter.source or "?"
        counts[kind] += letter.count or 0
    if not counts:
        return "Dead letters: none"
    rows = [(*kind, str(count)) for kind, count in sorted(counts.items())]
    return f"Dead letters\n{table(('stage', 'reason', 'source', 'events'), rows)}"


def remarks(folder: Path, results: Iterable[Results]) -> list[str]:
    """Return the remarks on the recordings, a sentence each."""
    recordings = (run_json(folder) or {}).get("recordings") or []
    found = [inert(str(x)) for recording in recordings for x in recording.get("remarks") or []]
    counts, first = collections.Counter[str](), dict[str, str]()
    for rig in results:
        for marker in rig.markers():
            channel, value = marker.channel or "?", marker.value or ""
            if is_comma_number(value):
                counts[channel] += 1
                first.setdefault(channel, value)
    found += [comma(inert(channel), n, first[channel]) for channel, n in counts.items()]
    more = len(found) - MAX_REMARKS
    return found[:MAX_REMARKS] + ([f"and {more} more"] if more > 0 else [])


def by_source(folder: Path) -> Accounts:
    """Return the ends of each source's events, by name; empty for a run without an account."""
    accounts: Accounts = (run_json(folder).get("account") or {}).get("by_source") or {}
    return accounts


def findings(folder: Path, results: Iterable[Results]) -> list[str]:
    """Return the sources with many unused events, a sentence each."""
    letters = (
        UnusedKind(x.source or "?", x.reason or "?", x.count or 0, x.sample or "")
        for rig in results
        for x in rig.dead()
    )
    return list(unused(by_source(folder), letters))


def account(folder: Path) -> str:
    """Return the number of events by source and end."""
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
    verdict += "" if report["ended"] else " so far; the data has not ended"
    return f"Account of events, {verdict}\n{table(('source', *ENDS), rows)}"


def files(folder: Path) -> str:
    """Return the paths and sizes of the results."""
    found = ((*part.glob("*.json*"), *part.glob("*/*.jsonl")) for part in parts_of(folder))
    paths = sorted(path for part in found for path in part)
    rows = [(str(p), f"{p.stat().st_size / 1000:.1f} kB") for p in paths]
    return f"Files\n{table(('path', 'size'), rows)}"
