"""One picture of a flow, as lines for a terminal of a given width.

State: `MOST_POINTS` moments of each rig, for the curves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from textwrap import wrap
from typing import Literal, NamedTuple

from operators.records import EvidenceRecord, Mode
from ops.exporter import Channel, Indicator, Rig, Signal, State, Stream
from ops.table import number, table, with_sd

Kind = Literal["plain", "head", "soft", "good", "bad"]
MOST_POINTS = 600
RECENT = 5
"""Findings that are shown."""
ROWS = 5
"""Lines of a curve."""
_MARGIN = 9
"""Columns left of a curve, for its scale."""
_LETTERS: dict[Mode | None, str] = {
    "fused": "·", "ure_only": "u", "sensors_only": "s", "degraded": "d", "none": "n", None: " ",
}  # fmt: skip


class Line(NamedTuple):
    """A line, and what it means."""

    text: str
    kind: Kind = "plain"


class Moment(NamedTuple):
    """A rig at one tick that was looked at."""

    ts: float
    mode: Mode | None
    signals: dict[str, Signal]


class Trace:
    """What was seen of a flow so far.

    Attributes
    ----------
    moments : dict
        Of each rig, oldest first.
    restarted : float or None
        When it was seen to have begun anew (s since the epoch).
    """

    def __init__(self) -> None:
        self.moments: dict[str, deque[Moment]] = {}
        self.restarted: float | None = None
        self._received: dict[str, int] = {}

    def add(self, state: State) -> None:
        """Take a look in; counts that fell tell that the flow is another."""
        received = {
            name: sum(stream.received for stream in rig.streams) for name, rig in state.rigs.items()
        }
        if any(received.get(name, 0) < before for name, before in self._received.items()):
            self.restarted = state.now
            self.moments.clear()
        self._received = received
        for name, rig in state.rigs.items():
            seen = self.moments.setdefault(name, deque(maxlen=MOST_POINTS))
            if rig.ts is not None and (not seen or rig.ts > seen[-1].ts):
                seen.append(Moment(rig.ts, rig.mode, rig.signals))


def frame(state: State, trace: Trace, width: int) -> Iterator[Line]:
    """Yield the picture; no line is longer than `width`."""
    for line in _lines(state, trace, width):
        text = _printable(line.text)
        yield Line(text if len(text) <= width else f"{text[: width - 1]}…", line.kind)


def verdict(rig: Rig, fresh: bool) -> Line:
    """Return whether a rig is in sync and, where it is not, everything that speaks against it."""
    if rig.mode is None:
        return Line("Waiting for the first tick", "soft")
    if rig.ended:
        return Line(f"The data have ended; {_unwell(rig) or 'all was well at the end'}", "soft")
    if not fresh:
        return Line("NO FRESH DATA for 30 s; what is shown is old", "bad")
    if unwell := _unwell(rig):
        return Line(f"NOT IN SYNC: {unwell}", "bad")
    unknown = [name for name, each in rig.indicators.items() if each.good is None and each.budget]
    told = f"; not known: {', '.join(unknown)}" if unknown else ", indicators within their budgets"
    within = number(rig.sync_bound_s, 1, 1e3)
    return Line(f"In sync: {rig.live} channels live, within {within} ms{told}", "good")


def _unwell(rig: Rig) -> str:
    told = [] if rig.mode == "fused" else [f"mode {rig.mode}"]
    told += [
        f"{name} {number(each.value, 3)} {'below' if each.least else 'above'} {each.budget:g}"
        for name, each in rig.indicators.items()
        if each.good is False and each.budget is not None
    ]
    told += [f"{s.stream} down" for s in rig.streams if not s.up]
    told += [f"{c.channel} {c.state}" for c in rig.channels if c.state in ("stale", "lost")]
    return "; ".join(told)


def _lines(state: State, trace: Trace, width: int) -> Iterator[Line]:
    if trace.restarted is not None:
        yield Line(
            f"The flow began anew at {_clock(trace.restarted)}; counts are since then", "bad"
        )
    for name, rig in state.rigs.items():
        yield Line(
            f"{name}  {_clock(rig.ts)}  mode {rig.mode or '-'}  {rig.live or 0} live"
            f"  sync within {number(rig.sync_bound_s, 1, 1e3)} ms"
            f"  tick {number(rig.tick_age_s, 1)} s old",
            "head",
        )
        text, kind = verdict(rig, state.fresh)
        yield from (Line(part, kind) for part in wrap(text, width, subsequent_indent="  "))
        moments = list(trace.moments.get(name, ()))[_MARGIN - width :]
        for signal, newest in rig.signals.items():
            yield from _curve(signal, newest, moments)
        yield from _modes(moments)
        yield Line("")
        yield from _indicators(rig.indicators, width)
        yield Line("")
        yield from _streams(rig.streams, width)
        yield Line("")
        yield from _channels(rig, width)
        yield Line("")
    yield from _evidence(state.evidence)


def _curve(name: str, newest: Signal, moments: Sequence[Moment]) -> Iterator[Line]:
    """Yield a signal's value over the moments (•) and its band of one sd (░)."""
    yield Line(f"{name}  {with_sd(newest.value, newest.sd, 3)}  {newest.mode}")
    points = [
        (signal.value, signal.sd or 0.0) if signal and signal.value is not None else None
        for signal in (moment.signals.get(name) for moment in moments)
    ]
    known = [point for point in points if point]
    if not known:
        return
    low, high = min(v - sd for v, sd in known), max(v + sd for v, sd in known)
    scale = (ROWS - 1) / (high - low) if high > low else 0.0
    cells = [[" "] * len(points) for _ in range(ROWS)]
    for column, point in enumerate(points):
        if point is None:
            continue
        value, sd = point
        bottom, middle, top = (round((x - low) * scale) for x in (value - sd, value, value + sd))
        for row in range(bottom, top + 1):
            cells[row][column] = "░"
        cells[middle][column] = "•"
    ends = {ROWS - 1: number(high, 2), 0: number(low, 2)}
    for row in reversed(range(ROWS)):
        yield Line(f"{ends.get(row, ''):>{_MARGIN - 1}} {''.join(cells[row])}")


