"""guard: outliers out of sampled channels, by a Hampel filter and a test for spikes.

A sample x is an outlier when it lies further than 4 scales from the median of its window (five
samples before it, itself, five after it), with scale = max(1.4826 MAD, 2 quantisation steps) and
MAD about the window's own median (a window cut short takes more scales). Where a signal swings
within the window, MAD is wide and single outliers slip through; so a sample is one, too, when it
stands out on both sides of itself and off the cubic through its four neighbours,
e = x - (4 (x-1 + x+1) - (x-2 + x+2)) / 6, by more than 8 times the larger of 1.4826 median |e|
of the last 256 samples and 2 quantisation steps. A step of the signal is neither, nor is a bend:
what stands out by no more than twice what its neighbours move by is the signal's own.

The quantisation step is the smallest non-zero difference of the last 256 samples while at least a
quarter of their differences are zero, so that quantised and resting channels lose nothing. Held
channels pass.

A sample is final when its five successors are there, or, on a slow channel, when `decide_s` has
passed; then its `before` becomes the moment of that. Stragglers are judged among the samples
around them and change nobody else's verdict.

State: each channel's undecided rows and the samples of the last `late_s` beside them.
Cost: one sort of 11 values twice a sample. Losses: outliers.

Source: Hampel, J. Am. Stat. Assoc. 69 (1974); Pearson, IEEE Trans. Contr. Syst. Tech. 10 (2002).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from operators.ledger import ended, spread
from operators.plan import Plan
from operators.records import F64, I64, Block, Bool, Ends, Packet, State
from operators.renewal import Renewal

SIDE = 5
SIGMAS = np.array([1e9, 1e9, 1e9, 1e9, 7.5, 8.6, 5.3, 5.5, 4.4, 4.5, 4.0, 4.0])
"""Scales by the number of samples in the window: as rarely passed by normal noise as 4 by 11."""
MAD_TO_SD = 1.4826
MEMORY, RENEW, FIRST = 256, 1024, 16
SPIKE = 8.0
ROUNDING = 1e-12
MOST_HISTORY = 8192


@dataclass
class _Channel:
    """What is kept of one channel; `renewal` gives its quantisation step and roughness."""

    past_time: F64 = field(default_factory=lambda: np.empty(0))
    past: F64 = field(default_factory=lambda: np.empty(0))
    renewal: Renewal = field(
        default_factory=lambda: Renewal(MEMORY, FIRST, RENEW, np.array([0.0, np.inf]))
    )
    ready: float = -np.inf
    pending: Block | None = None
    steps: F64 = field(default_factory=lambda: np.empty((2, 0)))
    stragglers: Block | None = None


class Guard:
    """Sampled channels without their outliers."""

    def __init__(self, plan: Plan, state: State | None = None) -> None:
        self.plan = plan
        self._channels: dict[str, _Channel] = {}
        for name, c in (state or {}).items():
            blocks = {k: c[k] and Block.revive(c[k]) for k in ("pending", "stragglers")}
            renewal = Renewal(**c["renewal"])
            self._channels[name] = _Channel(**{**c, **blocks, "renewal": renewal})

    def snapshot(self) -> State:
        """Return the state as plain values."""
        out: dict[str, Any] = {}
        for name, c in self._channels.items():
            out[name] = {k: getattr(c, k) for k in _Channel.__dataclass_fields__}
            out[name]["renewal"] = c.renewal.snapshot()
            for k in ("pending", "stragglers"):
                out[name][k] = out[name][k] and out[name][k].plain()
        return out

    def update(self, packet: Packet) -> Packet:
        """Judge what can be judged; hand on the good rows, each with its moment."""
        ends: list[Ends] = list(packet.ends)
        out: list[Block] = []
        removed: list[Block] = []
        new = {b.channel: b for b in packet.blocks}
        for channel in dict.fromkeys([*self._channels, *new]):
            block = new.get(channel)
            if self.plan.is_held(channel):
                if block:
                    # It waited in `drift` for what might overtake it.
                    moment = np.maximum(block.before, block.host_time + self.plan.settle_s)
                    block = replace(block, before=moment)
                done = [(block, np.zeros(len(block), bool))] if block else []
            else:
                kept = self._channels.setdefault(channel, _Channel())
                done = self._judge(kept, block, packet.known, packet.end)
            good = [b.take(~bad) for b, bad in done]
            for (b, bad), g in zip(done, good, strict=True):
                if bad.any():
                    lost = b.take(bad)
                    moment = spread(lost.before, lost.weight)
                    ends += ended(b.source, channel, "outliers", moment)
                    removed.append(lost)
                if len(g):
                    ends += ended(b.source, channel, "used", spread(g.before, g.weight))
            good = [g for g in good if len(g)]
            if good:
                out.append(good[0] if len(good) == 1 else Block.join(good))
        return replace(packet, blocks=tuple(out), outliers=tuple(removed), ends=tuple(ends))

    def _judge(
        self, c: _Channel, block: Block | None, known: float, end: bool
    ) -> list[tuple[Block, Bool]]:
        """Return the rows that became final, with which of them are outliers."""
        if block is not None:
            ordered = block
            if block.straggler.any():
                astray = block.take(block.straggler)
                c.stragglers = Block.join((c.stragglers, astray)) if c.stragglers else astray
                ordered = block.take(~block.straggler)
            if len(ordered):
                c.steps = np.concatenate(
                    (c.steps, c.renewal.push(ordered.value[None], _measure)), axis=1
                )
                c.pending = Block.join((c.pending, ordered)) if c.pending else ordered
        out: list[tuple[Block, Bool]] = []
        waiting = c.pending
        time = np.concatenate((c.past_time, waiting.host_time)) if waiting else c.past_time
        value = np.concatenate((c.past, waiting.value)) if waiting else c.past
        had = len(c.past)
        settle, reach = self.plan.settle_s, self.plan.decide_s
        if c.stragglers:
            out += self._judge_stragglers(c, c.stragglers, time, value, known, end)
        if waiting:
            n = len(waiting)
            at = waiting.host_time
            index = had + np.arange(n)
            after = np.minimum(np.searchsorted(time, at + reach, "right") - 1 - index, SIDE)
            full = after == SIDE
            final = np.logical_and.accumulate(full | (at + reach + settle <= known) | end)
            k = int(final.sum())
            if k:
                moment = at[:k] + reach + settle
                if full[:k].any():
                    padded = np.append(waiting.before, np.full(SIDE, -np.inf))
                    newest = np.max([padded[j : j + k] for j in range(SIDE + 1)], axis=0)
                    fifth = time[np.minimum(index[:k] + SIDE, len(time) - 1)] + settle
                    moment = np.where(full[:k], np.maximum(newest, fifth), moment)
                moment = np.maximum.accumulate(np.maximum(moment, c.ready))
                c.ready = float(moment[-1])
                bad = _outliers(value, index[:k], after[:k], c.steps[0, :k])
                bad |= _spikes(value, index[:k], after[:k], c.steps[:, :k])
                out.append((replace(waiting.take(slice(0, k)), before=moment), bad))
                c.pending = waiting.take(slice(k, n)) if k < n else None
                c.steps = c.steps[:, k:]
                least = known - self.plan.late_s - reach
                keep = int(np.searchsorted(time[: had + k], least)) - SIDE
                keep = max(min(keep, had + k - SIDE), had + k - MOST_HISTORY, 0)
                c.past_time, c.past = time[keep : had + k], value[keep : had + k]
        return out

    def _judge_stragglers(
        self, c: _Channel, rows: Block, time: F64, value: F64, known: float, end: bool
    ) -> list[tuple[Block, Bool]]:
        settle, reach = self.plan.settle_s, self.plan.decide_s
        at = rows.host_time
        place = np.searchsorted(time, at, "right")
        after = np.minimum(np.searchsorted(time, at + reach, "right") - place, SIDE)
        full = after == SIDE
        fifth = time[np.clip(place + SIDE - 1, 0, max(len(time) - 1, 0))] if len(time) else at
        moment = np.where(full, fifth, at + reach) + settle
        final = (moment <= known) | end
        if not final.any():
            return []
        bad = np.zeros(len(rows), bool)
        for i in np.flatnonzero(final).tolist():
            p = int(place[i])
            window = np.concatenate(
                (value[max(p - SIDE, 0) : p], rows.value[i : i + 1], value[p : p + int(after[i])])
            )
            here = np.array([min(p, SIDE)])
            step = _measure(window[None, None])[0, :1] if len(window) > 4 else np.zeros(1)
            bad[i] = _outliers(window, here, after[i : i + 1], step)[0]
        c.stragglers = rows.take(~final) if not final.all() else None
        done = replace(rows, before=np.maximum(rows.before, moment)).take(final)
        return [(done, bad[final])]


def _measure(windows: F64) -> F64:
    """Return quantisation step and roughness of windows (h, 1, w)."""
    x = windows[:, 0]
    off = np.abs(_off_cubic(x.T).T)
    middle = off.shape[1] // 2
    rough = MAD_TO_SD * np.partition(off, middle, axis=1)[:, middle]
    apart = np.abs(np.diff(x, axis=1))
    moved = apart > 0
    resting = (~moved).sum(axis=1) >= apart.shape[1] / 4
    least = np.min(np.where(moved, apart, np.inf), axis=1)
    return np.stack((np.where(resting & np.isfinite(least), least, 0.0), rough), axis=1)


def _off_cubic(x: F64) -> F64:
    """Return how far each sample but the outer two lies off the cubic of its neighbours."""
    return x[2:-2] - (4 * (x[1:-3] + x[3:-1]) - (x[:-4] + x[4:])) / 6


def _spikes(value: F64, index: I64, after: I64, steps: F64) -> Bool:
    """Return which of consecutive `value[index]` stand alone against both their neighbours.

    `steps` (2, k) are quantisation step and roughness in force.
    """
    edge = np.full(2, np.nan)
    x = np.concatenate((edge, value, edge))[index[0] : index[-1] + 5]
    off = np.abs(_off_cubic(x))
    left, right = x[2:-2] - x[1:-3], x[2:-2] - x[3:-1]
    # Of one sign, the lesser of the two; else nothing above 0.
    alone = np.maximum(np.minimum(left, right), -np.maximum(left, right))
    swing = np.minimum(np.abs(x[1:-3] - x[:-4]), np.abs(x[4:] - x[3:-1]))
    high = SPIKE * np.maximum(2 * steps[0], steps[1])
    high[high <= ROUNDING * np.abs(x[2:-2])] = np.inf  # at rest so far: any change is news
    spike = (off > high) & (alone > np.maximum(high / 2, 2 * swing)) & (after >= 2)
    return np.asarray(spike)


def _outliers(value: F64, index: I64, after: I64, step: F64) -> Bool:
    """Return which of consecutive `value[index]` are outliers in their windows.

    Parameters
    ----------
    value : float64 (n,)
        Samples in order of host time.
    index, after : int64 (k,)
        Which to judge, and how many successors each may look at.
    step : float64 (k,)
        Quantisation step in force.
    """
    if index[0] >= SIDE and (after == SIDE).all():
        first, stride = int(index[0]) - SIDE, value.itemsize
        shape = (len(index), 2 * SIDE + 1)
        middle, mad = _full(np.ndarray(shape, float, value, first * stride, (stride, stride)))
        sigmas: F64 = SIGMAS[-1:]
    else:
        reach = np.arange(-SIDE, SIDE + 1)
        place = index[:, None] + reach
        inside = (place >= 0) & (reach <= after[:, None])
        window = np.where(inside, value[np.clip(place, 0, len(value) - 1)], np.nan)
        count = inside.sum(axis=1)
        middle = _median(window, count)
        mad = _median(np.abs(window - middle[:, None]), count)
        sigmas = SIGMAS[count]
    off = np.abs(value[index[0] : index[-1] + 1] - middle)
    scale = np.maximum(MAD_TO_SD * mad, 2 * step)
    rest = np.flatnonzero(scale == 0)
    for i in rest[off[rest] > 0].tolist():
        # Most of the window is one value: its own smallest change stands for the step.
        near = np.abs(value[max(index[i] - SIDE, 0) : index[i] + after[i] + 1] - middle[i])
        scale[i] = 2 * np.min(near[near > 0])
    return off > sigmas * scale


def _full(window: F64) -> tuple[F64, F64]:
    """Return median and MAD of windows (k, 11).

    The deviations below and above the median are sorted already; of their ten the fifth is the
    least, over how many are taken from below, of the larger last one taken from either side.
    """
    ordered = np.sort(window, axis=1).T
    middle: F64 = ordered[SIDE]
    below, above = middle - ordered[SIDE - 1 :: -1], ordered[SIDE + 1 :] - middle
    mad: F64 = np.minimum(below[SIDE - 1], above[SIDE - 1])
    for k in range(1, SIDE):
        mad = np.minimum(mad, np.maximum(below[k - 1], above[SIDE - 1 - k]))
    return middle, mad


def _median(rows: F64, count: I64) -> F64:
    """Return the median of each row's `count` numbers; the rest of the row is NaN."""
    ordered = np.sort(rows, axis=1)
    k = np.arange(len(rows))
    return 0.5 * (ordered[k, (count - 1) // 2] + ordered[k, count // 2])
