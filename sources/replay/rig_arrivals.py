"""Arrival checks of a recording with many rigs, one for each of them.

Edges send when they can: the arrivals of two rigs in one partition of a topic may differ by
minutes. So a line is compared with lines of its rig only, and a held line holds no other rig.
A row comes out at the line that decided on it: the order of the rows depends on the recording
alone, and that of one rig is its own. Rejects belong to no rig and are not checked.

State: the check and up to four held lines for each of the first `max_rigs` rigs; further rigs are
not checked. Losses: none here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple, Self

import msgspec
import numpy as np

from operators.events import CommandRow, StreamStatus
from operators.types import F64, I64, Bool
from sources.replay.arrival_check import Arrivals
from sources.rows.names import REJECT, Names, tick_of
from sources.rows.rows import DecodedRows, no_notes

AT_END = int(np.iinfo(np.int64).max)
"""Stands for the line that decides at the end of the recording."""
_NO_RIG = -1
_UNKNOWN = float("-inf")


class HeldRow(msgspec.Struct, frozen=True, array_like=True):
    """A row without a verdict; `source` is None for a tick."""

    source: str | None
    key: str
    ts: float
    rx: float
    value: float
    stamped: bool
    seq: int
    line: int
    text: str | None = None
    status: StreamStatus | None = None
    command: CommandRow | None = None


class RigCheck(msgspec.Struct, frozen=True):
    """The state of one rig's check."""

    rig: str
    reference_arrival: float | None
    merge_time: float | None
    held: list[HeldRow]


class RigChecks(msgspec.Struct, frozen=True):
    """The checks before a line; `emitted`: rows that came out at this line already."""

    emitted: int
    rigs: list[RigCheck]


class JudgedRows(NamedTuple):
    """Rows in their final order.

    Attributes
    ----------
    rows : DecodedRows
    wild : bool (n,)
    merge_time : float64 (n,)
        Of the row's rig; -inf for rows that are not checked.
    by : int64 (n,)
        The line that decided, never falling; `AT_END`.
    """

    rows: DecodedRows
    wild: Bool
    merge_time: F64
    by: I64


class _Rig(NamedTuple):
    """One rig between two calls; never changed in place."""

    arrivals: Arrivals
    held: DecodedRows | None


class RigArrivals:
    """The checks of one recording.

    Parameters
    ----------
    unused : Arrivals
        The check of a new rig.
    max_rigs : int
    is_own : callable
        Whether a rig is checked at all.
    """

    def __init__(self, unused: Arrivals, max_rigs: int, is_own: Callable[[str], bool]) -> None:
        self._unused, self._max_rigs, self._is_own = replace(unused), max_rigs, is_own
        self._rigs: dict[str, _Rig] = {}

    def copy(self) -> Self:
        """Return the same checks, which go on by themselves."""
        other = type(self)(self._unused, self._max_rigs, self._is_own)
        other._rigs = dict(self._rigs)
        return other

    def holds(self) -> bool:
        """Whether any row is held."""
        return any(rig.held is not None for rig in self._rigs.values())

    def judge(self, fresh: DecodedRows, end: bool) -> JudgedRows:
        """Check the next rows of the recording, the last ones with `end`."""
        names = fresh.names
        parts: list[JudgedRows] = []
        places: list[I64] = []
        for number, own in _by_rig(fresh):
            rows = fresh.take(own)
            entry = None if number == _NO_RIG else self._entry(names.rigs[number])
            if entry is None:
                unknown = np.full(len(rows), _UNKNOWN)
                parts.append(JudgedRows(rows, np.zeros(len(rows), np.bool_), unknown, rows.line))
                places.append(own)
                continue
            if entry.held is not None:
                rows = DecodedRows.join([entry.held.renamed(names), rows])
            parts.append(self._judged(names.rigs[number], entry.arrivals, rows, end))
            place = np.concatenate((np.full(len(rows) - len(own), -1), own))
            places.append(place[: len(parts[-1].by)])
        if end:
            for rig, entry in list(self._rigs.items()):
                if entry.held is not None:
                    rows = entry.held.renamed(names)
                    parts.append(self._judged(rig, entry.arrivals, rows, end))
                    places.append(np.full(len(rows), -1))
        if not parts:
            return JudgedRows(fresh, np.zeros(0, np.bool_), np.empty(0), fresh.line)
        return _in_order(parts, np.concatenate(places))

    def _entry(self, rig: str) -> _Rig | None:
        """Return a rig's check, a new one if there is room."""
        entry = self._rigs.get(rig)
        if entry is None and len(self._rigs) < self._max_rigs and self._is_own(rig):
            entry = _Rig(self._unused, None)
        return entry

    def _judged(self, rig: str, before: Arrivals, rows: DecodedRows, end: bool) -> JudgedRows:
        """Check rows of one rig, and keep those that later ones decide on."""
        arrivals = replace(before)
        judged = arrivals.judge(rows.rx, rows.line, end)
        n = judged.count
        self._rigs[rig] = _Rig(arrivals, rows.take(slice(n, None)) if n < len(rows) else None)
        line = np.append(rows.line, AT_END)
        rows = rows.take(slice(0, n))
        return JudgedRows(rows, judged.wild[:n], judged.merge_time[:n], line[judged.by[:n]])

    def state(self, emitted: int) -> RigChecks:
        """Return the state."""
        rigs = [
            RigCheck(
                rig,
                _known(entry.arrivals.reference_arrival),
                _known(entry.arrivals.merge_time),
                [] if entry.held is None else _stored(entry.held),
            )
            for rig, entry in self._rigs.items()
        ]
        return RigChecks(emitted, rigs)

    def restore(self, checks: RigChecks, names: Names) -> None:
        """Go on at a state; held rows are numbered by a table of names."""
        for each in checks.rigs:
            arrivals = replace(self._unused)
            if each.reference_arrival is not None:
                arrivals.reference_arrival = each.reference_arrival
            if each.merge_time is not None:
                arrivals.merge_time = each.merge_time
            held = _restored(each.rig, each.held, names) if each.held else None
            self._rigs[each.rig] = _Rig(arrivals, held)


