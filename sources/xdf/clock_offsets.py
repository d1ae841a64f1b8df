"""A clock followed through readings of its offset, all of a recording at once.

A reading is offset = host - source at a source time, measured both ways, so that its error has
no sign of its own. Readings are cut where the clock was reset, and each part is smoothed
(`smoothing`).

A reset shows as a step between the medians of three readings before and after it, more than eight
times what such steps commonly are, that is still there between twelve and twelve. The offset is
then new; the slope goes on, unless the parts' own slopes differ.

Cost: that of smoothing each part, and the whole where there are several. State: none.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from operators.types import F64, I64
from sources.xdf.offset_smoother import MIN_COUNT, SIGMA, Ask, OffsetCurve, Work, alone, rough_of

SIDE, WIDE = 3, 12
STEP_S, STEPS, FEW = 0.5e-3, 8.0, 5.0
ALIKE, NEAR = 4.0, 6.0
"""Standard deviations between like slopes; between readings and a line through them."""


def courses(at: F64, offset: F64, count: F64 | None = None) -> tuple[list[OffsetCurve], I64]:
    """Follow a clock through all its readings, as `coursing`."""
    return alone(coursing(at, offset, count))


def coursing(at: F64, offset: F64, count: F64 | None = None) -> Work[tuple[list[OffsetCurve], I64]]:
    """Follow a clock through all its readings.

    Parameters
    ----------
    at, offset : float64 (m,)
        Source time and reading (s), at least one, in the order in which they were taken.
    count : float64 (m,), optional
        Of how many stamps each reading is the mean.

    Returns
    -------
    courses : list of Course
        One for each part between two resets.
    edges : int64
        Index of each part's first reading, and the number of all.
    """
    count = np.ones(len(at)) if count is None else count
    edges = np.array([0, *_resets(at, offset), len(at)], np.int64)
    parts = [slice(a, b) for a, b in zip(edges.tolist(), edges[1:].tolist(), strict=False)]
    own = yield [Ask(at[p], offset[p], count[p]) for p in parts]
    if len(parts) == 1 or not _one_crystal(own):
        return own, edges
    # As if there had been no reset: each part set on to the one before, by source time and offset.
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
        out.append(OffsetCurve(whole.at[inside] - move[part][0], line, whole.covariance[:, inside],
                          whole.wander))  # fmt: skip
    return out, edges


def straight(at: F64, offset: F64, count: F64, sd: F64) -> OffsetCurve | None:
    """Return one line through readings, if it is as near to them as they are known.

    Parameters
    ----------
    at, offset, count : float64 (m,)
        As for `courses`.
    sd : float64 (m,)
        Of errors that neighbours share (s), besides the noise of each.
    """
    x = at - at.mean()
    weight = count / count.sum()
    middle = float(weight @ offset)
    slope = float(weight @ (x * (offset - middle)) / (weight @ (x * x))) if len(at) > 1 else 0.0
    middle -= slope * float(weight @ x)
    off = offset - middle - slope * x
    noise = rough_of(at, offset) if len(at) >= MIN_COUNT else 0.0
    if not (np.abs(off) < NEAR * np.hypot(sd, noise)).all():
        return None
    line = np.array([[middle], [slope]])
    return OffsetCurve(
        at.mean(keepdims=True), line, np.array([[float(weight @ sd**2)], [0.0], [0.0]]), 0.0
    )


def _one_crystal(parts: list[OffsetCurve]) -> bool:
    """Whether the parts' slopes agree: the clock was set, not exchanged."""
    slope = np.array([np.mean(p.line[1]) for p in parts])
    var = np.array([np.mean(p.covariance[2]) for p in parts])
    apart = np.abs(np.diff(slope)) / np.sqrt(var[1:] + var[:-1])
    return bool((apart < ALIKE).all())


def _resets(at: F64, offset: F64) -> list[int]:
    """Return the index of the first reading after each clock reset.

    Time goes on by the host's clock, at + offset, in the order in which readings were taken.
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
        limit = max(STEP_S, STEPS * common, STEPS * rough_of(host, e))
        # Between two readings, and no mere handful of wild ones: the clock stays where it is.
        own = np.diff(e)[1:-1] * np.sign(step)
        lasts = (own > limit / 2) & (wide * np.sign(step) > np.abs(step) / 2)
        size = np.where(lasts, np.minimum(np.abs(step), own), 0.0)
        # Two readings alone have to agree, and on a larger step.
        alone = np.array([e[1] - e[0], e[-1] - e[-2]])
        size[[0, -1]] *= (np.abs(alone) < np.abs(step[[0, -1]]) / 2) / FEW
        k = int(np.argmax(size))
        if size[k] > limit / 2 and abs(step[k]) > limit:
            cut = first + 2 + k
            found.append(cut)
            parts += [(first, cut), (cut, last)]
    return sorted(found)


def _steps(e: F64, side: int) -> F64:
    """Return, from the third reading on, the step between medians before and after it."""
    edge = np.full(side, np.nan)
    windows = sliding_window_view(np.concatenate((edge, e, edge)), side)
    k = np.arange(2, len(e) - 1)
    return _medians(windows[k + side]) - _medians(windows[k])


def _medians(windows: F64) -> F64:
    """Return the medians of rows, some of whose numbers are missing (NaN)."""
    ordered = np.sort(windows, axis=1)
    count = np.isfinite(windows).sum(axis=1)
    row = np.arange(len(windows))
    return np.asarray((ordered[row, (count - 1) // 2] + ordered[row, count // 2]) / 2)
