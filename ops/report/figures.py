"""Pictures of a rig: each shows one finding, which is its title."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from configs.thresholds import THRESHOLDS
from operators.records import INDICATORS
from operators.types import F64, MODES
from ops.report import bridge_picture, curves
from ops.report.decimate import Points
from ops.report.detail import Detail
from ops.report.model import RigData
from ops.report.plotting import (
    BAND,
    COLOURS,
    INK,
    NAMES_IN,
    Picture,
    TimeAxis,
    colour,
    drawn,
    label,
    legend,
    sheet,
    style,
    thinned,
)
from ops.text.numbers import count, known, milliseconds, plain, share

MAX_SIGNALS = 4
MAX_LINES = len(COLOURS)
MAX_RULES = 8
_SHOWN = {
    "source_ts": "By the senders' own stamps",
    "rx": "As it arrived",
    "ts": "Aligned, and fused with its 95 % band",
}


def pictures(rig: RigData) -> Iterator[Picture]:
    """Yield the pictures of a rig that have data."""
    if not rig.course.ticks:
        return
    with style():
        for place, signal in enumerate(list(rig.course.channels)[:MAX_SIGNALS]):
            name = f"_{place + 1}" if len(rig.course.channels) > 1 else ""
            if signal in rig.windows:
                yield alignment(rig, signal, rig.windows[signal], name)
            yield fused(rig, signal, name)
        yield timeline(rig)
        if rig.clocks:
            yield curves.clocks(rig)
        if any(track.lag for track in rig.members):
            yield curves.lags(rig)
        if any(within.known for within in rig.course.within.values()):
            yield indicators(rig)
        if rig.beats is not None and rig.beats.ticks:
            yield bridge_picture.bridge(rig.beats, _clock(rig))


def alignment(rig: RigData, signal: str, window: Detail, place: str) -> Picture:
    """Return a short stretch of a signal's channels, before and after alignment."""
    axes = [axis for axis in _SHOWN if axis != "source_ts" or window.own_stamps]
    before, after = window.apart["rx"], window.apart["ts"]
    unit = _unit(rig, signal)
    names = _heaviest(rig, signal, list(window.samples))
    number = count(len(window.samples), "channel")
    finding = f"{label(signal)}: {number}, as they arrived and aligned"
    if known(before) and known(after):
        finding = (
            f"{label(signal)}: aligned, {number} differ by {plain(after, 2)}{unit} RMS "
            f"instead of {plain(before, 2)}"
        )
    figure, cells = sheet(finding, [1.6] * (len(axes) - 1) + [2.1], right_in=NAMES_IN)
    for axis, cell in zip(axes, cells[:, 0], strict=True):
        apart = window.apart[axis]
        more = f": {plain(apart, 2)}{unit} RMS apart" if known(apart) else ""
        cell.set_title(f"{_SHOWN[axis]}{more}")
        lines = []
        if axis == "ts":
            lower, upper = window.value - 1.96 * window.sd, window.value + 1.96 * window.sd
            cell.fill_between(window.time - window.begin, lower, upper, color=BAND, lw=0)
        for i, name in enumerate(names):
            time, value = thinned(*window.samples[name][axis])
            since_s, order = time - window.begin, 2 - (i >= MAX_LINES)
            lines += cell.plot(since_s, value, color=colour(i), lw=1.0, alpha=0.9, zorder=order)
        labels = [label(name) for name in names]
        if axis == "ts":
            lines[:0] = cell.plot(window.time - window.begin, window.value, color=INK, lw=1.8)
            labels.insert(0, "fused")
        if axis == axes[-1]:
            legend(cell, *_few(lines, labels))
    cells[-1, 0].set_xlim(0, window.end - window.begin)
    since = window.begin - (rig.course.begin or 0.0)
    cells[-1, 0].set_xlabel(f"time from {since:.0f} s after the first tick (s)")
    text = "; ".join(
        f"{_SHOWN[axis].lower()}: {plain(window.apart[axis])}{unit} RMS between channels"
        for axis in axes
    )
    note = (
        f"The last {window.end - window.begin:.0f} s of the longest spell in which "
        f"{rig.course.most_live} channels were live. RMS: of the differences between all pairs of "
        "channels, each with its own noise, at the ticks."
    )
    return Picture(f"alignment{place}", finding, text, note, *drawn(figure))


