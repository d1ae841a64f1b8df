"""Rows of each channel, released in the order of host time.

A row waits until the watermark is `settle_s` past its host time; a row that arrives later than
that leaves at once. It is a *straggler* where rows of later host time were released before it.

State: each channel's rows of the last `settle_s`, and the host time of its last released row.
Cost: a sort a block that is out of order. Losses: none.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from msgspec.structs import replace

from operators.records import Block
from operators.types import Bool, State


class ReorderBuffer:
    """The waiting rows of all channels."""

    def __init__(self, settle_s: float) -> None:
        self.settle_s = settle_s
        self._waiting: dict[str, Block] = {}
        self._released: dict[str, float] = {}

    @classmethod
    def from_snapshot(cls, state: State, settle_s: float) -> ReorderBuffer:
        """Return the buffer of a snapshot."""
        buffer = cls(settle_s)
        buffer._waiting = {c: Block.from_snapshot(b) for c, b in state["waiting"].items()}
        buffer._released = dict(state["released"])
        return buffer

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "waiting": {c: b.snapshot() for c, b in self._waiting.items()},
            "released": dict(self._released),
        }

    def release(self, blocks: Iterable[Block], watermark: float, end: bool) -> tuple[Block, ...]:
        """Add rows to the waiting ones; return the released rows, rising in host time."""
        for b in blocks:
            waiting = self._waiting.get(b.channel)
            b = replace(b, straggler=self._stragglers(b, waiting))
            self._waiting[b.channel] = Block.join((waiting, b)) if waiting else b
        out: list[Block] = []
        for channel, b in list(self._waiting.items()):
            if not len(b):
                continue
            ready = b.straggler | (b.host_time + self.settle_s <= watermark) | end
            if ready.all():
                del self._waiting[channel]
            elif ready.any():
                self._waiting[channel] = b.take(~ready)
                b = b.take(ready)
            else:
                continue
            if (b.host_time[1:] < b.host_time[:-1]).any():
                b = b.take(np.argsort(b.host_time, kind="stable"))
            last = float(b.host_time[-1])
            self._released[channel] = max(self._released.get(channel, -np.inf), last)
            out.append(b)
        return tuple(out)

    def _stragglers(self, block: Block, waiting: Block | None) -> Bool:
        """Return which rows arrive after later rows of their channel were released.

        Age alone makes no straggler: a radio that delivers by the second sends only old rows.
        """
        host, settle_s = block.host_time, self.settle_s
        straggler = block.watermark >= host + settle_s
        if not straggler.any():
            return straggler
        earlier = np.append(waiting.host_time, host) if waiting else host
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
