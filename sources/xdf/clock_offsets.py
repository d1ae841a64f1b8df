"""The offset curve of a clock, fitted to all readings of a recording at once.

A reading is offset = host - source at a source time, measured in both directions, so that its
error has no preferred sign. Readings are split at clock resets, and each part is smoothed
(`offset_smoother`).

A reset is a step between the medians of three readings before and after it. The step exceeds
eight times the usual step, and persists between the medians of twelve. The offset restarts there;
the slope continues, unless the slopes of the parts differ.

Cost: smoothing of each part, and of the whole if there are several. State: none.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from operators.types import F64, I64
from sources.xdf.offset_smoother import MIN_COUNT, SIGMA, Ask, OffsetCurve, Work, alone, rough_of

SIDE, WIDE = 3, 12
"""Readings on each side of a step: for its size, for its persistence."""
MIN_STEP_S, STEP_RATIO, PAIR_RATIO = 0.5e-3, 8.0, 5.0
"""Smallest reset (s); over the usual step; additional factor with two readings only."""
SLOPE_SDS, LINE_SDS = 4.0, 6.0
"""Standard deviations between equal slopes; between readings and a line through them."""


def fit_offset_curves(
    at: F64, offset: F64, count: F64 | None = None
) -> tuple[list[OffsetCurve], I64]:
    """Return the offset curves of a clock, as `fit_work`."""
    return alone(fit_work(at, offset, count))


def fit_work(at: F64, offset: F64, count: F64 | None = None) -> Work[tuple[list[OffsetCurve], I64]]:
    """Fit the offset curves of a clock to all its readings.

    Parameters
    ----------
    at, offset : float64 (m,)
        Source time and reading (s), at least one, in the order of measurement.
    count : float64 (m,), optional
        Number of stamps of which each reading is the mean.

    Returns
    -------
    curves : list of OffsetCurve
        One for each part between two resets.
    edges : int64
        Index of the first reading of each part, and the number of readings.
    """
    count = np.ones(len(at)) if count is None else count
    edges = np.array([0, *_resets(at, offset), len(at)], np.int64)
    parts = [slice(a, b) for a, b in zip(edges.tolist(), edges[1:].tolist(), strict=False)]
    own = yield [Ask(at[p], offset[p], count[p]) for p in parts]
    if len(parts) == 1 or not _one_crystal(own):
        return own, edges
    # Without resets: each part is joined to the previous one, in source time and offset.
    move, step = np.zeros(len(at)), np.zeros(len(at))
    moved = stepped = 0.0
    for k, part in list(enumerate(parts))[1:]:
        old, new = own[k - 1], own[k]
        (first, _), (last, slope) = new.line[:, 0], old.line[:, -1]
        host = new.at[0] + first
        before = last + slope * (host - old.at[-1] - last)
        stepped += float(first - before)
        moved += float(host - before - new.at[0])
        move[part], step[part] = moved, stepped
    (whole,) = yield [Ask(at + move, offset - step, count, edges[1:-1].tolist())]
    out = []
    for part in parts:
        first, last = np.searchsorted(whole.at, (at + move)[part][[0, -1]], "left").tolist()
        inside = slice(first, last + 1)
        line = whole.line[:, inside] + [[step[part][0]], [0.0]]
        at_part = whole.at[inside] - move[part][0]
        out.append(OffsetCurve(at_part, line, whole.covariance[:, inside], whole.wander))
    return out, edges


def straight(at: F64, offset: F64, count: F64, sd: F64) -> OffsetCurve | None:
    """Return one line through readings, if it fits them within their errors.

    Parameters
    ----------
    at, offset, count : float64 (m,)
        As of `fit_offset_curves`.
    sd : float64 (m,)
        Standard deviation of the shared error of neighbours (s), without the noise of each.
    """
    x = at - at.mean()
    weight = count / count.sum()
    middle = float(weight @ offset)
    slope = float(weight @ (x * (offset - middle)) / (weight @ (x * x))) if len(at) > 1 else 0.0
    middle -= slope * float(weight @ x)
    off = offset - middle - slope * x
    noise = rough_of(at, offset) if len(at) >= MIN_COUNT else 0.0
    if not (np.abs(off) < LINE_SDS * np.hypot(sd, noise)).all():
        return None
    line = np.array([[middle], [slope]])
    return OffsetCurve(
        at.mean(keepdims=True), line, np.array([[float(weight @ sd**2)], [0.0], [0.0]]), 0.0
    )


def _one_crystal(parts: list[OffsetCurve]) -> bool:
    """Whether the slopes of the parts agree: the clock was set, not replaced."""
    slope = np.array([np.mean(p.line[1]) for p in parts])
    var = np.array([np.mean(p.covariance[2]) for p in parts])
    apart = np.abs(np.diff(slope)) / np.sqrt(var[1:] + var[:-1])
    return bool((apart < SLOPE_SDS).all())


def _resets(at: F64, offset: F64) -> list[int]:
    """Return the index of the first reading after each clock reset.

    Time is that of the host clock, at + offset, in the order of measurement.
    """
    found: list[int] = []
    parts = [(0, len(at))]
    while parts:
        first, last = parts.pop()
        if last - first < 4:
            continue
        host, o = (at + offset)[first:last], offset[first:last]
        dt = np.diff(host)
        moved = dt > 0
        slope = float(np.median(np.diff(o)[moved] / dt[moved])) if moved.any() else 0.0
        e = o - slope * (host - host[0])
        step, wide = _steps(e, SIDE), _steps(e, WIDE)
        common = SIGMA * float(np.median(np.abs(step - np.median(step))))
        limit = max(MIN_STEP_S, STEP_RATIO * common, STEP_RATIO * rough_of(host, e))
        # The step lies between two readings and persists: no mere group of outliers.
        own = np.diff(e)[1:-1] * np.sign(step)
        persists = (own > limit / 2) & (wide * np.sign(step) > np.abs(step) / 2)
        size = np.where(persists, np.minimum(np.abs(step), own), 0.0)
        # Two readings at an end must agree, and on a larger step.
        ends = np.array([e[1] - e[0], e[-1] - e[-2]])
        size[[0, -1]] *= (np.abs(ends) < np.abs(step[[0, -1]]) / 2) / PAIR_RATIO
        k = int(np.argmax(size))
        if size[k] > limit / 2 and abs(step[k]) > limit:
            cut = first + 2 + k
            found.append(cut)
            parts += [(first, cut), (cut, last)]
    return sorted(found)


def _steps(e: F64, side: int) -> F64:
    """Return the step between the medians before and after each reading, from the third on."""
    edge = np.full(side, np.nan)
    windows = sliding_window_view(np.concatenate((edge, e, edge)), side)
    k = np.arange(2, len(e) - 1)
    return _medians(windows[k + side]) - _medians(windows[k])


def _medians(windows: F64) -> F64:
    """Return the medians of rows, without their missing numbers (NaN)."""
    ordered = np.sort(windows, axis=1)
    count = np.isfinite(windows).sum(axis=1)
    row = np.arange(len(windows))
    return np.asarray((ordered[row, (count - 1) // 2] + ordered[row, count // 2]) / 2)
