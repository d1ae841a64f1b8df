"""Rows of a recording as columns, before they are split by rig."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from operators.events import Reject
from operators.types import F64, I32, I64, Bool
from sources.rows.names import REJECT, Names, tick_of

Notes: TypeAlias = NDArray[np.object_]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedRows:
    """Rows of all rigs in the order of their file, rejects among them.

    Attributes
    ----------
    names : Names
        Table that `name` points into.
    name : int32 (n,)
        At least 0: a channel; -2: a reject; below: a tick (`tick_of`).
    ts, rx, value : float64 (n,)
        As in `Batch`; `value` is NaN for markers, ticks and rejects only; all three are NaN for
        rejects.
    stamped : bool (n,)
    seq : int64 (n,)
    line : int64 (n,)
        Byte offset of the line; elements of an array share it.
    notes : object (n,) or None
        The text of a marker, the `Reject` of a reject, the `StreamStatus` or `CommandRow` of a
        tick, else None; None instead of the array where all are None.
    """

    names: Names
    name: I32
    ts: F64
    rx: F64
    value: F64
    stamped: Bool
    seq: I64
    line: I64
    notes: Notes | None = None

    def __len__(self) -> int:
        return len(self.name)

    def take(self, which: slice | I64) -> Self:
        """Return a selection of the rows; a slice does not copy."""
        columns: dict[str, Any] = {}
        for name in self.__dataclass_fields__:  # of a live batch, `fields` takes half the time
            column = getattr(self, name)
            columns[name] = column[which] if isinstance(column, np.ndarray) else column
        return type(self)(**columns)

    @classmethod
    def of_reject(cls, reject: Reject, line: int, names: Names) -> Self:
        """Return one reject as a row."""
        note, nan = no_notes(1), np.full(1, np.nan)
        note[0] = reject
        return cls(
            names=names,
            name=np.full(1, REJECT, np.int32),
            ts=nan,
            rx=nan,
            value=nan,
            stamped=np.zeros(1, np.bool_),
            seq=np.full(1, -1),
            line=np.full(1, line),
            notes=note,
        )

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Concatenate rows that share their table of names."""
        if len(parts) == 1:
            return parts[0]
        columns = {
            f.name: np.concatenate([getattr(p, f.name) for p in parts])
            for f in fields(cls)
            if f.name not in ("names", "notes")
        }
        notes = None
        if any(p.notes is not None for p in parts):
            notes = np.concatenate(
                [no_notes(len(p)) if p.notes is None else p.notes for p in parts]
            )
        return cls(names=parts[0].names, notes=notes, **columns)

    def renamed(self, names: Names) -> Self:
        """Return the rows with another table of names."""
        if names is self.names:
            return self
        old, rig_of = self.names, self.names.rig_of()
        numbers, place = np.unique(self.name, return_inverse=True)
        new = numbers.copy()
        for k, number in enumerate(numbers.tolist()):
            if number >= 0:
                new[k] = names.add((old.rigs[rig_of[number]], *old.channels[number]))
            elif tick_of(number) >= 0:
                new[k] = tick_of(names.rig(old.rigs[tick_of(number)]))
        name = new[place]
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        return type(self)(**columns | {"names": names, "name": name})


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived(DecodedRows):
    """Rows with the verdicts of the arrival check.

    Attributes
    ----------
    feed : int32 (n,)
        Number of the file.
    wild : bool (n,)
        As in `Batch`.
    merge_time : float64 (n,)
        Newest accepted arrival of the file up to this row: files are merged by it.
    reference_arrival : float64 (n,)
        The arrival with which the next row is compared.
    calm : bool (n,)
        No later row shares the verdict of this row.
    """

    feed: I32
    wild: Bool
    merge_time: F64
    reference_arrival: F64
    calm: Bool

    @classmethod
    def none(cls, names: Names) -> Arrived:
        """Return no rows."""
        f64, i64 = np.empty(0, np.float64), np.empty(0, np.int64)
        i32, flag = np.empty(0, np.int32), np.empty(0, np.bool_)
        return cls(
            names=names,
            name=i32,
            ts=f64,
            rx=f64,
            value=f64,
            stamped=flag,
            seq=i64,
            line=i64,
            feed=i32,
            wild=flag,
            merge_time=f64,
            reference_arrival=f64,
            calm=flag,
        )


def no_notes(n: int) -> Notes:
    """Return n empty notes."""
    return np.full(n, None, np.object_)


def as_reject(note: object) -> Reject:
    """Return the note on a reject."""
    assert isinstance(note, Reject)
    return note