def fused(rig: RigData, signal: str, place: str) -> Picture:
    """Return a signal's value with its band and its weights, over the whole run."""
    course, points = rig.course, rig.course.points
    clock = _clock(rig)
    at = course.columns_of(signal)
    time = clock(points.time)
    valued = share(course.valued[signal], course.ticks)
    finding = f"{label(signal)}: a value in {valued} of {count(course.ticks, 'tick')}"
    figure, cells = sheet(finding, [2.0, 1.6], right_in=NAMES_IN)
    value, weight = cells[:, 0]
    lower, upper = points.low[:, at + 1], points.high[:, at + 2]
    band = value.fill_between(time, lower, upper, color=BAND, lw=0)
    _extremes(value, time, points, at)
    line = value.plot(time, points.mean[:, at], color=COLOURS[0], lw=1.0)
    unit = _unit(rig, signal)
    value.set_title(f"Fused value and its 95 % band (1.96 sd){',' if unit else ''}{unit}")
    legend(value, [*line, band], ["value", "95 % band"])
    mean = course.mean_weights(signal)
    heavy = _heaviest(rig, signal, list(mean))[:MAX_LINES]
    _stacked(weight, time, rig, signal, heavy)
    weight.set_title("Weight of each channel")
    weight.set_ylim(0, 1)
    weight.set_xlabel(clock.label)
    weight.set_xlim(time[0], time[-1] if time[-1] > time[0] else time[0] + 1)
    text = "mean weights: " + ", ".join(f"{name} {mean[name]:.2f}" for name in heavy)
    note = "No value: a gap in the line, and no weight."
    return Picture(f"fused{place}", finding, text, _stretched(note, rig), *drawn(figure))


def _stacked(cell: Any, time: F64, rig: RigData, signal: str, heavy: list[str]) -> None:
    """Draw the weights stacked; those not in `heavy` are one area."""
    points, at = rig.course.points, rig.course.columns_of(signal)
    weight = dict(zip(rig.course.channels[signal], points.mean[:, at + 3 :].T, strict=False))
    rows = [weight.pop(name) for name in heavy]
    names = [label(name) for name in heavy]
    if weight:
        rows.append(np.sum(list(weight.values()), axis=0))
        names.append(f"{len(weight)} others")
    if rows:
        stack = np.nan_to_num(np.array(rows))
        stack[:, ~np.isfinite(points.mean[:, at])] = 0.0
        colours = [colour(i) for i in range(len(rows))]
        legend(cell, cell.stackplot(time, stack, colors=colours, lw=0, step="post"), names)


def timeline(rig: RigData) -> Picture:
    """Return the course of modes, rules, clock resets and the sync error bound."""
    course, points, clock = rig.course, rig.course.points, _clock(rig)
    time = clock(points.time)
    bars = _bars(rig)
    p95 = course.bound.at(0.95)
    finding = f"Never were two channels live: {share(course.modes['fused'], course.ticks)} fused"
    if course.bound.count:
        finding = (
            f"The stated bound of the sync error stayed within {milliseconds(p95)} "
            "in 95 % of the ticks"
        )
    figure, cells = sheet(finding, [0.22 * len(bars), 1.3, 0.8], left_in=NAMES_IN)
    strip, bound, live = cells[:, 0]
    for row, (_, shade, spans) in enumerate(bars):
        at = [(clock(a), max(clock(b) - clock(a), (time[-1] - time[0]) / 500)) for a, b in spans]
        strip.broken_barh(at, (len(bars) - row - 0.85, 0.7), color=shade, lw=0)
    centres = [len(bars) - i - 0.5 for i in range(len(bars))]
    strip.set_yticks(centres, [label(name) for name, _, _ in bars])
    strip.set_ylim(0, len(bars))
    strip.grid(axis="y", visible=False)
    strip.set_title("Modes, rules that held, and clock resets")
    column = course.column("bound")
    _extremes(bound, time, points, column, scale=1e3)
    bound.plot(time, 1e3 * points.mean[:, column], color=COLOURS[0])
    bound.set_title("Bound of the sync error (ms); the true one is within it in 95 % of the ticks")
    bound.set_ylim(bottom=0)
    column = course.column("live")
    live.step(time, points.mean[:, column], where="post", color=COLOURS[1])
    live.set_title("Channels live")
    live.set_ylim(bottom=0)
    live.yaxis.get_major_locator().set_params(integer=True)
    live.set_xlabel(clock.label)
    live.set_xlim(time[0], time[-1] if time[-1] > time[0] else time[0] + 1)
    text = (
        f"bound: median {milliseconds(course.bound.at(0.5))}, 95 % {milliseconds(p95)}, "
        f"at most {milliseconds(course.bound.maximum)}; modes: {modes(rig)}"
    )
    note = "Median, 95 % and most of the bound count ticks with two or more compared channels."
    return Picture("timeline", finding, text, _stretched(note, rig), *drawn(figure))


