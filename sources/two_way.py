"""A clock followed through readings of its offset, all of a recording at once.

A reading is offset = host - source at a source time, measured both ways, so that its error has
no sign of its own. Readings are cut where the clock was reset, and each part is smoothed:

    offset' = slope,  slope' = white noise of density q = var / spacing^3 / steadiness^4

by a Kalman filter and the backward pass of Rauch, Tung and Striebel; between two readings the
mean of this model is the cubic through values and slopes, beyond them a line. The steadiness is
the one of greatest likelihood, where a straight line has the odds on its side. Errors follow one
of several laws (sources/laws.py), and what is fitted under each counts as much as its likelihood:
a wild reading is outvoted, and calm ones count the more, the more of them lie close together.

A reset shows as a step between the medians of three readings before and after it, more than eight
times what such steps commonly are, that is still there between twelve and twelve. The offset is
then new; the slope goes on, unless the parts' own slopes differ.

Cost: about 60 passes of 3 us a reading. State: none.

Sources: Rauch, Tung & Striebel, AIAA J. 3 (1965); smoothing splines as integrated random walks,
Wahba, J. R. Stat. Soc. B 40 (1978); weights, Lange, Little & Taylor, J. Am. Stat. Assoc. 84 (1989).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from operators.records import F64, I64
from sources.laws import Law, Peaked, Student

STEADINESS = (math.inf, 256.0, 128.0, 64.0, 32.0, 16.0, 8.0, 4.0, 2.0)
"""How many readings the slope holds for; the first is a straight line."""
ODDS, TAILS = 4.0, 0.5
"""Nats by which wander, and a law but the first, must explain the readings better."""
LAWS: tuple[Law, ...] = (Student(100.0), Student(4.0), Peaked())
ROUNDS = 6
SD_SLOPE = 300e-6
SIDE, WIDE = 3, 12
STEP_S, STEPS, FEW = 0.5e-3, 8.0, 5.0
LEAST_S = 1e-9
LAST_DIGIT = 2.0**-52
FEWEST, UNKNOWN_S = 5, 1e-3
"""Fewer readings do not show their own error: it is taken to be this."""
LOOSE, ALIKE, NEAR = 1e6, 4.0, 6.0
"""Variance of a reset, over that of the readings; standard deviations between like slopes."""
_SIGMA = 1.4826
"""Of a normal distribution, in median absolute deviations."""


class _Pass(NamedTuple):
    """What a forward pass gave: predicted and updated states, and how likely the readings are."""

    steps: list[tuple[float, float, float, float, float, float, float, float, float, float]]
    var: float
    score: float


@dataclass(frozen=True, slots=True)
class Course:
    """An offset over source time: nodes and what lies between them.

    Attributes
    ----------
    at : float64 (m,)
        Source time (s, rising) at the readings.
    line : float64 (2, m)
        Offset (s) and slope (s/s) there.
    covariance : float64 (3, m)
        Variance of the offset, of both together, of the slope.
    wander : float
        Density of the slope's noise (1/s).
    """

    at: F64
    line: F64
    covariance: F64
    wander: float

    def __call__(self, source: F64) -> F64:
        """Return the offset (s) at source times."""
        offset, slope = self.line
        last = len(self.at) - 1
        if last == 0:
            return np.asarray(offset[0] + slope[0] * (source - self.at[0]))
        i = np.clip(np.searchsorted(self.at, source, "right") - 1, 0, last - 1)
        width = self.at[i + 1] - self.at[i]
        x = (source - self.at[i]) / width
        a, b, rise = slope[i] * width, slope[i + 1] * width, offset[i + 1] - offset[i]
        inside = offset[i] + x * (a + x * ((3 * rise - 2 * a - b) + x * (a + b - 2 * rise)))
        end = np.where(x < 0, 0, last)
        beyond = offset[end] + slope[end] * (source - self.at[end])
        return np.asarray(np.where((x < 0) | (x > 1), beyond, inside))

    def sd(self, source: F64) -> F64:
        """Return the standard deviation (s) of the offset at source times."""
        i = np.clip(np.searchsorted(self.at, source), 0, len(self.at) - 1)
        i -= (i > 0) & (np.abs(source - self.at[i - 1]) < np.abs(source - self.at[i]))
        dt = source - self.at[i]
        offset, both, slope = self.covariance[:, i]
        return np.asarray(
            np.sqrt(offset + dt * (2 * both + dt * slope) + self.wander * np.abs(dt) ** 3 / 3)
        )


def courses(at: F64, offset: F64, count: F64 | None = None) -> tuple[list[Course], I64]:
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
    alone = [follow(at[p], offset[p], count[p]) for p in parts]
    if len(parts) == 1 or not _one_crystal(alone):
        return alone, edges
    # As if there had been no reset: each part set on to the one before, by source time and offset.
    move, step = np.zeros(len(at)), np.zeros(len(at))
    moved = stepped = 0.0
    for k, part in list(enumerate(parts))[1:]:
        old, new = alone[k - 1], alone[k]
        (first, _), (last, slope) = new.line[:, 0], old.line[:, -1]
        host = new.at[0] + first
        before = last + slope * (host - old.at[-1] - last)
        stepped += float(first - before)
        moved += float(host - before - new.at[0])
        move[part], step[part] = moved, stepped
    whole = follow(at + move, offset - step, count, edges[1:-1].tolist())
    out = []
    for part in parts:
        first, last = np.searchsorted(whole.at, (at + move)[part][[0, -1]], "left").tolist()
        inside = slice(first, last + 1)
        line = whole.line[:, inside] + [[step[part][0]], [0.0]]
        out.append(Course(whole.at[inside] - move[part][0], line, whole.covariance[:, inside],
                          whole.wander))  # fmt: skip
    return out, edges


def straight(at: F64, offset: F64, count: F64, sd: F64) -> Course | None:
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
    noise = _rough(at, offset) if len(at) >= FEWEST else 0.0
    if not (np.abs(off) < NEAR * np.hypot(sd, noise)).all():
        return None
    line = np.array([[middle], [slope]])
    return Course(
        at.mean(keepdims=True), line, np.array([[float(weight @ sd**2)], [0.0], [0.0]]), 0.0
    )


def _one_crystal(parts: list[Course]) -> bool:
    """Whether the parts' slopes agree: the clock was set, not exchanged."""
    slope = np.array([np.mean(p.line[1]) for p in parts])
    var = np.array([np.mean(p.covariance[2]) for p in parts])
    apart = np.abs(np.diff(slope)) / np.sqrt(var[1:] + var[:-1])
    return bool((apart < ALIKE).all())


