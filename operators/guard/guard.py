"""guard: removal of outliers from sampled channels.

operators/guard/hampel.py finds samples that differ from their neighbours. Of these,
operators/guard/peaks.py spares the peaks of the signal: those with flanks and those that recur.

The verdict on a sample uses the five samples before and the five after it. It is final when the
five successors are there or, on a slow channel, when `decide_s` has passed; the watermark of the
row becomes that of the decision. Stragglers are tested among the samples around them and do not
change other verdicts. Held channels pass. So do the beats of the bridge's reference, which end
here, but for those of a channel that is on the grid as well: these go both ways.

State: each channel's undecided rows, its samples of the last `late_s`, and the last 128 samples
that differed from their neighbours.
Cost: for a channel of few rows without a suspect one, 25 numpy calls, most of them assignments
and views; few are 24, or 128 where that is compiled (operators/native/verdicts.c). Otherwise about
50 a block, 25 for each channel of it, 35 with a suspect sample, 25 with a distinct one, 30 for each
channel that has one.
Losses: outliers.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from operators import native
from operators.accounting import ended, spread
from operators.guard.hampel import WIDTH, least_scale, outliers, shifted, step
from operators.guard.hampel_single import is_outlier
from operators.guard.peaks import Looks, Peaks, looks
from operators.guard.running_statistic import RunningStatistic
from operators.limits import GUARD_SIDE as SIDE
from operators.limits import MAX_FEW
from operators.numeric.row_store import RowStore
from operators.records import Block, Ends, Packet
from operators.settings.plan import Plan
from operators.types import F64, I64, Bool, State

MEMORY, RENEW, FIRST = 256, 1024, 16
MAX_HISTORY = 8192
MAX_PLAIN = 24
"""Undecided rows of a channel up to which plain numbers are faster than arrays."""
MAX_COMPILED = 128
"""The same of the compiled form: of more rows, one is likely to need the arrays."""
NONE, EVER, NEVER = (np.full(SIDE, v) for v in (np.nan, -np.inf, np.inf))
NOT_OLD = np.zeros(SIDE, bool)


@dataclass
class _Channel:
    """State of one channel; `renewal` yields its least scale, `scale` is that of `pending`."""

    past_time: array[float] = field(default_factory=lambda: array("d"))
    past: array[float] = field(default_factory=lambda: array("d"))
    renewal: RunningStatistic = field(
        default_factory=lambda: RunningStatistic(MEMORY, FIRST, RENEW, np.zeros(1))
    )
    ready: float = -np.inf
    pending: RowStore | None = None
    scale: array[float] = field(default_factory=lambda: array("d"))
    stragglers: Block | None = None
    peaks: Peaks = field(default_factory=Peaks)

    def snapshot(self) -> State:
        """Return the state as plain values."""
        out: dict[str, Any] = {k: getattr(self, k) for k in self.__dataclass_fields__}
        for k in ("renewal", "peaks"):
            out[k] = out[k].snapshot()
        for k in _COLUMNS:
            out[k] = np.array(out[k])
        out["pending"] = self.pending and self.pending.block(len(self.pending)).snapshot()
        out["stragglers"] = self.stragglers and self.stragglers.snapshot()
        return out

    @classmethod
    def from_snapshot(cls, state: State) -> _Channel:
        """Return the channel of a snapshot."""
        parts = {
            "renewal": RunningStatistic.from_snapshot(state["renewal"]),
            "peaks": Peaks.from_snapshot(state["peaks"]),
        }
        columns = {k: array("d", state[k]) for k in _COLUMNS}
        blocks = {k: state[k] and Block.from_snapshot(state[k]) for k in ("pending", "stragglers")}
        pending = blocks.pop("pending")
        return cls(
            **{**state, **parts, **columns, **blocks, "pending": pending and RowStore(pending)}
        )

    def forget(self, least: float) -> None:
        """Drop the past before host time `least` (s), but for the last five of it."""
        first = bisect_left(self.past_time, least) - SIDE
        first = max(first, len(self.past_time) - MAX_HISTORY, 0)
        del self.past_time[:first], self.past[:first]


_COLUMNS = ("past_time", "past", "scale")


class _Case(NamedTuple):
    """Undecided rows of a channel: all rows in order, or one straggler.

    `place`: that of the channel among all.
    `before` (5,): the values before them, the last `had` known, the others NaN.
    `next_time`, `next_value` (5,): the samples after them, inf and NaN for none.
    `scale` (n,): the least scale. `ordered`: all rows in order.
    """

    kept: _Channel
    place: int
    rows: Block
    scale: F64
    before: F64
    had: int
    next_time: F64 = NEVER
    next_value: F64 = NONE
    ordered: bool = False


class Guard:
    """Sampled channels without their outliers."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._held: dict[str, bool] = {}
        self._channels: dict[str, _Channel] = {}
        self._on_grid = {lane.channel for lane in plan.lanes}

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan) -> Guard:
        """Return the station of a snapshot."""
        core = cls(plan)
        core._channels = {name: _Channel.from_snapshot(c) for name, c in state.items()}
        return core

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {name: c.snapshot() for name, c in self._channels.items()}

    def update(self, packet: Packet) -> Packet:
        """Decide the rows that are ready; return the accepted ones, each with its watermark."""
        good: dict[str, list[Block]] = {}
        beats: list[Block] = []
        ends: list[Ends] = list(packet.ends)
        for block in packet.blocks:
            channel = block.channel
            if channel in self.plan.beats:
                beat = self._passed(block)
                beats.append(beat)
                if channel not in self._on_grid:
                    ends += _used(beat)
                    continue
            if channel not in self._held:
                self._held[channel] = self.plan.is_held(channel)
            if self._held[channel]:
                good[channel] = [self._passed(block)]
            else:
                self._append(block)
        removed: list[Block] = []
        for rows, bad in self._verdicts(packet.watermark, packet.end):
            if bad is not None and bad.any():
                lost = rows.take(bad)
                moment = spread(lost.watermark, lost.weight)
                ends += ended(rows.source, rows.channel, "outliers", moment)
                removed.append(lost)
                rows = rows.take(~bad)
            if len(rows):
                good.setdefault(rows.channel, []).append(rows)
        out = tuple(b[0] if len(b) == 1 else Block.join(b) for b in good.values())
        for b in out:
            ends += _used(b)
        return replace(
            packet,
            blocks=out,
            beats=tuple(beats),
            outliers=tuple(removed),
            ends=tuple(ends),
        )

    def _passed(self, block: Block) -> Block:
        """Return rows without a verdict, each known once it left the reorder buffer of `drift`."""
        moment = np.maximum(block.watermark, block.host_time + self.plan.settle_s)
        return replace(block, watermark=moment)

    def _append(self, block: Block) -> None:
        c = self._channels.get(block.channel)
        if c is None:
            c = self._channels[block.channel] = _Channel()
        if np.count_nonzero(block.straggler):
            astray = block.take(block.straggler)
            c.stragglers = Block.join((c.stragglers, astray)) if c.stragglers else astray
            block = block.take(~block.straggler)
        if len(block):
            if len(block) <= MAX_FEW and c.renewal.passes(block.value.tolist()):
                c.scale.extend(c.renewal.numbers.tolist() * len(block))
            else:
                c.scale.frombytes(c.renewal.push(block.value, least_scale)[0].tobytes())
            if c.pending is None:
                c.pending = RowStore(block)
            else:
                c.pending.append(block)

    def _verdicts(self, known: float, end: bool) -> list[tuple[Block, Bool | None]]:
        """Return the rows that became final by the watermark `known`, and their outliers.

        A row is due at host time + decide_s + settle_s; full with five successors within decide_s.
        None stands for no outliers.
        """
        verdicts: list[tuple[int, Block, Bool | None]] = []
        cases: list[_Case] = []
        for place, kept in enumerate(self._channels.values()):
            if kept.pending is not None and kept.stragglers is None and len(kept.past) >= SIDE:
                n, found = len(kept.pending), None
                if native.kernels is not None and n <= MAX_COMPILED:
                    found = self._compiled(native.kernels, kept, kept.pending, known, end)
                elif n <= MAX_PLAIN:
                    found = self._plain(kept, kept.pending, known, end)
                if found:
                    verdicts += [(place, *found)] if len(found[0]) else []
                    continue
            cases += _stragglers(kept, place, self.plan.decide_s)
            if kept.pending:
                rows = kept.pending.block(len(kept.pending))
                past, had = _last(np.array(kept.past[-SIDE:]))
                scale = np.array(kept.scale)
                cases.append(_Case(kept, place, rows, scale, past, had, ordered=True))
        if cases:
            verdicts += self._of_cases(cases, known, end)
            verdicts.sort(key=itemgetter(0))
        return [(rows, bad) for _, rows, bad in verdicts]

    def _plain(
        self, c: _Channel, rows: RowStore, known: float, end: bool
    ) -> tuple[Block, Bool | None] | None:
        """Return the final rows of a channel with few rows, and their outliers.

        None if an outlier may be a peak: then nothing is changed. The formulas are those of
        `_of_cases`, row by row.
        """
        n = len(rows)
        settle, reach = self.plan.settle_s, self.plan.decide_s
        time, mark = rows.host_time.tolist(), rows.watermark.tolist()
        due = [
            m + reach if m >= t + settle else t + reach + settle
            for t, m in zip(time, mark, strict=True)
        ]
        first_open = n if end else bisect_right(due, known)
        value = [*c.past[-SIDE:], *rows.value.tolist()]
        newest = c.ready
        moments: list[float] = []
        bad: list[bool] = []
        for i in range(n):
            limit = time[i] + reach
            last = min(i + SIDE, n - 1)
            after = _usable(time[i + 1 : last + 1], mark[i + 1 : last + 1], limit, due[i])
            if after == SIDE:
                decided = max(time[last] + settle, *mark[i : last + 1])
            elif i < first_open:
                decided = due[i]
            else:
                break
            bad.append(is_outlier(value, i + SIDE, after, c.scale[i]))
            if bad[-1] and after == SIDE:
                return None
            newest = max(newest, decided, mark[i])
            moments.append(newest)
        return self._taken(c, rows, np.array(moments), np.array(bad) if any(bad) else None, known)

    def _compiled(
        self, kernels: native.Kernels, c: _Channel, rows: RowStore, known: float, end: bool
    ) -> tuple[Block, Bool | None] | None:
        """Return the final rows of a channel, and their outliers, as `_plain`.

        The compiled form dates the rows; those that differ from their neighbours are tested here.
        """
        n = len(rows)
        past, moment = c.past[-SIDE:], np.empty(n)
        k, suspects = kernels.decide(
            rows.host_time, rows.watermark, rows.value, past, c.scale, moment,
            self.plan.settle_s, self.plan.decide_s, known, c.ready, end,
        )  # fmt: skip
        bad = None
        if suspects:
            value = [*past, *rows.value.tolist()]
            for i, after in suspects:
                if not is_outlier(value, i + SIDE, after, c.scale[i]):
                    continue
                if after == SIDE:
                    return None
                bad = np.zeros(k, bool) if bad is None else bad
                bad[i] = True
        return self._taken(c, rows, moment[:k], bad, known)

    def _taken(
        self, c: _Channel, rows: RowStore, moment: F64, bad: Bool | None, known: float
    ) -> tuple[Block, Bool | None]:
        """Remove and return the first rows, dated by `moment`, with their outliers."""
        k = len(moment)
        final = rows.take(k)
        if not k:
            return final, None
        c.ready = float(moment[-1])
        c.past_time.frombytes(final.host_time.tobytes())
        c.past.frombytes(final.value.tobytes())
        c.forget(known - self.plan.late_s - self.plan.decide_s)
        del c.scale[:k]
        c.pending = rows if len(rows) else None
        return replace(final, watermark=moment), bad

    def _of_cases(
        self, cases: list[_Case], known: float, end: bool
    ) -> list[tuple[int, Block, Bool | None]]:
        """Return the places of the cases' channels, their final rows, and their outliers.

        All cases form one line of samples, each between its five predecessors and successors.
        """
        settle, reach = self.plan.settle_s, self.plan.decide_s
        time = np.concatenate([x for c in cases for x in (NEVER, c.rows.host_time, c.next_time)])
        value = np.concatenate([x for c in cases for x in (c.before, c.rows.value, c.next_value)])
        known_at = np.concatenate([x for c in cases for x in (EVER, c.rows.watermark, EVER)])
        scale = np.concatenate([x for c in cases for x in (NEVER, c.scale, NEVER)])
        limit = time[SIDE:-SIDE] + reach
        due = limit + settle
        near = shifted(time[SIDE + 1 :], SIDE) <= limit
        old = np.concatenate([x for c in cases for x in (NOT_OLD, ~c.rows.straggler, NOT_OLD)])
        old &= known_at >= time + settle
        if np.count_nonzero(old):
            # Rows of a late packet wait as long for successors, from their watermark on.
            due = np.where(old[SIDE:-SIDE], known_at[SIDE:-SIDE] + reach, due)
            near &= shifted(known_at[SIDE + 1 :], SIDE) <= due
        after = np.add.reduce(near.view(np.int8), axis=0, dtype=np.int8)
        full = after == SIDE
        fifth = np.maximum(time[2 * SIDE :] + settle, _newest(known_at[SIDE:]))
        moment = np.maximum(np.where(full, fifth, due), known_at[SIDE:-SIDE])
        count = after + np.int8(SIDE + 1)
        spans, at = [], 0
        for c in cases:
            spans.append(slice(at, at + len(c.rows)))
            if missing := SIDE - c.had:
                first = count[spans[-1]][:missing]
                first -= np.arange(missing, 0, -1, dtype=np.int8)[: len(first)]
            at += len(c.rows) + 2 * SIDE
        scale = scale[SIDE:-SIDE]
        bad = outliers(value, after, count, scale)
        # An outlier of a complete window may be a peak.
        far = (bad & (count == WIDTH)).nonzero()[0]
        seen = looks(shifted(value, WIDTH).T[far], scale[far]) if len(far) else None
        out: list[tuple[int, Block, Bool | None]] = []
        for c, span in zip(cases, spans, strict=True):
            k = _how_many(due[span], full[span], known, end)
            if seen:
                _spare(c, bad[span], far, seen, span.start, k)
            if rows := self._finish(c, moment[span][:k], known):
                out.append((c.place, rows, bad[span][:k]))
        return out

    def _finish(self, case: _Case, moment: F64, known: float) -> Block | None:
        """Return the first rows of a case with their watermarks, None for none; keep the rest."""
        c, rows, k = case.kept, case.rows, len(moment)
        if case.ordered and k:
            moment = np.maximum.accumulate(np.maximum(moment, c.ready))
            c.ready = float(moment[-1])
            c.past_time.frombytes(rows.host_time[:k].tobytes())
            c.past.frombytes(rows.value[:k].tobytes())
            c.forget(known - self.plan.late_s - self.plan.decide_s)
            if c.pending:
                c.pending.take(k)
            if k == len(rows):
                c.pending = None
            del c.scale[:k]
        elif not k and not case.ordered:
            c.stragglers = Block.join((c.stragglers, rows)) if c.stragglers else rows
        if not k:
            return None
        return replace(rows.take(slice(0, k)), watermark=moment)