def indicators(rig: RigData) -> Picture:
    """Return the five indicators with their budgets."""
    course, points, clock = rig.course, rig.course.points, _clock(rig)
    time = clock(points.time)
    judged = [n for n in INDICATORS if n in THRESHOLDS and course.within[n].known]
    kept = {name: share(course.within[name].good, course.within[name].known) for name in judged}
    worst = min(judged, key=lambda n: course.within[n].good / course.within[n].known, default=None)
    finding = "No indicator was known"
    if worst is not None:
        finding = f"Every indicator kept its budget in at least {kept[worst]} of the time"
    figure, cells = sheet(finding, [0.85] * len(INDICATORS))
    for name, cell in zip(INDICATORS, cells[:, 0], strict=True):
        column = course.column(name)
        _extremes(cell, time, points, column)
        cell.plot(time, points.mean[:, column], color=COLOURS[0])
        title = name if course.within[name].known else f"{name}: never known"
        if budget := THRESHOLDS.get(name):
            sign = "at least" if budget.least else "at most"
            if name in kept:
                title = f"{name}: {sign} {budget.good:g} in {kept[name]} of the time"
            cell.axhline(budget.good, color=COLOURS[2], lw=1.0, ls="-")
            cell.axhline(budget.crit, color=COLOURS[1], lw=1.0, ls="--")
        cell.set_title(title)
    cells[-1, 0].set_xlabel(clock.label)
    cells[-1, 0].set_xlim(time[0], time[-1] if time[-1] > time[0] else time[0] + 1)
    text = ", ".join(f"{name} within its budget in {kept[name]} of the time" for name in judged)
    note = "Green: the budget; dashed: critical. phase_diff in cycles; the others from 0 to 1."
    return Picture("indicators", finding, text, _stretched(note, rig), *drawn(figure))


def modes(rig: RigData) -> str:
    """Return the share of ticks of each mode."""
    course = rig.course
    return ", ".join(f"{mode} {share(n, course.ticks)}" for mode, n in course.modes.most_common())


def _bars(rig: RigData) -> list[tuple[str, str, list[tuple[float, float]]]]:
    """Return the rows of the strip: name, colour, spans of host time (s)."""
    course = rig.course
    end = course.end or 0.0
    bars: list[tuple[str, str, list[tuple[float, float]]]] = []
    for mode in MODES:
        spans = [(s.begin, s.end) for s in course.spells if s.mode == mode]
        if spans:
            bars.append((mode, COLOURS[2] if mode == "fused" else COLOURS[4], spans))
    for rule in list(rig.findings.fired)[:MAX_RULES]:
        held = [f for f in rig.findings.listed if f.rule == rule]
        shade = COLOURS[1] if rule in rig.findings.risks else COLOURS[5]
        bars.append((rule, shade, [(f.begin, end if f.end is None else f.end) for f in held]))
    for source, track in list(rig.clocks.items())[:MAX_RULES]:
        if track.resets:
            bars.append((f"reset {source}", INK, [(r.at, r.at) for r in track.resets]))
    return bars


def _unit(rig: RigData, signal: str) -> str:
    """Return a signal's unit as the suffix of a number; empty without a unit."""
    unit = rig.signal_units.get(signal)
    return f" {label(unit)}" if unit else ""


def _clock(rig: RigData) -> TimeAxis:
    return TimeAxis.of(rig.course.begin or 0.0, rig.course.end or 0.0)


def _heaviest(rig: RigData, signal: str, names: list[str]) -> list[str]:
    """Return the names in their order; more than `MAX_LINES` are sorted by falling weight."""
    if len(names) <= MAX_LINES:
        return names
    mean = rig.course.mean_weights(signal)
    return sorted(names, key=lambda name: -mean.get(name, 0.0))


def _few(lines: list[object], names: list[str]) -> tuple[list[object], list[str]]:
    """Return one legend entry for each colour, and one for all other channels."""
    most = MAX_LINES + 1
    if len(names) <= most:
        return lines, names
    return lines[: most + 1], [*names[:most], f"{len(names) - most} others"]


def _extremes(cell: Any, time: F64, points: Points, column: int, scale: float = 1.0) -> None:
    """Shade from minimum to maximum where a point stands for many ticks."""
    low, high = scale * points.low[:, column], scale * points.high[:, column]
    if np.any(high > low):
        cell.fill_between(time, low, high, color=COLOURS[5], alpha=0.45, lw=0)


def _stretched(note: str, rig: RigData) -> str:
    points = rig.course.points
    if len(points) == rig.course.ticks:
        return note
    each = round(rig.course.ticks / len(points))
    return f"{note} A point is the mean of {each} ticks; shaded: from their least to their largest."
