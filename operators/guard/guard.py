"""guard: outliers out of sampled channels.

operators/guard/hampel.py finds what stands out of its neighbours, operators/guard/peaks.py what of it is the
signal's own: peaks with flanks, and shapes that recur.

A sample is judged with the five before and the five after it. It is final when its five
successors are there, or, on a slow channel, when `decide_s` has passed; then its `before` becomes
the moment of that. Stragglers are judged among the samples around them and change nobody else's
verdict. Held channels pass.

State: each channel's undecided rows, the samples of the last `late_s` beside them, and the last
128 samples that stood out.
Cost: about 50 numpy calls a block, 25 for each channel of it, 35 where a sample is suspect, 25
where one stands out, 30 for each channel that has one.
Losses: outliers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from operators.accounting import ended, spread
from operators.guard.hampel import WIDTH, least_scale, outliers, shifted, step
from operators.guard.peaks import Looks, Peaks, looks
from operators.guard.running_statistic import RunningStatistic
from operators.limits import GUARD_SIDE as SIDE
from operators.plan import Plan
from operators.records import Block, Ends, Packet
from operators.types import F64, I64, Bool, State

MEMORY, RENEW, FIRST = 256, 1024, 16
MAX_HISTORY = 8192
NONE, EVER, NEVER = (np.full(SIDE, v) for v in (np.nan, -np.inf, np.inf))
SURE = np.zeros(SIDE, bool)


@dataclass
class _Channel:
    """What is kept of one channel; `renewal` gives its least scale, `scale` that of `pending`."""

    past_time: F64 = field(default_factory=lambda: np.empty(0))
    past: F64 = field(default_factory=lambda: np.empty(0))
    renewal: RunningStatistic = field(
        default_factory=lambda: RunningStatistic(MEMORY, FIRST, RENEW, np.zeros(1))
    )
    ready: float = -np.inf
    pending: Block | None = None
    scale: F64 = field(default_factory=lambda: np.empty(0))
    stragglers: Block | None = None
    peaks: Peaks = field(default_factory=Peaks)

    def snapshot(self) -> State:
        """Return the state as plain values."""
        out: dict[str, Any] = {k: getattr(self, k) for k in self.__dataclass_fields__}
        for k in ("renewal", "peaks"):
            out[k] = out[k].snapshot()
        for k in ("pending", "stragglers"):
            out[k] = out[k] and out[k].snapshot()
        return out

    @classmethod
    def from_snapshot(cls, state: State) -> _Channel:
        """Return the channel of a snapshot."""
        parts = {
            "renewal": RunningStatistic.from_snapshot(state["renewal"]),
            "peaks": Peaks.from_snapshot(state["peaks"]),
        }
        blocks = {k: state[k] and Block.from_snapshot(state[k]) for k in ("pending", "stragglers")}
        return cls(**{**state, **parts, **blocks})


class _Case(NamedTuple):
    """Rows of a channel that wait for their verdict, all in order or one straggler.

    `before` (5,) are the values before them, of which `had` are there, the others NaN;
    `next_time`, `next_value` (5,) the samples after them, inf and NaN where there is none;
    `scale` (n,) the least scale.
    """

    kept: _Channel
    rows: Block
    scale: F64
    before: F64
    had: int
    next_time: F64 = NEVER
    next_value: F64 = NONE


class Guard:
    """Sampled channels without their outliers."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._held: dict[str, bool] = {}
        self._channels: dict[str, _Channel] = {}

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
        """Judge what can be judged; hand on the good rows, each with its moment."""
        good: dict[str, list[Block]] = {}
        for block in packet.blocks:
            channel = block.channel
            if channel not in self._held:
                self._held[channel] = self.plan.is_held(channel)
            if self._held[channel]:
                # It waited in `drift` for what might overtake it.
                moment = np.maximum(block.watermark, block.host_time + self.plan.settle_s)
                good[channel] = [replace(block, watermark=moment)]
            else:
                self._take_in(block)
        ends: list[Ends] = list(packet.ends)
        removed: list[Block] = []
        for rows, bad in self._verdicts(packet.watermark, packet.end):
            at = bad.nonzero()[0]
            if len(at):
                lost = rows.take(at)
                moment = spread(lost.watermark, lost.weight)
                ends += ended(rows.source, rows.channel, "outliers", moment)
                removed.append(lost)
                rows = rows.take(~bad)
            if len(rows):
                good.setdefault(rows.channel, []).append(rows)
        out = tuple(b[0] if len(b) == 1 else Block.join(b) for b in good.values())
        for b in out:
            ends += ended(b.source, b.channel, "used", spread(b.watermark, b.weight))
        return replace(packet, blocks=out, outliers=tuple(removed), ends=tuple(ends))

    def _take_in(self, block: Block) -> None:
        c = self._channels.get(block.channel)
        if c is None:
            c = self._channels[block.channel] = _Channel()
        if np.count_nonzero(block.straggler):
            astray = block.take(block.straggler)
            c.stragglers = Block.join((c.stragglers, astray)) if c.stragglers else astray
            block = block.take(~block.straggler)
        if len(block):
            scale = c.renewal.push(block.value[None], least_scale)[0]
            c.scale = np.concatenate((c.scale, scale))
            c.pending = Block.join((c.pending, block)) if c.pending else block

    def _verdicts(self, known: float, end: bool) -> list[tuple[Block, Bool]]:
        """Return the rows that became final, with which of them are outliers.

        All are worked on as one line of samples, each case between the five before and after it.
        """
        settle, reach = self.plan.settle_s, self.plan.decide_s
        cases: list[_Case] = []
        for kept in self._channels.values():
            cases += _stragglers(kept, reach)
            if kept.pending:
                cases.append(_Case(kept, kept.pending, kept.scale, *_last(kept.past)))
        if not cases:
            return []
        time = np.concatenate([x for c in cases for x in (NEVER, c.rows.host_time, c.next_time)])
        value = np.concatenate([x for c in cases for x in (c.before, c.rows.value, c.next_value)])
        known_at = np.concatenate([x for c in cases for x in (EVER, c.rows.watermark, EVER)])
        scale = np.concatenate([x for c in cases for x in (NEVER, c.scale, NEVER)])
        limit = time[SIDE:-SIDE] + reach
        due = limit + settle
        near = shifted(time[SIDE + 1 :], SIDE) <= limit
        old = np.concatenate([x for c in cases for x in (SURE, ~c.rows.straggler, SURE)])
        old &= known_at >= time + settle
        if np.count_nonzero(old):
            # What comes late in one piece waits as long for what follows, from when it came.
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
        # What stands out of a whole window may be a peak.
        far = (bad & (count == WIDTH)).nonzero()[0]
        seen = looks(shifted(value, WIDTH).T[far], scale[far]) if len(far) else None
        out = []
        for c, span in zip(cases, spans, strict=True):
            k = _how_many(due[span], full[span], known, end)
            if seen:
                _spare(c, bad[span], far, seen, span.start, k)
            if rows := self._finish(c, moment[span][:k], known):
                out.append((rows, bad[span][:k]))
        return out

    def _finish(self, case: _Case, moment: F64, known: float) -> Block | None:
        """Return the first rows of a case with their moments, None for none; keep the others."""
        c, rows, k = case.kept, case.rows, len(moment)
        if rows is c.pending and k:
            moment = np.maximum.accumulate(np.maximum(moment, c.ready))
            c.ready = float(moment[-1])
            time = np.concatenate((c.past_time, rows.host_time[:k]))
            value = np.concatenate((c.past, rows.value[:k]))
            least = known - self.plan.late_s - self.plan.decide_s
            keep = max(int(time.searchsorted(least)) - SIDE, len(time) - MAX_HISTORY, 0)
            c.past_time, c.past = time[keep:], value[keep:]
            c.pending = rows.take(slice(k, None)) if k < len(rows) else None
            c.scale = c.scale[k:]
        elif not k and rows is not c.pending:
            c.stragglers = Block.join((c.stragglers, rows)) if c.stragglers else rows
        if not k:
            return None
        return Block(
            rows.source, rows.channel, rows.row[:k], rows.source_time[:k], rows.arrival[:k],
            rows.value[:k], moment, rows.stamped[:k], rows.line[:k],
            None if rows.weight is None else rows.weight[:k], (), rows.host_time[:k],
            rows.straggler[:k],
        )  # fmt: skip