def _used(b: Block) -> tuple[Ends, ...]:
    return ended(b.source, b.channel, "used", spread(b.watermark, b.weight))


def _spare(case: _Case, bad: Bool, far: I64, seen: Looks, start: int, final: int) -> None:
    """Remove a case's peaks from `bad`; store the looks of its `final` first rows.

    `far` are the places of `seen` in the line of all cases; this case begins at `start`.
    """
    first, last, end = np.searchsorted(far, (start, start + final, start + len(bad))).tolist()
    if first == end:
        return
    mine, peaks = seen.part(slice(first, end)), case.kept.peaks
    spared = mine.rough
    if case.ordered:
        spared = spared | peaks.recurring(mine)
        peaks.push(seen.part(slice(first, last)))
    bad[far[first:end][spared] - start] = False


def _last(past: F64) -> tuple[F64, int]:
    """Return the last five values, NaN for missing ones, and their number."""
    had = min(len(past), SIDE)
    return past[-SIDE:] if had == SIDE else np.concatenate((NONE[had:], past)), had


def _usable(time: list[float], mark: list[float], limit: float, due: float) -> int:
    """Return the number of successors up to `limit` that are known by `due`."""
    if not time or (max(time) <= limit and max(mark) <= due):
        return len(time)
    return sum(t <= limit and m <= due for t, m in zip(time, mark, strict=True))


