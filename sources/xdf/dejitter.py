"""Stamps of a sampler that runs at a rate of its own, freed of their jitter.

A sample's place in the row of samples is a better clock than its stamp, where places can be told:
samples can be lost, so that place is not order. Stamps modulo the period keep their phase through
any loss; the mean phase of a block (a mean on the circle) says where the sampler's instants lie,
and each stamp belongs to the nearest. Where jitter is too wide for that, order is place, and a
gap of more than `GAP` periods counts as so many samples. What the sampler's clock does against
the places is followed like any other (`two_way`), wander and steps included: samples that were
lost unseen bend it, where they would break one line over a whole recording. Where more is bent
than jitter is saved, stamps stay as they are.

Long runs are worked through in pieces of 131,072 samples, so that memory beside stamps
and places is bounded; quantiles are then those of 64 stretches, even over the run.

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
from sources.xdf.clock_offsets import coursing, straight
from sources.xdf.offset_smoother import Ask, Work, alone

BLOCK_S, MAX_BLOCKS = 1.0, 4096
MIN_COUNT = 64
"""Samples; fewer are left as they are."""
GAP = 5.0
BREAK_S, BREAK_PERIODS = 1.0, 50.0
"""Silence after which a sampler may have been started anew."""
CLEAR = 0.5
"""Length of the mean direction from which phases are told: a jitter of a fifth of the period."""
WINDOW, SHARP = 31, 0.1
PIECE, SOME = 1 << 18, 64
TELLING = 8
"""Readings of a clock from which a line is drawn."""


class Readings(NamedTuple):
    """How the clock that stamps are on was put right.

    Attributes
    ----------
    sd : float (n,)
        Of the clock at each stamp (s): what it can explain is no wander of the sampler.
    at, left : float64 (m,)
        When it was read, on the clock that it was put right to, and what was left over then (s).
    """

    sd: NDArray[Any]
    at: F64
    left: F64


def dejitter(stamps: F64, rate_hz: float, readings: Readings | None = None) -> F64:
    """Return the times at which the samples were taken, as `evening`."""
    return alone(evening(stamps, rate_hz, readings))


def evening(stamps: F64, rate_hz: float, readings: Readings | None = None) -> Work[F64]:
    """Work out the times at which the samples were taken.

    Parameters
    ----------
    stamps : float64 (n,)
        In the order of the samples (s), on a clock that has been put right.
    rate_hz : float
        Nominal; within a few per cent.
    readings : Readings, optional
        A sampler that kept its pace through all of them is the better clock: it is then the
        line through them all.

    Returns
    -------
    float64 (n,)
        Rising; the stamps themselves where they are too few or do not fit the rate.
    """
    period = 1 / rate_hz
    limit = max(BREAK_S, BREAK_PERIODS * period)
    breaks = [s.start + np.flatnonzero(np.abs(_steps(stamps, s)) > limit) + 1
              for s in pieces(max(len(stamps) - 1, 0))]  # fmt: skip
    edges = [0, *np.concatenate([*breaks, [len(stamps)]]).astype(int).tolist()]
    none = np.empty(0)
    readings = readings or Readings(np.zeros(len(stamps), np.float32), none, none)
    out = stamps.copy()
    for a, b in pairwise(edges):
        if b - a >= MIN_COUNT:
            within = (readings.at >= stamps[a]) & (readings.at <= stamps[b - 1])
            own = Readings(readings.sd[a:b], readings.at[within], readings.left[within])
            yield from _free(out[a:b], stamps[a:b], period, own)
    return out


def _free(out: F64, stamps: F64, period: float, readings: Readings) -> Work[None]:
    """Free one run of samples from jitter, into `out`; leave it where that cannot be done."""
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
        if len(readings.at) >= TELLING:
            # The residual of each reading over the clock is now over the line.
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
    """Return means of neighbours, at most so many, and their weights, 1 in the mean."""
    first = np.arange(0, len(at), -(-len(at) // most))
    total = np.add.reduceat(weight, first)
    return (np.add.reduceat(weight * at, first) / total,
            np.add.reduceat(weight * value, first) / total, total / total.mean())  # fmt: skip


def _bend(out: F64, run: _Run, full: Bool, at: F64, offset: F64, count: F64) -> Work[None]:
    """Follow a sampler whose pace is no line; leave `out` where that bends more than it frees."""
    lines, edges = yield from coursing(at, offset, count)
    of = np.cumsum(full) - 1
    left = np.empty(len(out))
    for s in pieces(len(out)):
        nominal, apart = run.nominal(s), run.apart(s)
        mine_of = of[run.block(s)]
        freed = np.full(len(nominal), np.nan)
        for course, first, last in zip(lines, edges, edges[1:], strict=False):
            # A step lies somewhere between two blocks: their samples keep their stamps.
            mine = (mine_of >= first + (first > 0)) & (mine_of < last - (last < len(at)))
            freed[mine] = course(nominal[mine])
        left[s] = apart - freed
    # A mean over blocks half a block further on is no jitter: samples lost unseen.
    calm, middles = run.calm(), ~np.isnan(left)
    np.nan_to_num(left, copy=False)
    _, _, _, unseen = run.means(lambda s: calm(s) * middles[s], left, shift=0.5)
    jitter = float(np.sqrt(np.mean(left**2)))
    if not (len(unseen) and np.sqrt(np.mean(unseen**2)) > jitter / 2):
        out -= left
        np.maximum.accumulate(out, out=out)


class _Run:
    """Samples of a run beside their places, worked through in pieces of bounded size.

    Parameters
    ----------
    stamps : float64 (n,)
    place : float64 (n,)
        The sampler's instant of each sample, from 0 on.
    period : float
        Nominal (s).
    """

    def __init__(self, stamps: F64, place: F64, period: float) -> None:
        self.stamps, self.place, self.period = stamps, place, period
        self.base, self.end = float(stamps[0]), float(place[-1]) * period
        self.blocks = max(int(min(self.end / BLOCK_S, MAX_BLOCKS, len(stamps) // 16)), 1)
        self._calm: Callable[[slice], F64] | None = None

    def nominal(self, s: slice) -> F64:
        """Return the time since the first sample by places alone (s)."""
        return self.place[s] * self.period

    def apart(self, s: slice) -> F64:
        """Return how much later stamps are than that (s)."""
        return self.stamps[s] - self.base - self.nominal(s)

    def block(self, s: slice, shift: float = 0.0) -> I64:
        """Return the block of each sample; with `shift`, blocks lie so many blocks earlier."""
        at = (self.nominal(s) / self.end * self.blocks + shift).astype(np.int64)
        return np.minimum(at, self.blocks - (shift == 0))

    def means(
        self, weight: Callable[[slice], F64], value: NDArray[Any] | None = None, shift: float = 0.0
    ) -> tuple[Bool, F64, F64, F64]:
        """Return which blocks have any weight, and of those: weight, mean place, mean value.

        The value is how much later stamps are than places, unless another is given.
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
        """Return 1 for stamps that are near the others of their block, 0 for wild ones."""
        if self._calm is None:
            middle = self._middles()
            n = len(self.stamps)
            some = np.concatenate([self._off(s, middle) for s in _sampled(n)])
            limit = 6 * 1.4826 * float(np.median(some)) + 1e-9
            self._calm = lambda s: np.asarray(self._off(s, middle) <= limit, float)
        return self._calm

    def _middles(self) -> F64:
        """Return the median of each block, 0 where it has no sample."""
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
        """Return where each block begins among the samples, and their number."""
        count = np.zeros(self.blocks, np.int64)
        for s in pieces(len(self.stamps)):
            count += np.bincount(self.block(s), minlength=self.blocks)
        return [0, *np.cumsum(count).tolist()]


