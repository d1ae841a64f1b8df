"""Input of the flow: events, rejects, markers, stream status changes, commands, batches.

Times are seconds. *Source time* is the sender's stamp, *arrival* the stamp of the receiving host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from operators.types import F64, I32, I64, Bool, BridgeCommand, Reason

READING_KEY = "clock_offset"
"""Key of a two-way reading of a source's clock: [host - source, the largest error of that] (s).

A single number under this key, as in XDF recordings, is a channel like any other.
"""


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


COMMAND_SOURCE = "bridge commands"
"""Source of refused commands; no stream has a name with a space."""


class CommandRow(NamedTuple):
    """A command of a person to the bridge, at the tick in this row of a batch."""

    row: int
    command: BridgeCommand
    by: str
    """User that sent it."""


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
    markers, rejects, turned, controls : tuple
        In order of `row`.
    end : bool
        This is the last batch of the rig.
    part : int
        Partition of the source that read the rows; a rig belongs to one.
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
    controls: tuple[CommandRow, ...] = ()
    end: bool = False
    part: int = 0

    @staticmethod
    def of(
        channels: Mapping[str, Sequence[ArrayLike | None]], *, rig: str = "studio", end: bool = True
    ) -> Batch:
        """Return the rows of several channels as one batch, in order of arrival.

        Parameters
        ----------
        channels : mapping of str to (ts, rx, value)
            By `<source>:<key>`: source times, arrivals and values (n,), times in seconds. With
            `rx` None there is no arrival: rows are in order of source time, and clocks are not
            estimated. With `ts` None the arrival stands for the source time.
        rig : str
        end : bool
            No row of this rig follows.

        Raises
        ------
        ValueError
            A name has no colon, arrays differ in length, or a value or time is not finite.
        """
        parts = [_columns(name, *columns) for name, columns in channels.items()]
        names = tuple(tuple(name.split(":", 1)) for name in channels)
        number = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
        ts, rx, value, stamped = (
            np.concatenate([part[k] for part in parts]) if parts else np.empty(0) for k in range(4)
        )
        order = np.argsort(rx, kind="stable")
        n = len(order)
        return Batch(
            rig=rig,
            names=names,  # type: ignore[arg-type]
            name=number[order].astype(np.int32),
            ts=ts[order],
            rx=rx[order],
            stamped=stamped[order].astype(bool),
            wild=np.zeros(n, bool),
            value=value[order],
            seq=np.full(n, -1, np.int64),
            line=np.arange(n),
            end=end,
        )


def _columns(
    name: str, ts: ArrayLike | None, rx: ArrayLike | None, value: ArrayLike | None
) -> tuple[F64, F64, F64, Bool]:
    """Return source times, arrivals, values and `stamped` of a channel."""
    if ":" not in name:
        raise ValueError(f"{name!r} is no channel, expected <source>:<key>")
    values = np.asarray(value, np.float64)
    if ts is None and rx is None:
        raise ValueError(f"{name}: neither source times nor arrivals")
    arrival = np.asarray(ts if rx is None else rx, np.float64)
    source = np.full(len(values), np.nan) if ts is None else np.asarray(ts, np.float64)
    if not len(source) == len(arrival) == len(values):
        lengths = f"{len(source)}, {len(arrival)}, {len(values)}"
        raise ValueError(f"{name}: arrays of {lengths} rows, expected equal lengths")
    if not (np.isfinite(arrival).all() and np.isfinite(values).all()):
        raise ValueError(f"{name}: a time or value is not finite")
    if ts is not None and not np.isfinite(source).all():
        raise ValueError(f"{name}: a time is not finite")
    stamped = np.full(len(values), ts is not None and rx is not None)
    return source, arrival, values, stamped
