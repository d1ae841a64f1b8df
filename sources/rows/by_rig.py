"""Split of rows into one batch for each rig; a batch carries only the names that it needs.

Rows are sorted by rig once, and a batch has slices of the sorted columns. Cost: a sort of the rows,
and about 10 us for each rig that has rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

import msgspec
import numpy as np

from configs.inert import inert
from operators.events import COMMAND_SOURCE, Batch, CommandRow, Marker, Reject, StreamStatus
from operators.limits import MAX_SAMPLE
from operators.types import I32, I64, Bool, Reason
from sources.rows.admission import OTHERS, Admission
from sources.rows.names import REJECT
from sources.rows.rows import Arrived, as_reject, no_notes

_MAX_LISTED = 4096
"""A larger table of names than this and than the rows of a batch is cut to the names in use."""
_MAX_SMALL = 1 << 15
"""Numbers of fewer rigs are sorted as 16-bit numbers, which takes one pass."""


def byte_offset(file: str, offset: int) -> str:
    """Return `file:offset`."""
    return f"{file}:{offset}"


class RigSplitter:
    """Splits rows into batches of rigs.

    The first `max_rigs` rigs with events are admitted, in the order of the rows. Events of further
    ones are rejects of the rig `home` (`too_many_rigs`).

    Parameters
    ----------
    files : list of str
        Paths by number.
    rig : str
        Of events without one; always admitted, and counted once it has events.
    max_rigs : int
    admitted, seen : iterable of str
        As the attributes, of the run that is resumed.
    names : Admission, optional
        Admitted names; by default `MAX_NAMES`, none of them in use.
    home : str, optional
        Rig of rejects; by default `rig`.
    part : int
        Partition of the source, for the batches.
    where : callable
        Puts the position of a line into words, given its file.

    Attributes
    ----------
    admitted, seen : dict of str to None
        Rigs with events that are admitted; those that had a batch. Both in their order.
    """

    def __init__(
        self,
        files: list[str],
        rig: str,
        max_rigs: int,
        admitted: Iterable[str],
        seen: Iterable[str],
        names: Admission | None = None,
        home: str = "",
        part: int = 0,
        where: Callable[[str, int], str] = byte_offset,
    ) -> None:
        self._where = where
        self._files = [inert(file) for file in files]
        self._rig = rig
        self._home, self._part = home or rig, part
        self._max_rigs = max_rigs
        self.admitted = dict.fromkeys(admitted)
        self.seen = dict.fromkeys(seen)
        self.names = names or Admission()

    def split(self, rows: Arrived, end: bool) -> list[tuple[str, Batch]]:
        """Return one batch a rig; at the end one for every rig of the run."""
        rows, parts = self._by_rig(self._admit_names(rows))
        places, rigs = _places(rows), rows.names.rigs
        batches = {rigs[n]: self._batch(n, rows, places, part, end) for n, part in parts}
        self.seen |= dict.fromkeys(batches)
        if end:
            for rig in self.seen or [self._home]:
                if rig not in batches:
                    number = rows.names.rig(rig)
                    batches[rig] = self._batch(number, rows, places, slice(0, 0), end)
        return list(batches.items())

    def _by_rig(self, rows: Arrived) -> tuple[Arrived, list[tuple[int, slice]]]:
        """Return the rows in the order of their rigs, and each rig's number with its part."""
        if not len(rows):
            return rows, []
        names = rows.names
        rig = np.full(len(rows), names.rig(self._home), np.int32)
        if len(names.rigs) > 1:
            is_channel = rows.name >= 0
            rig[is_channel] = names.rig_of()[rows.name[is_channel]]
            is_tick = rows.name < REJECT
            rig[is_tick] = REJECT - 1 - rows.name[is_tick]
        if not rig.any():
            if self._rig not in self.admitted and bool((rows.name >= 0).any()):
                self.admitted[self._rig] = None
            return rows, [(0, slice(0, len(rows)))]
        numbers, order, edges = _sorted_by(rig)
        earlier = set(self.admitted)
        refused, first = self._refused(rows, numbers, order, edges)
        strange = self._strange(rows, rig, earlier)
        if strange:
            rows, rig = self._reject_commands(rows, rig, strange)
        if first:
            rows, rig = _begun(rows, rig, first)
        if refused:
            rows, rig = self._refuse(rows, rig, np.isin(rig, refused))
        if refused or strange or first:
            numbers, order, edges = _sorted_by(rig)
        parts = [slice(a, b) for a, b in pairwise(edges)]
        return rows.take(order), list(zip(numbers, parts, strict=True))

    def _refused(
        self, rows: Arrived, numbers: list[int], order: I64, edges: list[int]
    ) -> tuple[list[int], dict[int, int]]:
        """Admit rigs in the order of their first events.

        Returns
        -------
        list of int
            Numbers of the rigs that are not admitted.
        dict of int to int
            Of the rigs that begin in these rows: the number, and the row of the first event.
        """
        rigs, always = rows.names.rigs, (0, rows.names.rig(self._home))
        first: dict[int, int] = {}
        for n, (a, b) in zip(numbers, pairwise(edges), strict=True):
            if rigs[n] not in self.admitted:
                own = order[a:b]
                events = own[rows.name[own] >= 0]
                if len(events):
                    first[n] = int(events[0])
        for n in sorted(first, key=first.__getitem__):
            if n in always or len(self.admitted) < self._max_rigs:
                self.admitted[rigs[n]] = None
        refused = [n for n in numbers if n not in always and rigs[n] not in self.admitted]
        begun = {n: i for n, i in first.items() if n not in always and rigs[n] in self.admitted}
        return refused, begun

    def _strange(self, rows: Arrived, rig: I32, earlier: set[str]) -> list[int]:
        """Return the commands to rigs without an admitted event before them.

        `earlier`: the rigs that were admitted before these rows.
        """
        found: list[int] = []
        if rows.notes is None:
            return found
        always = {rows.names.rigs[0], self._home}
        for i in np.flatnonzero(rows.name < REJECT).tolist():
            name = rows.names.rigs[rig[i]]
            if not isinstance(rows.notes[i], CommandRow) or name in always or name in earlier:
                continue
            has_event = (rig[:i] == rig[i]) & (rows.name[:i] >= 0)
            if name not in self.admitted or not has_event.any():
                found.append(i)
        return found

    def _reject_commands(self, rows: Arrived, rig: I32, strange: list[int]) -> tuple[Arrived, I32]:
        """Turn commands to unknown rigs into rejects of the rig `home`."""
        name, rig, notes = rows.name.copy(), rig.copy(), no_notes(len(rows))
        notes[:] = rows.notes
        for i in strange:
            note = notes[i]
            where = self._where(self._files[rows.feed[i]], int(rows.line[i]))
            sample = {"control": note.command, "rig": rows.names.rigs[rig[i]], "by": note.by}
            data = msgspec.json.encode(sample)[:MAX_SAMPLE]
            notes[i] = Reject(0, "control", COMMAND_SOURCE, where, data)
        name[strange], rig[strange] = REJECT, rows.names.rig(self._home)
        return replace(rows, name=name, notes=notes), rig

    def _refuse(self, rows: Arrived, rig: I32, refused: Bool) -> tuple[Arrived, I32]:
        """Turn events of further rigs into rejects; drop their ticks."""
        rig = rig.copy()
        at = np.flatnonzero(refused & (rows.name >= 0))
        rigs = [rows.names.rigs[n] for n in rig[at].tolist()]
        rows = self._rejected(rows, at, "too_many_rigs", rigs)
        home = rows.names.rig(self._home)
        rig[at] = home
        keep = np.flatnonzero((rig == home) | ~refused)
        return rows.take(keep), rig[keep]

    def _admit_names(self, rows: Arrived) -> Arrived:
        """Turn events of names that are not admitted into rejects of one source."""
        channels = np.flatnonzero(rows.name >= 0)
        if len(channels):
            refused = self.names.refused(rows.names, rows.name[channels].astype(np.int64))
            if refused.any():
                rows = self._rejected(rows, channels[refused], "too_many_names")
        if rows.notes is not None:
            for i in np.flatnonzero(rows.name == REJECT).tolist():
                note = as_reject(rows.notes[i])
                if note.source not in (OTHERS, "?") and not self.names.admits(note.source):
                    rows.notes[i] = msgspec.structs.replace(note, source=OTHERS)
        return rows

    def _rejected(
        self, rows: Arrived, at: I64, reason: Reason, rigs: list[str] | None = None
    ) -> Arrived:
        """Turn events into rejects, those of rigs under their own sources."""
        name, value, notes = rows.name.copy(), rows.value.copy(), no_notes(len(rows))
        if rows.notes is not None:
            notes[:] = rows.notes
        for k, (i, line) in enumerate(zip(at.tolist(), rows.line[at].tolist(), strict=True)):
            source, key = rows.names.channels[name[i]]
            where = self._where(self._files[rows.feed[i]], line)
            sample = {"rig": rigs[k]} if rigs else {}
            sample |= {"source": source, "key": key}
            data = msgspec.json.encode(sample)[:MAX_SAMPLE]
            notes[i] = Reject(0, reason, source if rigs else OTHERS, where, data)
        name[at], value[at] = REJECT, np.nan
        return replace(rows, name=name, value=value, notes=notes)

    def _batch(self, rig: int, rows: Arrived, places: I32, part: slice, end: bool) -> Batch:
        """Return a part of the rows, all of one rig, as its batch."""
        rejects: list[Reject] = []
        markers: list[Marker] = []
        turned: list[StreamStatus] = []
        controls: list[CommandRow] = []
        if rows.notes is not None and (rows.notes[part] != None).any():  # noqa: E711
            rows, places = rows.take(part), places[part]
            part = slice(0, len(rows))
            assert rows.notes is not None
            kept = rows.name != REJECT
            # place[i] = number of kept rows before row i
            place = np.cumsum(kept) - kept
            rejects = [
                msgspec.structs.replace(as_reject(note), row=row)
                for note, row in zip(rows.notes[~kept], place[~kept].tolist(), strict=True)
            ]
            texts = kept & np.isnan(rows.value)
            markers = [
                Marker(row, note)
                for note, row in zip(rows.notes[texts], place[texts].tolist(), strict=True)
                if isinstance(note, str)
            ]
            for i in np.flatnonzero(rows.name < REJECT).tolist():
                note, row = rows.notes[i], int(place[i])
                if isinstance(note, StreamStatus):
                    turned.append(note._replace(row=row))
                elif isinstance(note, CommandRow):
                    controls.append(note._replace(row=row))
            if rejects:
                rows, places = rows.take(np.flatnonzero(kept)), places[kept]
                part = slice(0, len(rows))
        several = len(self._files)
        names, name = _listed(rows.names.of_rig(rig), places[part])
        line = rows.line[part]
        return Batch(
            rig=rows.names.rigs[rig],
            names=names,
            name=name,
            ts=rows.ts[part],
            rx=rows.rx[part],
            stamped=rows.stamped[part],
            wild=rows.wild[part],
            value=rows.value[part],
            seq=rows.seq[part],
            line=line if several == 1 else line * several + rows.feed[part],
            markers=tuple(markers),
            rejects=tuple(rejects),
            turned=tuple(turned),
            controls=tuple(controls),
            end=end,
            part=self._part,
        )