def _spare(case: _Case, bad: Bool, far: I64, seen: Looks, start: int, final: int) -> None:
    """Take a case's peaks out of `bad`; remember what stood out among its `final` first rows.

    `far` are the places of `seen` in the line of all cases; that of this case begins at `start`.
    """
    first, last, end = np.searchsorted(far, (start, start + final, start + len(bad))).tolist()
    if first == end:
        return
    mine, peaks = seen.part(slice(first, end)), case.kept.peaks
    spared = mine.rough
    if case.rows is case.kept.pending:
        spared = spared | peaks.recurring(mine)
        peaks.push(seen.part(slice(first, last)))
    bad[far[first:end][spared] - start] = False


def _last(past: F64) -> tuple[F64, int]:
    """Return the last five values, NaN where there is none, and how many there are."""
    had = min(len(past), SIDE)
    return past[-SIDE:] if had == SIDE else np.concatenate((NONE[had:], past)), had


def _stragglers(c: _Channel, reach: float) -> list[_Case]:
    """Return the channel's stragglers, each among the samples around it."""
    rows, waiting = c.stragglers, c.pending
    c.stragglers = None
    if rows is None:
        return []
    time, value = c.past_time, c.past
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
        out.append(_Case(c, row, scale, before, had, time[span], after[span]))
    return out


def _how_many(due: F64, full: Bool, known: float, end: bool) -> int:
    """Return how many rows are final: the first that lack a successor and time ends them."""
    n = len(due)
    k = n if end else int(due.searchsorted(known, "right"))
    if k < n:
        rest = full[k:]
        k = n if np.count_nonzero(rest) == n - k else k + int(rest.argmin())
    return k


def _newest(before: F64) -> F64:
    """Return for all but the last five the newest of itself and the five after it."""
    two = np.maximum(before[:-1], before[1:])
    four = np.maximum(two[:-2], two[2:])
    return np.asarray(np.maximum(four[:-2], two[4:]))