def follow(at: F64, offset: F64, count: F64 | None = None, free: Sequence[int] = ()) -> Course:
    """Smooth readings that have no resets; at those of the indices `free` the offset is new."""
    count = np.ones(len(at)) if count is None else count
    order = np.argsort(at, kind="stable")
    at, offset, count = at[order], offset[order], count[order]
    base, least = float(at[0]), _rough(at, offset)
    laws = LAWS if len(at) >= FEWEST else LAWS[:1]
    fits = [_fit(at - base, offset, count, least, law, free) for law in laws]
    course = _mean(fits)
    new = np.append(np.diff(at) > 0, True)  # of readings at one time the last knows them all
    return Course(at[new], course.line[:, new], course.covariance[:, new], course.wander)


def _mean(fits: list[tuple[float, Course]]) -> Course:
    """Return the mean of courses of log likelihoods, and its covariance."""
    top = max(score for score, _ in fits)
    share = np.array([math.exp(score - top) for score, _ in fits])
    share /= share.sum()
    first = fits[0][1]
    lines = np.array([course.line for _, course in fits]) - first.line
    line = np.tensordot(share, lines, 1)
    offset, slope = np.moveaxis(lines - line, 1, 0)
    apart = np.stack((offset * offset, offset * slope, slope * slope), 1)
    covariance = np.tensordot(share, [course.covariance for _, course in fits] + apart, 1)
    wander = float(share @ [course.wander for _, course in fits])
    return Course(first.at, first.line + line, covariance, wander)


def _rough(at: F64, offset: F64) -> float:
    """Return the readings' common error (s), whatever else they hold."""
    if len(at) < FEWEST:
        return UNKNOWN_S
    bend = offset[2:] - 2 * offset[1:-1] + offset[:-2]
    return max(_SIGMA * float(np.median(np.abs(bend))) / math.sqrt(6), LEAST_S)


