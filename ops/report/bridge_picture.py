"""Picture, figures and changes of state of a rig's beat clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from operators.bridge.protocol_text import NAMES
from operators.types import BRIDGE_STATES, F64
from ops.report.beat_clock import (
    CYCLES,
    ERROR_MS,
    PLAYED_CYCLES,
    PLAYED_MS,
    RATE,
    BeatClock,
)
from ops.report.plotting import (
    COLOURS,
    GREY,
    INK,
    NAMES_IN,
    Picture,
    TimeAxis,
    drawn,
    label,
    limits,
    sheet,
)
from ops.text.numbers import count, plain, share

NAME = "bridge"
"""Name of the picture and of its files."""
MAX_NAMED = 3
MAX_DASHED = 100
_COLOURS = {
    "E0": GREY, "E1": COLOURS[4], "E2": COLOURS[2], "E3": COLOURS[3], "E4": COLOURS[1],
}  # fmt: skip
_LETTER = 0.0105
"""Width of a letter of a cause, as a share of the time axis."""


def bridge(beats: BeatClock, clock: TimeAxis) -> Picture:
    """Return the course of states with the causes of changes, phase error, and rate."""
    points = beats.points
    time = clock(points.time)
    ends = float(time.min()), float(time.max())
    wide = (ends[1] - ends[0]) or 1.0
    finding = f"No tick of {beats.ticks} was played"
    if beats.error_ms.count:
        finding = (
            f"The phase error stayed within {plain(beats.error_ms.at(0.95), 2)} ms "
            f"in 95 % of {count(beats.played, 'played tick')}"
        )
    bars = _bars(beats)
    figure, cells = sheet(finding, [0.22 * (len(bars) + 1), 1.3, 1.3, 1.0], left_in=NAMES_IN)
    strip, error, cycles, rate = cells[:, 0]
    turns = [(float(clock(stay.begin)), stay.why) for stay in beats.stays[1:]]
    for row, (_, shade, spans) in enumerate(bars):
        at = [(clock(a), max(clock(b) - clock(a), wide / 500)) for a, b in spans]
        strip.broken_barh(at, (len(bars) - row - 0.85, 0.7), color=shade, lw=0)
    for x, text in _causes(turns, ends[0], wide):
        late = x > ends[0] + 0.8 * wide
        strip.text(x, len(bars) + 0.5, text, va="center", ha="right" if late else "left", size=8.5)
    names = ["cause", *(name for name, _, _ in bars)]
    strip.set_yticks([len(bars) - i + 0.5 for i in range(len(names))], names)
    strip.set_ylim(0, len(bars) + 1)
    strip.grid(axis="y", visible=False)
    strip.set_title("State in force, and the cause of each change")
    for cell, every, played, title in (
        (error, ERROR_MS, PLAYED_MS, "Phase error (ms)"),
        (cycles, CYCLES, PLAYED_CYCLES, "Phase error (cycles of a tick)"),
    ):
        _course(cell, time, beats, every, GREY)
        _course(cell, time, beats, played, COLOURS[0])
        cell.set_title(f"{title}; grey: withheld ticks")
        edges = limits(points.low[:, played], points.high[:, played], np.full(len(time), np.nan))
        if edges is not None:
            cell.set_ylim(*edges)
    _course(rate, time, beats, RATE, COLOURS[2])
    rate.set_title("Rate of the ticks (Hz)")
    if len(turns) <= MAX_DASHED:
        for cell in cells[:, 0]:
            top = len(names[1:]) / len(names) if cell is strip else 1.0
            for x, _ in turns:
                cell.axvline(x, ymax=top, color=INK, lw=0.8, ls="--")
    rate.set_xlabel(clock.label)
    rate.set_xlim(ends[0], ends[0] + wide)
    text = "; ".join(f"{name.lower()}: {value}" for name, value in facts(beats))
    note = (
        "Phase error: the clock's phase against that of its reference, as estimated when the tick "
        "was decided. Dashed: a change of state. Hold-over: no beats, the clock goes on alone."
    )
    if len(points) < beats.ticks:
        each = round(beats.ticks / len(points))
        note += f" A point is the mean of {each} ticks; shaded: from their least to their largest."
    return Picture(NAME, finding, text, note, *drawn(figure))


def facts(beats: BeatClock) -> Iterator[tuple[str, str]]:
    """Yield the figures of the clock as (name, text)."""
    yield "Played", f"{share(beats.played, beats.ticks)} of {count(beats.ticks, 'tick')}"
    states = [f"{_named(state)} {share(n, beats.ticks)}" for state, n in beats.states.most_common()]
    yield "States", ", ".join(states) or "none"
    if beats.error_ms.count:
        ms, cycles = beats.error_ms, beats.cycles
        yield (
            "Phase error",
            f"of the played ticks {plain(ms.at(0.5), 2)} ms in the median, at most "
            f"{plain(ms.at(0.95), 2)} ms ({plain(cycles.at(0.95), 2)} cycles) in 95 %, "
            f"never above {plain(ms.maximum, 2)} ms ({plain(cycles.maximum, 2)} cycles)",
        )
    if (rates := beats.rates()) is not None:
        yield "Rate", f"from {plain(rates[0])} to {plain(rates[1])} Hz in the played ticks"
    alone = share(beats.locks["holdover"], beats.ticks)
    yield "Hold-over", f"{count(beats.alone.begun, 'time')}, {alone} of the ticks"
    yield "Hard stops", count(beats.stopped.begun, "silence")
    yield "Slips and steps", f"{_number(beats.slips)} and {_number(beats.steps)}"


def changes(beats: BeatClock, begin: float | None) -> list[tuple[str, str, str, str]]:
    """Return second, state, cause and duration of each stay in a state."""
    first = begin if begin is not None else beats.stays[0].begin if beats.stays else 0.0
    return [
        (
            f"{stay.begin - first:.1f}",
            _named(stay.state),
            stay.why or "-",
            f"{max(stay.end - stay.begin, 0.0):.1f} s",
        )
        for stay in beats.stays
    ]


def _bars(beats: BeatClock) -> list[tuple[str, str, list[tuple[float, float]]]]:
    """Return the rows of the strip: name, colour, spans of host time (s)."""
    bars: list[tuple[str, str, list[tuple[float, float]]]] = []
    for state in BRIDGE_STATES:
        spans = [(s.begin, s.end) for s in beats.stays if s.state == state]
        if spans:
            bars.append((_named(state), _COLOURS[state], spans))
    for name, shade, held in (
        ("hard stop", COLOURS[1], beats.stopped),
        ("hold-over", COLOURS[5], beats.alone),
    ):
        if held.spans:
            bars.append((name, shade, [(span.begin, span.end) for span in held.spans]))
    return bars


def _causes(
    turns: Sequence[tuple[float, str]], begin: float, wide: float
) -> Iterator[tuple[float, str]]:
    """Yield the place and text of causes; those that would overlap share one text."""
    group: list[str] = []
    at = begin
    for x, why in turns:
        if group and x > at + _LETTER * wide * len(_joined(group)):
            yield at, _joined(group)
            group = []
        if not group:
            at = x
        group.append(label(why) if why else "-")
    if group:
        yield at, _joined(group)


def _joined(causes: Sequence[str]) -> str:
    more = len(causes) - MAX_NAMED
    return ", ".join(causes[:MAX_NAMED]) + (f" +{more} " if more > 0 else " ")


def _course(cell: Any, time: F64, beats: BeatClock, column: int, shade: str) -> None:
    """Draw a column; shade from minimum to maximum where a point stands for many ticks."""
    low, high = beats.points.low[:, column], beats.points.high[:, column]
    if np.any(high > low):
        cell.fill_between(time, low, high, color=COLOURS[5], alpha=0.45, lw=0)
    cell.plot(time, beats.points.mean[:, column], color=shade, lw=1.0)


def _named(state: str) -> str:
    return f"{state} {NAMES[state]}" if state in NAMES else state


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)
