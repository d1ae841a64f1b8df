"""Curves of clocks and lags, one row each: the course at left, its uncertainty at right."""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.types import F64
from ops.report.clocks_lags import CONFIDENCE, LAG, LAG_SD, OFFSET, OFFSET_SD, ChannelTimeline
from ops.report.model import RigData
from ops.report.plotting import (
    BAND,
    COLOURS,
    INK,
    Picture,
    TimeAxis,
    drawn,
    label,
    limits,
    sheet,
    unit,
)
from ops.text.numbers import count, unsure

MAX_ROWS = 10
MAX_MARKED = 150
_ROW_IN = 1.0


def clocks(rig: RigData) -> Picture:
    """Return the drift of each source's clock, and its residual from a straight line."""
    shown = list(rig.clocks.items())[:MAX_ROWS]
    clocks_now = [track.clock for track in rig.clocks.values() if track.clock is not None]
    skews = [line.skew_ppm for line in clocks_now if line.skew_ppm is not None]
    finding = "Clocks: no skew is known"
    if skews:
        finding = f"Clocks run from {_pace(min(skews))} to {_pace(max(skews))}"
        if len(skews) == 1:
            finding = f"The clock of {label(shown[0][0])} runs {_pace(skews[0])}"
    steps = sum(len(track.resets) for track in rig.clocks.values())
    if steps:
        finding += f", with {count(steps, 'reset')}"
    figure, cells = sheet(finding, [_ROW_IN] * len(shown), columns=2)
    clock = _clock(rig)
    for (source, track), (left, right) in zip(shown, cells, strict=True):
        points = track.points()
        time = clock(points.time)
        offset, sd = points.mean[:, OFFSET], points.mean[:, OFFSET_SD]
        known = np.isfinite(offset)
        if not known.any():
            continue
        last = np.flatnonzero(known)[-1]
        run_off = offset - offset[known][0]
        assert track.clock is not None
        slope = -1e-6 * (track.clock.skew_ppm or 0.0)
        rest = offset - offset[last] - slope * (points.time - points.time[last])
        scale, name = unit(float(np.nanmax(np.abs(run_off))))
        left.plot(time, scale * run_off, color=COLOURS[0], **_marks(len(time)))
        left.set_title(f"{label(source)} {runs(track)}")
        left.set_ylabel(name)
        for reset in track.resets:
            left.axvline(float(clock(reset.at)), color=INK, lw=0.8, ls="--")
            right.axvline(float(clock(reset.at)), color=INK, lw=0.8, ls="--")
        _band(right, time, rest, sd, COLOURS[0])
        right.set_title("off a straight line, 95 % band")
    _time(cells, clock)
    text = "; ".join(f"{source} {runs(track)}" for source, track in rig.clocks.items())
    note = (
        "Left: offset (host minus source time) since its first value, steps of the clock taken "
        "out; a fast clock falls. Right: the offset minus the line of the skew at the end, with "
        "1.96 sd. Dashed: a clock reset."
    )
    return Picture("clocks", finding, text, _few(note, len(rig.clocks), "clock"), *drawn(figure))


def lags(rig: RigData) -> Picture:
    """Return the lag of each channel with its band, and its confidence."""
    tracked = [t for t in rig.members if t.lag is not None and not rig.is_reference(t)]
    reference = [label(t.channel) for t in rig.members if rig.is_reference(t)]
    shown = tracked[:MAX_ROWS]
    if not shown:
        shown = [t for t in rig.members if t.lag is not None][:1]
    widest = max(tracked, key=lambda t: abs(_lag(t)), default=None)
    finding = "No channel but the reference has a lag"
    if widest is not None:
        finding = f"{label(widest.channel)} {late(widest)}"
        if len(tracked) > 1:
            finding += f", the most of {len(tracked)} channels"
    figure, cells = sheet(finding, [_ROW_IN] * len(shown), columns=2)
    clock = _clock(rig)
    for track, (left, right) in zip(shown, cells, strict=True):
        points = track.points()
        time = clock(points.time)
        _band(left, time, points.mean[:, LAG], points.mean[:, LAG_SD], COLOURS[1])
        left.set_title(f"{label(track.channel)} {late(track)}")
        right.step(time, points.mean[:, CONFIDENCE], where="post", color=COLOURS[2])
        right.set_ylim(-0.05, 1.05)
        right.set_title("confidence")
    _time(cells, clock)
    text = "; ".join(f"{track.channel} {late(track)}" for track in tracked) or finding
    note = f"Lag against {', '.join(reference) or 'the reference'}, with 1.96 sd."
    return Picture("lags", finding, text, _few(note, len(tracked), "lag"), *drawn(figure))


def runs(track: ChannelTimeline) -> str:
    """Return the skew of a source's clock as text."""
    clock = track.clock
    if clock is None or clock.skew_ppm is None:
        return "has no known skew"
    skew, sd = clock.skew_ppm, clock.skew_sd_ppm
    if sd is not None and abs(skew) < 2 * sd:
        text = f"keeps time ({unsure(skew, sd)} ppm)"
    else:
        text = f"runs {unsure(abs(skew), sd)} ppm {'fast' if skew > 0 else 'slow'}"
    resets = clock.clock_resets or 0
    return text + (f", {count(resets, 'reset')}" if resets else "")


def late(track: ChannelTimeline) -> str:
    """Return the lag of a channel as text."""
    if track.lag is None or track.lag.lag_s is None:
        return "has no known lag"
    size = unsure(abs(track.lag.lag_s), track.lag.lag_sd_s, 1e3)
    return f"is {size} ms {'late' if track.lag.lag_s >= 0 else 'early'}"


def _pace(skew_ppm: float) -> str:
    return f"{abs(skew_ppm):.1f} ppm {'slow' if skew_ppm < 0 else 'fast'}"


def _lag(track: ChannelTimeline) -> float:
    return track.lag.lag_s or 0.0 if track.lag is not None else 0.0


def _clock(rig: RigData) -> TimeAxis:
    return TimeAxis.of(rig.course.begin or 0.0, rig.course.end or 0.0)


def _band(cell: Any, time: F64, value: F64, sd: F64, shade: str) -> None:
    """Draw values (s) with a band of 1.96 sd, in the unit of their size."""
    low, high = value - 1.96 * sd, value + 1.96 * sd
    edges = limits(low, high, sd) or limits(value, value, sd)
    if edges is None:
        return
    scale, name = unit(max(abs(edge) for edge in edges))
    cell.fill_between(time, scale * low, scale * high, color=BAND, lw=0)
    cell.plot(time, scale * value, color=shade, **_marks(len(time)))
    cell.set_ylim(scale * edges[0], scale * edges[1])
    cell.set_ylabel(name)


def _marks(points: int) -> dict[str, Any]:
    """Return the marker style: points are marked while there are few of them."""
    return {"marker": ".", "ms": 3} if points <= MAX_MARKED else {}


def _time(cells: Any, clock: TimeAxis) -> None:
    for cell in cells[-1]:
        cell.set_xlabel(clock.label)


def _few(note: str, number: int, what: str) -> str:
    if number <= MAX_ROWS:
        return note
    return f"{note} The first {MAX_ROWS} of {count(number, what)}; all are in the table."