def _steps(time: F64, s: slice) -> F64:
    """Return the steps from each sample of a piece to the next."""
    return np.diff(time[s.start : s.stop + 1])


def _sampled(n: int) -> list[slice]:
    """Return pieces of a run, even over it, of which a quantile is asked; all of a short one."""
    if n <= PIECE:
        return [slice(0, n)]
    size = PIECE // SOME
    return [slice(a, a + size) for a in np.linspace(0, n - size - 1, SOME).astype(int).tolist()]


def _sampled_steps(time: F64) -> F64:
    return np.concatenate([_steps(time, s) for s in _sampled(len(time))])


def _places(time: F64, period: float) -> F64:
    """Return which of the sampler's instants each sample is, rising by at least one."""
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
    if len(sums) < 2 or np.median(np.abs(sums)) < CLEAR:
        jumped = 0.0
        for s in pieces(n - 1):
            step = _steps(time, s)
            gaps = np.where(step > GAP * max(period, usual), np.round(step / period) - 1, 0.0)
            np.cumsum(gaps, out=gaps)
            place[s.start + 1 : s.start + 1 + len(step)] += jumped + gaps
            jumped += gaps[-1]
        return place
    phase = np.unwrap(np.angle(sums)) / (2 * np.pi)

    def exact(s: slice) -> F64:
        part = time[s] - base
        out: F64 = part / period - np.interp(part, middle, phase)
        # Beyond the middles of the first and last block the phase goes on turning as it did.
        for end, near in ((part < middle[0], 0), (part > middle[-1], -2)):
            slope = (phase[near + 1] - phase[near]) / (middle[near + 1] - middle[near])
            at = middle[0] if near == 0 else middle[-1]
            out[end] -= slope * (part[end] - at)
        return out

    some = np.concatenate([exact(s) for s in _sampled(n)])
    blurred = 1.4826 * np.median(np.abs(some - np.round(some))) > SHARP
    for s in pieces(n):
        place[s] = np.round(exact(s)) - np.arange(s.start, min(s.stop, n))
    if blurred:
        # Samples that are lost are a staircase, which a median leaves as it is.
        lost = np.pad(place, WINDOW // 2, "reflect")
        for s in pieces(n, PIECE // 16):
            around = sliding_window_view(lost[s.start : s.stop + WINDOW - 1], WINDOW)
            place[s] = np.median(around, axis=1)
    np.maximum.accumulate(place, out=place)
    for s in pieces(n):
        place[s] += np.arange(s.start, min(s.stop, n))
    place -= place[0]
    return place
