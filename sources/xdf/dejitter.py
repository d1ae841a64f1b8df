"""Removal of jitter from the stamps of a sampler with its own rate.

The index of a sample on the sampler's grid is a better clock than its stamp. Samples may be lost,
so that the index is not the order of samples. Stamps modulo the period keep their phase through
any loss. The circular mean of the phase in a block locates the grid, and each stamp belongs to
the nearest grid point. If jitter is too wide for that, the index follows the order, and a gap of
more than `GAP_PERIODS` periods counts as that many samples. The sampler clock against the index
is fitted like any clock (`clock_offsets`), with wander and steps: undetected losses bend it, where
they would break a single line over a whole recording. If the bend exceeds the removed jitter, the
stamps are kept.

Long runs are processed in pieces of 131,072 samples, so that memory beside stamps and indices is
bounded; quantiles are then those of 64 evenly spaced stretches.

Cost: 0.5 us a sample, 16 bytes a sample. State: none.

Source: circular mean, Mardia & Jupp, Directional Statistics (2000).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from operators.types import F64, I64, Bool
from sources.recordings.spool import pieces
from sources.xdf.clock_offsets import fit_work, straight
from sources.xdf.offset_smoother import Ask, Work, alone

BLOCK_S, MAX_BLOCKS = 1.0, 4096
MIN_COUNT = 64
"""Fewest samples; the stamps of shorter runs are kept."""
GAP_PERIODS = 5.0
BREAK_S, BREAK_PERIODS = 1.0, 50.0
"""Gap after which the sampler may have been restarted (s; periods)."""
MIN_DIRECTION = 0.5
"""Shortest mean direction for usable phases: a jitter of a fifth of the period."""
WINDOW, MAX_BLUR = 31, 0.1
"""Samples of the median over blurred indices; deviation from the grid beyond it (periods)."""
PIECE, STRETCHES = 1 << 18, 64
"""Samples for a quantile; stretches of a long run that they are taken from."""
MIN_READINGS = 8
"""Fewest clock readings for a line."""


class ClockReadings(NamedTuple):
    """Errors and readings of the clock that corrected the stamps.

    Attributes
    ----------
    sd : float (n,)
        Standard deviation of the clock at each stamp (s): not attributed to the sampler.
    at, left : float64 (m,)
        Corrected time of each reading, and its residual (s).
    """

    sd: NDArray[Any]
    at: F64
    left: F64


def dejitter(stamps: F64, rate_hz: float, readings: ClockReadings | None = None) -> F64:
    """Return the sampling times, as `dejitter_work`."""
    return alone(dejitter_work(stamps, rate_hz, readings))


def dejitter_work(stamps: F64, rate_hz: float, readings: ClockReadings | None = None) -> Work[F64]:
    """Estimate the sampling times.

    Parameters
    ----------
    stamps : float64 (n,)
        In the order of the samples (s), on a corrected clock.
    rate_hz : float
        Nominal; within a few per cent.
    readings : Readings, optional
        If the sampler kept its pace through all of them, it is the better clock: the line through
        all readings.

    Returns
    -------
    float64 (n,)
        Rising; the stamps themselves if they are too few or do not match the rate.
    """
    period = 1 / rate_hz
    limit = max(BREAK_S, BREAK_PERIODS * period)
    breaks = [
        s.start + np.flatnonzero(np.abs(_steps(stamps, s)) > limit) + 1
        for s in pieces(max(len(stamps) - 1, 0))
    ]
    edges = [0, *np.concatenate([*breaks, [len(stamps)]]).astype(int).tolist()]
    none = np.empty(0)
    readings = readings or ClockReadings(np.zeros(len(stamps), np.float32), none, none)
    out = stamps.copy()
    for a, b in pairwise(edges):
        if b - a >= MIN_COUNT:
            within = (readings.at >= stamps[a]) & (readings.at <= stamps[b - 1])
            own = ClockReadings(readings.sd[a:b], readings.at[within], readings.left[within])
            yield from _free(out[a:b], stamps[a:b], period, own)
    return out


def _free(out: F64, stamps: F64, period: float, readings: ClockReadings) -> Work[None]:
    """Remove the jitter of one run into `out`; keep `out` if that is impossible."""
    n = len(stamps)
    common = float(np.median(_sampled_steps(stamps)))
    if not 0.9 * period < common < 1.1 * period:
        common = float(stamps[-1] - stamps[0]) / (n - 1)
        if not 0.9 * period < common < 1.1 * period:
            return
    run = _Run(stamps, _places(stamps, period), period)
    full, count, at, offset = run.means(run.calm())
    line = straight(at, offset, count, run.means(run.calm(), readings.sd)[3])
    if line:
        readings_line = None
        if len(readings.at) >= MIN_READINGS:
            # residual over the line = residual over the clock + (clock - line) at the reading
            asked = readings.at - run.base
            coarse = _coarse(at + offset, offset - line(at), count, 2 * len(asked))
            (moved,) = yield [Ask(*coarse)]
            left = readings.left + moved(asked)
            (readings_line,) = yield [Ask(asked, left, np.ones(len(asked)))]
        for s in pieces(n):
            nominal = run.nominal(s)
            out[s] = run.base + nominal + line(nominal)
            if readings_line:
                out[s] += readings_line(nominal)
        return
    yield from _bend(out, run, full, at, offset, count)


def _coarse(at: F64, value: F64, weight: F64, most: int) -> tuple[F64, F64, F64]:
    """Return at most `most` means of neighbours, and their weights, 1 on average."""
    first = np.arange(0, len(at), -(-len(at) // most))
    total = np.add.reduceat(weight, first)
    mean_at = np.add.reduceat(weight * at, first) / total
    mean_value = np.add.reduceat(weight * value, first) / total
    return mean_at, mean_value, total / total.mean()


def _bend(out: F64, run: _Run, full: Bool, at: F64, offset: F64, count: F64) -> Work[None]:
    """Fit a sampler with a varying pace; keep `out` if the bend exceeds the removed jitter."""
    lines, edges = yield from fit_work(at, offset, count)
    of = np.cumsum(full) - 1
    left = np.empty(len(out))
    for s in pieces(len(out)):
        nominal, apart = run.nominal(s), run.apart(s)
        mine_of = of[run.block(s)]
        freed = np.full(len(nominal), np.nan)
        for course, first, last in zip(lines, edges, edges[1:], strict=False):
            # A step lies between two blocks: the samples of both keep their stamps.
            mine = (mine_of >= first + (first > 0)) & (mine_of < last - (last < len(at)))
            freed[mine] = course(nominal[mine])
        left[s] = apart - freed
    # The mean residual over blocks shifted by half a block is not jitter: undetected losses.
    calm, middles = run.calm(), ~np.isnan(left)
    np.nan_to_num(left, copy=False)
    _, _, _, unseen = run.means(lambda s: calm(s) * middles[s], left, shift=0.5)
    jitter = float(np.sqrt(np.mean(left**2)))
    if not (len(unseen) and np.sqrt(np.mean(unseen**2)) > jitter / 2):
        out -= left
        np.maximum.accumulate(out, out=out)


class _Run:
    """Stamps and grid indices of a run, processed in pieces of bounded size.

    Parameters
    ----------
    stamps : float64 (n,)
    place : float64 (n,)
        Grid index of each sample, from 0 on.
    period : float
        Nominal (s).
    """

    def __init__(self, stamps: F64, place: F64, period: float) -> None:
        self.stamps, self.place, self.period = stamps, place, period
        self.base, self.end = float(stamps[0]), float(place[-1]) * period
        self.blocks = max(int(min(self.end / BLOCK_S, MAX_BLOCKS, len(stamps) // 16)), 1)
        self._calm: Callable[[slice], F64] | None = None

    def nominal(self, s: slice) -> F64:
        """Return the time since the first sample by index alone (s): place * period."""
        return self.place[s] * self.period

    def apart(self, s: slice) -> F64:
        """Return the stamps minus that time (s)."""
        return self.stamps[s] - self.base - self.nominal(s)

    def block(self, s: slice, shift: float = 0.0) -> I64:
        """Return the block of each sample; blocks begin `shift` blocks earlier."""
        at = (self.nominal(s) / self.end * self.blocks + shift).astype(np.int64)
        return np.minimum(at, self.blocks - (shift == 0))

    def means(
        self, weight: Callable[[slice], F64], value: NDArray[Any] | None = None, shift: float = 0.0
    ) -> tuple[Bool, F64, F64, F64]:
        """Return the blocks with any weight, and of those: weight, mean time, mean value.

        The default value is the stamp minus the nominal time (`apart`).
        """
        size = self.blocks + (shift > 0)
        count, at, sums = np.zeros((3, size))
        for s in pieces(len(self.stamps)):
            block, w, nominal = self.block(s, shift), weight(s), self.nominal(s)
            values = self.apart(s) if value is None else value[s]
            count += np.bincount(block, w, size)
            at += np.bincount(block, w * nominal, size)
            sums += np.bincount(block, w * values, size)
        full = count > 0
        some = count[full]
        return full, some, at[full] / some, sums[full] / some

    def calm(self) -> Callable[[slice], F64]:
        """Return weights: 1 for stamps near the median of their block, 0 for outliers."""
        if self._calm is None:
            middle = self._middles()
            n = len(self.stamps)
            some = np.concatenate([self._off(s, middle) for s in _sampled(n)])
            limit = 6 * 1.4826 * float(np.median(some)) + 1e-9
            self._calm = lambda s: np.asarray(self._off(s, middle) <= limit, float)
        return self._calm

    def _middles(self) -> F64:
        """Return the median of each block, 0 for an empty one."""
        edges = np.array(self._edges())
        out = np.zeros(self.blocks)
        first = 0
        while first < self.blocks:
            last = max(int(np.searchsorted(edges, edges[first] + PIECE, "right")) - 1, first + 1)
            begin, size = edges[first:last], np.diff(edges[first : last + 1])
            apart = self.apart(slice(int(edges[first]), int(edges[last])))
            apart = apart[np.lexsort((apart, np.repeat(np.arange(last - first), size)))]
            full = np.flatnonzero(size)
            low = (begin - edges[first] + (size - 1) // 2)[full]
            high = (begin - edges[first] + size // 2)[full]
            out[first + full] = (apart[low] + apart[high]) / 2
            first = last
        return out

    def _off(self, s: slice, middle: F64) -> F64:
        return np.abs(self.apart(s) - middle[self.block(s)])

    def _edges(self) -> list[int]:
        """Return the first sample of each block, and the number of samples."""
        count = np.zeros(self.blocks, np.int64)
        for s in pieces(len(self.stamps)):
            count += np.bincount(self.block(s), minlength=self.blocks)
        return [0, *np.cumsum(count).tolist()]


def _steps(time: F64, s: slice) -> F64:
    """Return the difference from each sample of a piece to the next."""
    return np.diff(time[s.start : s.stop + 1])


def _sampled(n: int) -> list[slice]:
    """Return evenly spaced pieces of a run for quantiles; all of a short run."""
    if n <= PIECE:
        return [slice(0, n)]
    size = PIECE // STRETCHES
    return [
        slice(a, a + size) for a in np.linspace(0, n - size - 1, STRETCHES).astype(int).tolist()
    ]


def _sampled_steps(time: F64) -> F64:
    return np.concatenate([_steps(time, s) for s in _sampled(len(time))])


def _places(time: F64, period: float) -> F64:
    """Return the grid index of each sample, rising by at least one."""
    n, base = len(time), time[0]
    usual = float(np.quantile(np.abs(_sampled_steps(time) - period), 0.99))
    size = max(16, min(round(BLOCK_S / period), 256))
    wide = PIECE // size * size
    sums = np.empty(-(-n // size), complex)
    middle = np.empty(len(sums))
    for s in pieces(n, wide):
        part = time[s] - base
        block = np.arange(len(part)) // size
        turn = np.exp(2j * np.pi * part / period)
        count = np.bincount(block)
        k = slice(s.start // size, s.start // size + len(count))
        sums[k] = (np.bincount(block, turn.real) + 1j * np.bincount(block, turn.imag)) / count
        middle[k] = np.bincount(block, part) / count
    place = np.arange(n, dtype=np.float64)
    if len(sums) < 2 or np.median(np.abs(sums)) < MIN_DIRECTION:
        jumped = 0.0
        for s in pieces(n - 1):
            step = _steps(time, s)
            gaps = np.where(
                step > GAP_PERIODS * max(period, usual), np.round(step / period) - 1, 0.0
            )
            np.cumsum(gaps, out=gaps)
            place[s.start + 1 : s.start + 1 + len(step)] += jumped + gaps
            jumped += gaps[-1]
        return place
    phase = np.unwrap(np.angle(sums)) / (2 * np.pi)

    def exact(s: slice) -> F64:
        part = time[s] - base
        out: F64 = part / period - np.interp(part, middle, phase)
        # Beyond the middles of the first and last block the phase is extrapolated linearly.
        for end, near in ((part < middle[0], 0), (part > middle[-1], -2)):
            slope = (phase[near + 1] - phase[near]) / (middle[near + 1] - middle[near])
            at = middle[0] if near == 0 else middle[-1]
            out[end] -= slope * (part[end] - at)
        return out

    some = np.concatenate([exact(s) for s in _sampled(n)])
    blurred = 1.4826 * np.median(np.abs(some - np.round(some))) > MAX_BLUR
    for s in pieces(n):
        place[s] = np.round(exact(s)) - np.arange(s.start, min(s.stop, n))
    if blurred:
        # Lost samples form a staircase, which a median preserves.
        lost = np.pad(place, WINDOW // 2, "reflect")
        for s in pieces(n, PIECE // 16):
            around = sliding_window_view(lost[s.start : s.stop + WINDOW - 1], WINDOW)
            place[s] = np.median(around, axis=1)
    np.maximum.accumulate(place, out=place)
    for s in pieces(n):
        place[s] += np.arange(s.start, min(s.stop, n))
    place -= place[0]
    return place