def _stragglers(c: _Channel, place: int, reach: float) -> list[_Case]:
    """Return the channel's stragglers, each among the samples around it."""
    rows, waiting = c.stragglers, c.pending
    c.stragglers = None
    if rows is None:
        return []
    time, value = np.array(c.past_time), np.array(c.past)
    if waiting:
        time = np.concatenate((time, waiting.host_time))
        value = np.concatenate((value, waiting.value))
    time, after = np.concatenate((time, NEVER)), np.concatenate((value, NONE))
    out = []
    for i, p in enumerate(np.searchsorted(time, rows.host_time, "right").tolist()):
        row, span = rows.take(slice(i, i + 1)), slice(p, p + SIDE)
        before, had = _last(value[max(p - SIDE, 0) : p])
        beside = after[span][time[span] <= row.host_time + reach]
        near = np.concatenate((before[SIDE - had :], row.value, beside))
        scale = 2 * step(near[None])
        out.append(_Case(c, place, row, scale, before, had, time[span], after[span]))
    return out


def _how_many(due: F64, full: Bool, known: float, end: bool) -> int:
    """Return the number of final rows: those due by the watermark, then those with successors."""
    n = len(due)
    k = n if end else int(due.searchsorted(known, "right"))
    if k < n:
        rest = full[k:]
        k = n if np.count_nonzero(rest) == n - k else k + int(rest.argmin())
    return k


def _newest(before: F64) -> F64:
    """Return the maximum of each watermark and the five after it, but for the last five."""
    two = np.maximum(before[:-1], before[1:])
    four = np.maximum(two[:-2], two[2:])
    return np.asarray(np.maximum(four[:-2], two[4:]))
