"""Rows of each channel, released in the order of host time.

A row waits until the watermark is `settle_s` past its host time; a row that arrives later than
that leaves at once. It is a *straggler* where rows of later host time were released before it.

State: each channel's rows of the last `settle_s`, and the host time of its last released row.
Cost: about 20 numpy calls a block, and a sort for one that is out of order. Losses: none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import le

import numpy as np
from msgspec.structs import replace

from operators.limits import MAX_FEW
from operators.numeric.row_store import RowStore
from operators.records import Block
from operators.types import F64, Bool, State

MAX_ORDERED = 64
"""Waiting rows up to which plain numbers are faster than arrays."""


class ReorderBuffer:
    """The waiting rows of all channels.

    `_rising` has the last host time of channels whose rows are known to rise, without stragglers.
    """

    def __init__(self, settle_s: float) -> None:
        self.settle_s = settle_s
        self._waiting: dict[str, RowStore] = {}
        self._released: dict[str, float] = {}
        self._rising: dict[str, float] = {}

    @classmethod
    def from_snapshot(cls, state: State, settle_s: float) -> ReorderBuffer:
        """Return the buffer of a snapshot."""
        buffer = cls(settle_s)
        buffer._waiting = {c: RowStore(Block.from_snapshot(b)) for c, b in state["waiting"].items()}
        buffer._released = dict(state["released"])
        return buffer

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "waiting": {c: rows.block(len(rows)).snapshot() for c, rows in self._waiting.items()},
            "released": dict(self._released),
        }

    def release(self, blocks: Iterable[Block], watermark: float, end: bool) -> tuple[Block, ...]:
        """Add rows to the waiting ones; return the released rows, rising in host time.

        The blocks have no stragglers yet: these are found here.
        """
        for b in blocks:
            self._add(b)
        out: list[Block] = []
        for channel, rows in list(self._waiting.items()):
            ready = self._ready(channel, rows, watermark, end)
            if ready is None:
                continue
            last = float(ready.host_time[-1])
            self._released[channel] = max(self._released.get(channel, -np.inf), last)
            out.append(ready)
        return tuple(out)

    def _add(self, block: Block) -> None:
        """Add the rows of a block to the waiting ones."""
        channel = block.channel
        waiting = self._waiting.get(channel)
        newest = self._rising.pop(channel, None)
        if waiting is None:
            newest = -math.inf
        if self._old(block):
            block = replace(block, straggler=self._stragglers(block, waiting))
        elif newest is not None and 0 < len(block) <= MAX_FEW:
            times = block.host_time.tolist()
            if times[0] >= newest and all(map(le, times, times[1:])):
                self._rising[channel] = times[-1]
        if waiting is None:
            self._waiting[channel] = RowStore(block)
        else:
            waiting.append(block)

    def _ready(self, channel: str, rows: RowStore, watermark: float, end: bool) -> Block | None:
        """Remove and return the released rows of a channel, None for none."""
        k = self._first_ready(channel, rows, watermark, end)
        if k == 0:
            return None
        if k is not None:
            first = rows.take(k)
            if not len(rows):
                del self._waiting[channel]
            return first
        b = rows.block(len(rows))
        ready = b.straggler | (b.host_time + self.settle_s <= watermark) | end
        if ready.all():
            del self._waiting[channel]
        elif ready.any():
            self._waiting[channel] = RowStore(b.take(~ready))
            b = b.take(ready)
        else:
            return None
        if (b.host_time[1:] < b.host_time[:-1]).any():
            b = b.take(np.argsort(b.host_time, kind="stable"))
        return b

    def _first_ready(self, channel: str, rows: RowStore, watermark: float, end: bool) -> int | None:
        """Return the number of released rows if these are the first ones in order, else None."""
        if len(rows) > MAX_ORDERED:
            host = rows.host_time
            if (host[1:] < host[:-1]).any() or rows.straggler.any():
                return None
            return len(rows) if end else int(np.count_nonzero(host + self.settle_s <= watermark))
        times = rows.host_time.tolist()
        if channel not in self._rising:
            if any(rows.straggler.tolist()) or not all(map(le, times, times[1:])):
                return None
            if times:
                self._rising[channel] = times[-1]
        if end:
            return len(times)
        settle_s = self.settle_s
        for k, time in enumerate(times):
            if time + settle_s > watermark:
                return k
        return len(times)

    def _old(self, block: Block) -> bool:
        """Return whether any row may be a straggler."""
        if len(block) > MAX_FEW:
            return bool((block.watermark >= block.host_time + self.settle_s).any())
        marks, times = block.watermark.tolist(), block.host_time.tolist()
        if not times or max(marks) < min(times) + self.settle_s:
            return False
        rows = zip(marks, times, strict=True)
        return any(watermark >= host + self.settle_s for watermark, host in rows)

    def _stragglers(self, block: Block, waiting: RowStore | None) -> Bool:
        """Return which rows arrive after later rows of their channel were released.

        Age alone makes no straggler: a radio that delivers by the second sends only old rows.
        """
        host, settle_s = block.host_time, self.settle_s
        straggler = block.watermark >= host + settle_s
        if not straggler.any():
            return straggler
        earlier: F64 = host if waiting is None else np.append(waiting.host_time, host)
        released = self._released.get(block.channel, -np.inf)
        # Newest host time among the rows before each row, released ones included.
        ahead = np.maximum.accumulate(np.append(released, earlier))[-len(host) - 1 : -1]
        straggler &= host < ahead
        first = len(earlier) - len(host)
        for i in np.flatnonzero(straggler & (host >= released)).tolist():
            before = earlier[: first + i]
            gone = before <= block.watermark[i] - settle_s
            straggler[i] = bool((gone & (before > host[i])).any())
        return straggler