def _by_rig(rows: DecodedRows) -> list[tuple[int, I64]]:
    """Return the rows of each rig, in the order of their first rows."""
    if not len(rows):
        return []
    rig = np.full(len(rows), _NO_RIG, np.int64)
    is_channel, is_tick = rows.name >= 0, rows.name < REJECT
    rig[is_channel] = rows.names.rig_of()[rows.name[is_channel]]
    rig[is_tick] = REJECT - 1 - rows.name[is_tick]
    order = np.argsort(rig, kind="stable")
    edges = [0, *(np.flatnonzero(np.diff(rig[order])) + 1).tolist(), len(rows)]
    parts = [order[a:b] for a, b in pairwise(edges)]
    parts.sort(key=lambda part: int(part[0]))
    return [(int(rig[part[0]]), part) for part in parts]


def _in_order(parts: list[JudgedRows], place: I64) -> JudgedRows:
    """Join rows by the line that decided, their own line, and their place in it."""
    rows = DecodedRows.join([part.rows for part in parts])
    by = np.concatenate([part.by for part in parts])
    order = np.lexsort((place, rows.line, by))
    return JudgedRows(
        rows.take(order),
        np.concatenate([part.wild for part in parts])[order],
        np.concatenate([part.merge_time for part in parts])[order],
        by[order],
    )


def _stored(rows: DecodedRows) -> list[HeldRow]:
    found = []
    for i, name in enumerate(rows.name.tolist()):
        source, key = rows.names.channels[name] if name >= 0 else (None, "")
        note = None if rows.notes is None else rows.notes[i]
        found.append(
            HeldRow(
                source,
                key,
                float(rows.ts[i]),
                float(rows.rx[i]),
                float(rows.value[i]),
                bool(rows.stamped[i]),
                int(rows.seq[i]),
                int(rows.line[i]),
                note if isinstance(note, str) else None,
                note if isinstance(note, StreamStatus) else None,
                note if isinstance(note, CommandRow) else None,
            )
        )
    return found


def _restored(rig: str, held: list[HeldRow], names: Names) -> DecodedRows:
    tick = tick_of(names.rig(rig))
    number = [tick if r.source is None else names.add((rig, r.source, r.key)) for r in held]
    notes = no_notes(len(held))
    for i, row in enumerate(held):
        notes[i] = next((n for n in (row.text, row.status, row.command) if n is not None), None)
    return DecodedRows(
        names=names,
        name=np.array(number, np.int32),
        ts=np.array([row.ts for row in held]),
        rx=np.array([row.rx for row in held]),
        value=np.array([row.value for row in held]),
        stamped=np.array([row.stamped for row in held], np.bool_),
        seq=np.array([row.seq for row in held], np.int64),
        line=np.array([row.line for row in held], np.int64),
        notes=notes if any(note is not None for note in notes) else None,
    )


def _known(number: float) -> float | None:
    return None if number == _UNKNOWN else number