def _modes(moments: Sequence[Moment]) -> Iterator[Line]:
    spoken = dict.fromkeys(moment.mode for moment in moments)
    if not spoken:
        return
    letters = "".join(_LETTERS[moment.mode] for moment in moments)
    yield Line(f"{'mode':>{_MARGIN - 1}} {letters}")
    legend = ", ".join(f"{_LETTERS[mode]} {mode}" for mode in spoken if mode)
    yield Line(f"{'':{_MARGIN}}{legend}; • value, ░ one sd", "soft")


def _indicators(indicators: dict[str, Indicator], width: int) -> Iterator[Line]:
    rows: list[tuple[Kind, list[str]]] = []
    for name, each in indicators.items():
        budget = "-" if each.budget is None else f"{'≥' if each.least else '≤'} {each.budget:g}"
        said: tuple[Kind, str] = ("plain", "-")
        if each.good is not None:
            said = ("good", "good") if each.good else ("bad", "BAD")
        rows.append((said[0], [name, number(each.value, 3), budget, said[1]]))
    return _table(("indicator", "value", "budget", "verdict"), rows, width)


def _streams(streams: Iterable[Stream], width: int) -> Iterator[Line]:
    rows: list[tuple[Kind, list[str]]] = [
        (
            "plain" if s.up else "bad",
            [s.stream, "up" if s.up else "down" if s.spoken else "never heard", number(s.age_s, 1),
             str(s.received), str(s.used), str(s.lost)],
        )
        for s in streams
    ]  # fmt: skip
    return _table(("stream", "state", "age s", "received", "used", "lost"), rows, width)


def _channels(rig: Rig, width: int) -> Iterator[Line]:
    ages = {s.stream: s.age_s for s in rig.streams}
    rows: list[tuple[Kind, list[str]]] = [
        (
            "plain" if c.state == "live" else "bad",
            _channel(c, ages.get(c.channel.partition(":")[0])),
        )
        for c in rig.channels
    ]
    head = ("channel", "state", "age s", "offset ms", "lag ms", "sure", "weight", "skew ppm",
            "Hz", "jitter ms", "resets", "lost")  # fmt: skip
    return _table(head, rows, width)


def _channel(c: Channel, age_s: float | None) -> list[str]:
    return [
        c.channel, c.state, number(age_s, 1), with_sd(c.offset_s, c.offset_sd_s, 2, 1e3),
        with_sd(c.lag_s, c.lag_sd_s, 1, 1e3), number(c.confidence, 2), number(c.weight, 2),
        with_sd(c.skew_ppm, c.skew_sd_ppm, 1), number(c.rate_hz, 1),
        number(c.jitter_p95_s, 1, 1e3), str(c.clock_resets), str(c.lost),
    ]  # fmt: skip


def _evidence(found: Sequence[EvidenceRecord]) -> Iterator[Line]:
    yield Line("evidence, newest first" if found else "evidence: none", "soft")
    for f in reversed(found[-RECENT:]):
        facts = ", ".join(f"{name} {number(value, 3)}" for name, value in f.facts.items())
        told = f": {f.quote or facts}" if f.state == "firing" else ""
        kind: Kind = "bad" if f.state == "firing" and f.kind == "risk" else "plain"
        yield Line(f"{_clock(f.ts)}  {f.state:8}  {f.kind} {f.rule}{told}", kind)


def _table(
    head: Sequence[str], rows: Sequence[tuple[Kind, list[str]]], width: int
) -> Iterator[Line]:
    """Yield a table; columns that do not fit beside the others follow in another below."""
    if not rows:
        yield Line(f"{head[0]}s: none", "soft")
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
        yield Line(lines[0], "soft")
        yield from map(Line, lines[2:], kinds)


def _printable(text: str) -> str:
    """Return text that comes from elsewhere without what could command the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _short(name: str, most: int) -> str:
    """Return a name, or its end where it is too long: there names differ."""
    name = _printable(name)
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _clock(ts: float | None) -> str:
    """Return a time of day, UTC."""
    try:
        return "-" if ts is None else f"{datetime.fromtimestamp(ts, UTC):%H:%M:%S}Z"
    except (ValueError, OverflowError, OSError):
        return "-"
