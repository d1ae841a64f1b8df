"""One frame of a flow: lines for a terminal of a given width.

State: `MAX_POINTS` points of each signal, for the curves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from textwrap import wrap
from typing import Literal, NamedTuple, TypeAlias

from operators.lines import EvidenceRecord
from ops.cli.bridge_lines import bridge_lines
from ops.cli.state_client import (
    BridgeView,
    ChangeEntryView,
    ChangeView,
    ChannelView,
    EnergyView,
    Indicator,
    RigView,
    State,
    StreamView,
)
from ops.text.table import measured, number, table
from sinks.exporter.history import MAX_POINTS

Kind = Literal["plain", "soft", "good", "warn", "crit", "wait"]
Row: TypeAlias = tuple[Kind, list[str]]
MAX_RECENT = 5
"""Findings, and changes, shown."""
CURVE_ROWS = 5
"""Rows of a curve."""
_MARGIN = 9
"""Columns left of a curve for its scale."""
_KINDS: dict[str, Kind] = {
    "live": "plain",
    "waiting": "wait",
    "acquiring": "wait",
    "rejoining": "wait",
    "stale": "warn",
}
_STATES: dict[str, Kind] = {"E2": "good", "E3": "warn", "E4": "crit"}
_LETTERS = {"fused": "·", "ure_only": "u", "sensors_only": "s", "degraded": "d", "none": "n"}


class TextLine(NamedTuple):
    """A line and its kind."""

    text: str
    kind: Kind = "plain"


class Cell(NamedTuple):
    """A signal at one time."""

    ts: float
    value: float | None
    sd: float | None


class Trace:
    """The points of a flow so far, at the rate of its history.

    Attributes
    ----------
    points : dict
        Of each rig and signal, oldest first: time (s since the epoch), value, sd.
    versions : dict
        Of each rig: the last version received.
    restarted : float or None
        Start of a restarted flow (s since the epoch).
    """

    def __init__(self) -> None:
        self.points: dict[tuple[str, str], deque[Cell]] = {}
        self.versions: dict[str, int] = {}
        self.restarted: float | None = None
        self._started: float | None = None

    def add(self, state: State) -> None:
        """Add the new points of a state."""
        before, self._started = self._started, state.started
        if before not in (None, state.started):
            self.restarted = state.started
            self.points.clear()
            # These points are relative to a version of the former run: the next poll requests all.
            self.versions.clear()
            return
        history = state.history
        if history is None:
            return
        self.versions[history.rig] = state.version
        for name, line in history.signals.items():
            points = self.points.setdefault((history.rig, name), deque(maxlen=MAX_POINTS))
            points.extend(map(Cell, history.ts, line.value, line.sd))
            while points and points[0].ts <= points[-1].ts - history.window_s:
                points.popleft()


def frame(state: State, trace: Trace, width: int) -> Iterator[TextLine]:
    """Yield the frame; no line is longer than `width`."""
    for line in _lines(state, trace, width):
        text = _printable(line.text)
        yield TextLine(text if len(text) <= width else f"{text[: width - 1]}…", line.kind)


def _lines(state: State, trace: Trace, width: int) -> Iterator[TextLine]:
    if trace.restarted is not None:
        restart = f"The flow restarted at {_clock(trace.restarted)}; counts are since then"
        yield TextLine(restart, "warn")
    for name, rig in state.rigs.items():
        verdict = rig.verdict
        text = f"{name}: {verdict.head}{f', {verdict.text}' if verdict.text else ''}"
        yield from (
            TextLine(part, verdict.level) for part in wrap(text, width, subsequent_indent="  ")
        )
        figures = _rig(name, rig, trace, width)
        yield from dimmed(figures) if rig.stalled else figures
    yield from _energy(state.energy)
    yield from _evidence(state.evidence)


def _energy(energy: EnergyView | None) -> Iterator[TextLine]:
    """Yield power and cost with their source, and the hottest sensor."""
    if energy is None:
        return
    parts = ["energy: no source: RAPL cannot be read, and no watts_per_core is given"]
    if energy.watts is not None:
        parts = [f"energy: {energy.watts:.1f} W"]
        if energy.cost_per_h is not None:
            parts.append(f"{energy.cost_per_h:.3g} {energy.currency} an hour")
        parts.append(f"({energy.source})")
    heat = "" if energy.celsius is None else f"  hottest sensor {energy.celsius:.0f} °C"
    yield TextLine(" ".join(parts) + heat, "soft")


def dimmed(lines: Iterable[TextLine]) -> Iterator[TextLine]:
    """Yield the lines in the style of old figures."""
    return (line._replace(kind="soft") for line in lines)


def _rig(name: str, rig: RigView, trace: Trace, width: int) -> Iterator[TextLine]:
    yield TextLine(
        f"{_clock(rig.ts)}  mode {rig.mode or '-'}  {rig.live or 0} channels live"
        f"  sync {_within(rig.sync_bound_s)}"
        f"  tick {number(rig.tick_age_s, 1)} s old",
        "soft",
    )
    yield from _bridge(rig.bridge)
    yield TextLine("")
    for signal, newest in rig.signals.items():
        points = trace.points.get((name, signal), ())
        value = measured(newest.value, newest.sd, 3)
        unit = f" {newest.unit}" if newest.unit else ""
        yield TextLine(f"{signal}  {value}{unit}  {newest.mode}")
        yield from _curve(points, rig.changes, width - _MARGIN)
    yield TextLine("")
    yield from _indicators(rig.indicators, width)
    yield from (TextLine(part, "soft") for part in wrap(rig.left_out or "", width))
    yield TextLine("")
    yield from _streams(rig.streams, width)
    yield TextLine("")
    yield from _channels(rig, width)
    yield TextLine("")
    yield from _changes(rig.happened)


def _bridge(bridge: BridgeView | None) -> Iterator[TextLine]:
    """Yield the state of the bridge, if there is one, and its unmet conditions."""
    if bridge is None:
        return
    kind = "crit" if bridge.hard_stop else _STATES.get(bridge.state, "wait")
    for index, line in enumerate(bridge_lines("bridge", bridge)):
        yield TextLine(line, "soft" if index else kind)


def _within(bound_s: float | None) -> str:
    return "not compared" if bound_s is None else f"within {number(bound_s, 1, 1e3)} ms"


def _curve(
    points: Collection[Cell], changes: Sequence[ChangeView], width: int
) -> Iterator[TextLine]:
    """Yield a curve of the value (•) in its band of one sd (░), with the modes below."""
    known = [(p.ts, p.value, p.sd or 0.0) for p in points if p.value is not None]
    if not known:
        return
    begin, end = known[0][0], known[-1][0]
    low, high = min(v - sd for _, v, sd in known), max(v + sd for _, v, sd in known)
    scale = (CURVE_ROWS - 1) / (high - low) if high > low else 0.0
    width = min(width, len(points))
    per_s = (width - 1) / (end - begin) if end > begin else 0.0
    cells = [[" "] * width for _ in range(CURVE_ROWS)]
    for sign in "░•":
        for ts, value, sd in known:
            column, spread = int((ts - begin) * per_s), sd if sign == "░" else 0.0
            bottom, top = (round((v - low) * scale) for v in (value - spread, value + spread))
            for row in cells[bottom : top + 1]:
                row[column] = sign
    ends = {CURVE_ROWS - 1: number(high, 2), 0: number(low, 2)}
    for k in reversed(range(CURVE_ROWS)):
        yield TextLine(f"{ends.get(k, ''):>{_MARGIN - 1}} {''.join(cells[k])}")
    mode_changes = [
        (change.ts, _LETTERS.get(change.now, "?")) for change in changes if change.what == "mode"
    ]
    modes = [
        next((letter for ts, letter in reversed(mode_changes) if ts <= begin + k / per_s), " ")
        for k in range(width if per_s else 0)
    ]
    yield TextLine(f"{'mode':>{_MARGIN - 1}} {''.join(modes)}")
    legend = ", ".join(f"{letter} {mode}" for mode, letter in _LETTERS.items() if letter in modes)
    modes_legend = f"{legend}; " if legend else ""
    span = f"{end - begin:.0f} s to {_clock(end)}"
    yield TextLine(f"{'':{_MARGIN}}{modes_legend}• value, ░ one sd, {span}", "soft")


def _indicators(indicators: dict[str, Indicator], width: int) -> Iterator[TextLine]:
    rows: list[Row] = []
    for name, each in indicators.items():
        budget = "-" if each.budget is None else f"{'≥' if each.least else '≤'} {each.budget:g}"
        cells = [name, number(each.value, 3), budget, each.level or "-"]
        rows.append((each.level or "plain", cells))
    yield from _table(("indicator", "value", "budget", "is"), rows, width)
    empty = dict.fromkeys(each.why for each in indicators.values() if each.why)
    for why in empty:
        names = ", ".join(name for name, each in indicators.items() if each.why == why)
        text = f"- {names}: {why}"
        yield from (TextLine(part, "soft") for part in wrap(text, width, subsequent_indent="  "))


def _streams(streams: Sequence[StreamView], width: int) -> Iterator[TextLine]:
    refusals = [(s.stream, s.refused) for s in streams if s.refused]
    rows: list[Row] = [
        (
            _KINDS.get(s.state, "crit"),
            [s.stream, s.state, number(s.age_s, 1), str(s.received), str(s.used), str(s.lost)],
        )
        for s in streams
    ]
    yield from _table(("stream", "state", "age s", "received", "used", "lost"), rows, width)
    for stream, refused in refusals:
        yield from (TextLine(part, "warn") for part in wrap(f"{stream}: {refused}", width))


def _channels(rig: RigView, width: int) -> Iterator[TextLine]:
    ages = {s.stream: s.age_s for s in rig.streams}
    rows: list[Row] = [
        (_KINDS.get(c.state, "crit"), _channel(c, ages.get(c.channel.partition(":")[0])))
        for c in rig.channels
    ]
    head = (
        "channel",
        "state",
        "age s",
        "offset ms",
        "lag ms",
        "sure",
        "weight",
        "skew ppm",
        "Hz",
        "jitter ms",
        "resets",
        "lost",
        "unit",
    )
    columns = len(head) - (not any(c.unit for c in rig.channels))
    return _table(head[:columns], [(kind, cells[:columns]) for kind, cells in rows], width)


def _channel(c: ChannelView, age_s: float | None) -> list[str]:
    return [
        c.channel,
        c.state,
        number(age_s, 1),
        measured(c.offset_s, c.offset_sd_s, 2, 1e3),
        measured(c.lag_s, c.lag_sd_s, 1, 1e3),
        number(c.confidence, 2),
        number(c.weight, 2),
        measured(c.skew_ppm, c.skew_sd_ppm, 1),
        number(c.rate_hz, 1),
        number(c.jitter_p95_s, 1, 1e3),
        str(c.clock_resets),
        str(c.lost),
        c.unit or "-",
    ]


def _changes(happened: Sequence[ChangeEntryView]) -> Iterator[TextLine]:
    """Yield the newest changes; findings have their own section."""
    changes = [entry for entry in happened if entry.kind != "rule"]
    yield TextLine("changes, newest first" if changes else "changes: none yet", "soft")
    for entry in changes[:MAX_RECENT]:
        name = {"mode": "mode", "clock": f"clock of {entry.name}"}.get(entry.kind, entry.name)
        before = f"; {entry.before} since {_clock(entry.since)}" if entry.before else ""
        yield TextLine(f"{_clock(entry.ts)}  {name} {entry.text}{before}")


def _evidence(found: Sequence[EvidenceRecord]) -> Iterator[TextLine]:
    yield TextLine("evidence, newest first" if found else "evidence: none", "soft")
    for f in reversed(found[-MAX_RECENT:]):
        facts = ", ".join(f"{name} {number(value, 3)}" for name, value in f.facts.items())
        detail = f": {f.quote or facts}" if f.state == "firing" else ""
        kind: Kind = "warn" if f.state == "firing" and f.kind == "risk" else "plain"
        yield TextLine(f"{_clock(f.ts)}  {f.state:8}  {f.kind} {f.rule}{detail}", kind)


def _table(head: Sequence[str], rows: Sequence[Row], width: int) -> Iterator[TextLine]:
    """Yield a table; columns beyond the width follow in another table below."""
    if not rows:
        yield TextLine(f"{head[0]}s: none", "soft")
        return
    kinds, cells = zip(*rows, strict=True)
    names = [_short(row[0], width // 3) for row in cells]
    first = max(map(len, (head[0], *names)))
    parts: list[list[int]] = [[]]
    left = width - first
    for column in range(1, len(head)):
        needed = 2 + max(len(row[column]) for row in (head, *cells))
        if needed > left and parts[-1]:
            parts.append([])
            left = width - first
        parts[-1].append(column)
        left -= needed
    for part in parts:
        lines = table(
            [head[0].ljust(first), *(head[k] for k in part)],
            [[name, *(row[k] for k in part)] for name, row in zip(names, cells, strict=True)],
        ).splitlines()
        yield TextLine(lines[0], "soft")
        yield from map(TextLine, lines[2:], kinds)


def _printable(text: str) -> str:
    """Return foreign text without control characters."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def _short(name: str, max_length: int) -> str:
    """Return a name, or the end of a long one, where names differ."""
    name = _printable(name)
    return name if len(name) <= max_length else f"…{name[1 - max_length :]}"


def _clock(ts: float | None) -> str:
    """Return the local time of day."""
    try:
        return "-" if ts is None else f"{datetime.fromtimestamp(ts):%H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "-"
