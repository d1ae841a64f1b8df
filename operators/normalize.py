"""normalize: arrays to one number, then gain, offset and allowed range, channel by channel.

value' = gain * value + offset. Values outside `range`, or beyond 1e100, are rejected
(`out_of_range`). With `reduce` the elements of an array (rows that share a line) first become
their norm, sum or mean; the row then counts as all of them in the account.

State: none. Cost: at most six numpy calls a block, two for few rows. Losses: rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from operators.accounting import ended, letters, spread
from operators.limits import MAX_FEW
from operators.records import Block, DeadLetter, Ends, Packet
from operators.settings.channels import Reduce
from operators.settings.plan import Plan
from operators.types import F64, I64, State


def _norm(value: F64, start: I64) -> F64:
    return np.sqrt(np.add.reduceat(value * value, start))


def _sum(value: F64, start: I64) -> F64:
    return np.add.reduceat(value, start)


def _mean(value: F64, start: I64) -> F64:
    return np.add.reduceat(value, start) / np.diff(start, append=len(value))


REDUCE: dict[Reduce, Callable[[F64, I64], F64]] = {"norm": _norm, "sum": _sum, "mean": _mean}


MAX_VALUE = 1e100
"""The squares and sums of larger values would overflow."""


class _Rule(NamedTuple):
    """A channel's normalization, from its configuration."""

    reduce: Reduce | None
    gain: float
    offset: float
    low: float
    high: float


class Normalize:
    """Values in the units of their signal."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._rules: dict[str, _Rule] = {}

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan) -> Normalize:
        """Return the station of a snapshot, which is empty."""
        return cls(plan)

    def snapshot(self) -> State:
        """Return the state, which is empty."""
        return {}

    def update(self, packet: Packet) -> Packet:
        """Normalize every block."""
        blocks: list[Block] = []
        if not packet.blocks:
            return packet
        ends = list(packet.ends)
        dead = list(packet.letters)
        with np.errstate(over="ignore"):
            for block in packet.blocks:
                good, bad = (block, None) if block.text else self._block(block)
                if bad:
                    watermark = spread(bad.watermark, bad.weight)
                    values = spread(bad.value, bad.weight).tolist()
                    ends += ended(block.source, block.channel, "rejected", watermark)
                    dead += letters(
                        self.plan,
                        "normalize",
                        "out_of_range",
                        block.source,
                        watermark,
                        spread(bad.line, bad.weight),
                        [f"{block.channel} {value!r}" for value in values],
                    )
                if good:
                    blocks.append(good)
        return replace(
            packet,
            blocks=tuple(blocks),
            ends=tuple[Ends, ...](ends),
            letters=tuple[DeadLetter, ...](dead),
        )

    def _rule(self, channel: str) -> _Rule:
        rule = self._rules.get(channel)
        if rule is None:
            c = self.plan.channel(channel)
            low, high = c.range or (-MAX_VALUE, MAX_VALUE)
            rule = self._rules[channel] = _Rule(
                c.reduce, *c.conversion, max(low, -MAX_VALUE), min(high, MAX_VALUE)
            )
        return rule

    def _block(self, block: Block) -> tuple[Block, Block | None]:
        """Return the accepted rows, normalized, and the rejected ones."""
        rule = self._rule(block.channel)
        if rule.reduce:
            start = np.flatnonzero(np.diff(block.line, prepend=block.line[0] - 1))
            value = REDUCE[rule.reduce](block.value, start)
            size = np.diff(start, append=len(block))
            block = replace(block.take(start), value=value, weight=size)
        value = block.value
        if rule.gain != 1:
            value = value * rule.gain
        if rule.offset:
            value = value + rule.offset
        normalized = block if value is block.value else replace(block, value=value)
        if len(value) <= MAX_FEW and all(rule.low <= x <= rule.high for x in value.tolist()):
            return normalized, None
        good = (value >= rule.low) & (value <= rule.high)
        if np.count_nonzero(good) == len(good):
            return normalized, None
        return normalized.take(good), normalized.take(~good)
