"""normalize: arrays to one number, then gain, offset and allowed range, channel by channel.

value' = gain * value + offset. What lies outside `range`, or beyond 1e100, is rejected
(`out_of_range`). With `reduce` the elements of an array (rows that share a line) become their
norm, sum or mean first; the row then stands for all of them in the account.

State: none. Cost: two numpy calls a block. Losses: rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from operators.ledger import ended, letters, spread
from operators.plan import Plan, Reduce
from operators.records import F64, I64, Block, DeadLetter, Ends, Packet, State


def _norm(value: F64, start: I64) -> F64:
    return np.sqrt(np.add.reduceat(value * value, start))


def _sum(value: F64, start: I64) -> F64:
    return np.add.reduceat(value, start)


def _mean(value: F64, start: I64) -> F64:
    return np.add.reduceat(value, start) / np.diff(start, append=len(value))


REDUCE: dict[Reduce, Callable[[F64, I64], F64]] = {"norm": _norm, "sum": _sum, "mean": _mean}


LARGEST = 1e100
"""The squares and sums of what is larger would overflow."""


class Normalize:
    """Values in the units of their signal."""

    def __init__(self, plan: Plan, state: State | None = None) -> None:
        self.plan = plan

    def snapshot(self) -> State:
        """Return the state: there is none."""
        return {}

    def update(self, packet: Packet) -> Packet:
        """Normalize every block."""
        blocks: list[Block] = []
        ends = list(packet.ends)
        dead = list(packet.letters)
        for block in packet.blocks:
            if block.text:
                blocks.append(block)
                continue
            good, bad = self._block(block)
            if len(bad):
                before = spread(bad.before, bad.weight)
                ends += ended(block.source, block.channel, "rejected", before)
                dead += letters(
                    self.plan, "normalize", "out_of_range", block.source, before,
                    spread(bad.line, bad.weight),
                    [f"{block.channel} {v!r}" for v in spread(bad.value, bad.weight).tolist()],
                )  # fmt: skip
            if len(good):
                blocks.append(good)
        return replace(packet, blocks=tuple(blocks), ends=tuple[Ends, ...](ends),
                       letters=tuple[DeadLetter, ...](dead))  # fmt: skip

    def _block(self, block: Block) -> tuple[Block, Block]:
        """Return the rows that may go on, and those that may not."""
        config = self.plan.channel(block.channel)
        if config.reduce:
            start = np.flatnonzero(np.diff(block.line, prepend=block.line[0] - 1))
            with np.errstate(over="ignore"):
                value = REDUCE[config.reduce](block.value, start)
            size = np.diff(start, append=len(block))
            block = replace(block.take(start), value=value, weight=size)
        value = block.value
        if config.gain is not None:
            with np.errstate(over="ignore"):
                value = config.gain * value
        if config.offset is not None:
            value = value + config.offset
        low, high = config.range or (-LARGEST, LARGEST)
        out = ~((value >= max(low, -LARGEST)) & (value <= min(high, LARGEST)))
        normalized = replace(block, value=value)
        if not out.any():
            return normalized, block.take(slice(0, 0))
        return normalized.take(~out), normalized.take(out)