def _fit(
    at: F64, offset: F64, count: F64, rough: float, law: Law, free: Sequence[int]
) -> tuple[float, Course]:
    """Return how likely the readings are if their errors follow a law, and their course."""
    n = len(at)
    spacing = float(np.median(np.diff(at))) if n > 1 else 1.0
    spacing = max(spacing, 1e-6)
    slope_var = (SD_SLOPE / rough) ** 2
    near = offset
    if n >= FEWEST:
        stack = np.stack([np.pad(offset, 2, "reflect")[k : k + n] for k in range(5)])
        near = np.median(stack, axis=0)
    apart = offset - near
    usual = 3 * rough + 2 * float(np.median(np.abs(apart)))
    weight = 1 / (1 + np.minimum(np.abs(apart) / usual, 30.0) ** 4)
    times, values = at.tolist(), offset.tolist()
    density, var, course = 0.0, rough**2, None
    for k in range(ROUNDS):
        noise = (1 / (weight * count)).tolist()
        if k % 2 == 0 and n >= FEWEST:
            found = [(_forward(times, values, noise, spacing**-3 * s**-4, slope_var, free).score
                      - (ODDS if s < math.inf else 0.0), s) for s in STEADINESS]  # fmt: skip
            density = spacing**-3 * max(found)[1] ** -4
        passed = _forward(times, values, noise, density, slope_var, free)
        course = _backward(times, passed, density, rough**2 if n < FEWEST else passed.var)
        error = (offset - course.line[0]) ** 2 + course.covariance[0]
        error *= count
        var = rough**2 if n < FEWEST else max(float(np.mean(weight * error)), LEAST_S**2)
        weight = law.weight(error / var)
    assert course is not None
    log = law.log((offset - course.line[0]) ** 2 * count / var)
    score = float(np.sum(log)) - 0.5 * n * math.log(var) - (TAILS if law != LAWS[0] else 0.0)
    # Weights that follow the errors know less than they seem to.
    less = law.less
    return score, replace(course, covariance=course.covariance * less, wander=course.wander * less)


def _forward(
    at: list[float], offset: list[float], noise: list[float], density: float, slope_var: float,
    free: Sequence[int],
) -> _Pass:  # fmt: skip
    """Filter; all variances in units of the readings' own."""
    th, g = offset[0], 0.0
    p00, p01, p11 = noise[0], 0.0, slope_var
    steps = [(th, g, p00, p01, p11, th, g, p00, p01, p11)]
    logs = squares = 0.0
    for i in range(1, len(at)):
        dt = at[i] - at[i - 1]
        wander = density * dt
        a0, a1 = th + g * dt, g
        b00 = p00 + dt * (2 * p01 + dt * p11 + wander * dt / 3) + (LOOSE if i in free else 0.0)
        b01 = p01 + dt * (p11 + wander / 2)
        b11 = p11 + wander
        e, s = offset[i] - a0, b00 + noise[i]
        k0, k1 = b00 / s, b01 / s
        th, g = a0 + k0 * e, a1 + k1 * e
        p00, p01, p11 = (1 - k0) * b00, (1 - k0) * b01, b11 - k1 * b01
        logs += math.log(s)
        squares += e * e / s
        steps.append((a0, a1, b00, b01, b11, th, g, p00, p01, p11))
    n = max(len(at) - 1, 1)
    var = max(squares / n, LEAST_S**2)
    return _Pass(steps, var, -(logs + n * math.log(var)) / 2)


def _backward(at: list[float], passed: _Pass, density: float, var: float) -> Course:
    """Smooth what was filtered."""
    *_, th, g, p00, p01, p11 = passed.steps[-1]
    out = [(th, g, p00, p01, p11)]
    for i in range(len(at) - 2, -1, -1):
        dt = at[i + 1] - at[i]
        a0, a1, b00, b01, b11 = passed.steps[i + 1][:5]
        f0, f1, q00, q01, q11 = passed.steps[i][5:]
        # Of readings without noise no more than the last digit is left of the difference.
        det = max(b00 * b11 - b01 * b01, LAST_DIGIT * b00 * b11)
        # C = P F' B^-1
        c00, c01, c10, c11 = q00 + dt * q01, q01, q01 + dt * q11, q11
        c00, c01 = (c00 * b11 - c01 * b01) / det, (c01 * b00 - c00 * b01) / det
        c10, c11 = (c10 * b11 - c11 * b01) / det, (c11 * b00 - c10 * b01) / det
        d0, d1 = th - a0, g - a1
        e00, e01, e11 = p00 - b00, p01 - b01, p11 - b11
        th, g = f0 + c00 * d0 + c01 * d1, f1 + c10 * d0 + c11 * d1
        h00, h01 = c00 * e00 + c01 * e01, c00 * e01 + c01 * e11
        h10, h11 = c10 * e00 + c11 * e01, c10 * e01 + c11 * e11
        p00 = q00 + h00 * c00 + h01 * c01
        p01 = q01 + h00 * c10 + h01 * c11
        p11 = q11 + h10 * c10 + h11 * c11
        out.append((th, g, p00, p01, p11))
    columns = np.array(out[::-1]).T
    scaled = np.maximum(columns[2:] * var, [[LEAST_S**2], [-math.inf], [0.0]])
    return Course(np.array(at), columns[:2], scaled, density * var)


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
        common = _SIGMA * float(np.median(np.abs(step - np.median(step))))
        limit = max(STEP_S, STEPS * common, STEPS * _rough(host, e))
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
    return np.array([np.median(e[k : k + side]) - np.median(e[max(k - side, 0) : k])
                     for k in range(2, len(e) - 1)])  # fmt: skip
