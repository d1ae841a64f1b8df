"""The reference's rows, as beats of the observer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from operators.bridge.bridge_config import ReferenceConfig
from operators.bridge.gains_in_force import Gains
from operators.bridge.observer import Observer, Use
from operators.records import Block
from operators.types import State


class BeatRow(NamedTuple):
    """One row of the reference, known at control step s if `moment < s`."""

    moment: float
    host_time: float
    row: int
    channel: str
    value: float


class Beat(NamedTuple):
    """One beat: host time (s), its whole number or phase (beats), and its use."""

    time: float
    number: float
    use: Use


def rows_of(blocks: Iterable[Block]) -> list[BeatRow]:
    """Return the rows of a packet, by moment."""
    rows: list[BeatRow] = []
    for block in blocks:
        channel = block.channel
        columns = (block.watermark, block.host_time, block.row, block.value)
        listed = zip(*(column.tolist() for column in columns), strict=True)
        rows += [BeatRow(moment, at, row, channel, x) for moment, at, row, x in listed]
    return sorted(rows)


class Reference:
    """The reference of a configuration."""

    def __init__(self, config: ReferenceConfig | None) -> None:
        self._config = config or ReferenceConfig()

    @classmethod
    def from_snapshot(cls, state: State, config: ReferenceConfig | None) -> Reference:
        """Return the reference of a snapshot."""
        return cls(config)

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {}

    def row(self, row: BeatRow, observer: Observer, gains: Gains) -> list[Beat]:
        """Process a row; return its beats."""
        if row.channel != self._config.beat:
            return []
        use = observer.beat(row.host_time, gains)
        return [Beat(row.host_time, observer.number, use)]

    def tick(self, ts: float, value: float, observer: Observer, gains: Gains) -> list[Beat]:
        """Process the signal at a grid tick; return its beats."""
        return []
