"""Input of the flow: events, rejects, markers, stream status changes, batches.

Times are seconds. *Source time* is the sender's stamp, *arrival* the stamp of the receiving host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from operators.types import F64, I32, I64, Bool, Reason


class Meta(msgspec.Struct, gc=False):
    """Optional fields that a sender or a recorder adds to an event; other keys are ignored."""

    rx: float | None = None
    seq: int | None = None
    own_time: bool | None = None
    """False: the sender gave no time, `ts` is the arrival."""


class Event(msgspec.Struct, gc=False):
    """One decoded row, for sources that receive rows one by one."""

    ts: float
    source: str
    key: str
    value: float
    rig: str | None = None
    meta: Meta | None = None


class Reject(msgspec.Struct, frozen=True):
    """An undecodable input, with its place among the rows of a batch."""

    row: int
    """The row of the batch that follows it."""
    reason: Reason
    source: str
    where: str
    """File and byte offset, or peer address."""
    sample: bytes
    count: int = 1


class Marker(NamedTuple):
    """Text in place of a number: corrected in time, never fused."""

    row: int
    text: str


class StreamStatus(NamedTuple):
    """A stream came up or went down, at the tick in this row of a batch."""

    row: int
    source: str
    up: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one rig as columns, in order of arrival, rejects among them.

    Attributes
    ----------
    names : tuple of (source, key)
        Table that `name` indexes.
    name : int32 (n,)
        Index into `names`; -1 is a tick of the host clock, which has only `rx`.
    ts, rx : float64 (n,)
        Source time and arrival. `ts` is NaN without a sender's time; from `collect` on it is then
        the arrival. `rx` is `ts` without a recorded arrival.
    stamped : bool (n,)
        Both times are given and independent: the clock can be learnt from this row.
    wild : bool (n,)
        The arrival stamp is implausible: the row is to be rejected.
    value : float64 (n,)
        NaN for markers and ticks, else finite.
    seq : int64 (n,)
        The sender's sequence number, -1 without one.
    line : int64 (n,)
        Rows of one array share it.
    markers, rejects, turned : tuple
        In order of `row`.
    end : bool
        This is the last batch of the rig.
    """

    rig: str
    names: tuple[tuple[str, str], ...]
    name: I32
    ts: F64
    rx: F64
    stamped: Bool
    wild: Bool
    value: F64
    seq: I64
    line: I64
    markers: tuple[Marker, ...] = ()
    rejects: tuple[Reject, ...] = ()
    turned: tuple[StreamStatus, ...] = ()
    end: bool = False