def _places(rows: Arrived) -> I32:
    """Return the place of each row's channel among those of its rig; -1: a tick or a reject."""
    places = rows.names.places()
    is_channel = rows.name >= 0
    if is_channel.all():
        return places[rows.name]
    found = np.full(len(rows), -1, np.int32)
    found[is_channel] = places[rows.name[is_channel]]
    return found


def _begun(rows: Arrived, rig: I32, first: dict[int, int]) -> tuple[Arrived, I32]:
    """Drop ticks and states of a rig before its first event, in whatever batch they are."""
    early = np.zeros(len(rows), np.bool_)
    for number, row in first.items():
        early[:row] |= (rig[:row] == number) & (rows.name[:row] < REJECT)
    keep = np.flatnonzero(~early)
    return rows.take(keep), rig[keep]


def _listed(
    names: tuple[tuple[str, str], ...], name: I32
) -> tuple[tuple[tuple[str, str], ...], I32]:
    """Return names, and the index of each row into them, without the unused ones of a long list."""
    if len(names) <= max(len(name), _MAX_LISTED):
        return names, name
    own, place = np.unique(name, return_inverse=True)
    ticks = int(own[0] < 0) if len(own) else 0
    return tuple(names[n] for n in own[ticks:].tolist()), (place - ticks).astype(np.int32)


def _sorted_by(rig: I32) -> tuple[list[int], I64, list[int]]:
    """Return the numbers of the rigs, rising, the rows by rig, and the edges of the parts."""
    small = int(rig.max()) < _MAX_SMALL if len(rig) else True
    order = np.argsort(rig.astype(np.int16) if small else rig, kind="stable")
    key = rig[order]
    starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1]))) if len(key) else order
    return key[starts].tolist(), order, [*starts.tolist(), len(key)]
