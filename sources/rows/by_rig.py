"""Split of rows into one batch for each rig; a batch carries only the names that it needs."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from configs.inert import inert
from operators.events import Batch, Marker, Reject, StreamStatus
from operators.limits import MAX_SAMPLE
from operators.types import I32, I64, Bool, Reason
from sources.rows.admission import OTHERS, Admission
from sources.rows.names import REJECT
from sources.rows.rows import Arrived, as_reject, no_notes

_MAX_LISTED = 4096
"""A larger table of names than this and than the rows of a batch is cut to the names in use."""


class RigSplitter:
    """Splits rows into batches of rigs.

    The first `max_rigs` rigs are admitted, in the order of the rows. Events of further ones are
    rejects of the rig `home` (`too_many_rigs`).

    Parameters
    ----------
    files : list of str
        Paths by number.
    rig : str
        Of events without one; always admitted.
    max_rigs : int
    admitted, seen : list of str
        As the attributes, of the run that is resumed.
    names : Admission, optional
        Admitted names; by default `MAX_NAMES`, none of them in use.
    home : str, optional
        Rig of rejects; by default `rig`.
    part : int
        Partition of the source, for the batches.

    Attributes
    ----------
    admitted, seen : list of str
        Rigs that are admitted; those that had a batch.
    """

    def __init__(
        self,
        files: list[str],
        rig: str,
        max_rigs: int,
        admitted: list[str],
        seen: list[str],
        names: Admission | None = None,
        home: str = "",
        part: int = 0,
    ) -> None:
        self._files = [inert(file) for file in files]
        self._rig = rig
        self._home, self._part = home or rig, part
        self._max_rigs = max_rigs
        self.admitted = admitted or list(dict.fromkeys([rig, self._home]))
        self.seen = list(seen)
        self.names = names or Admission()

    def split(self, rows: Arrived, end: bool) -> list[tuple[str, Batch]]:
        """Return one batch a rig; at the end one for every rig of the run."""
        rows = self._admit_names(rows)
        batches = {rig: self._batch(rig, part, end) for rig, part in self._by_rig(rows)}
        self.seen += [rig for rig in batches if rig not in self.seen]
        if end:
            nothing = rows.take(slice(0, 0))
            for rig in self.seen or [self._home]:
                if rig not in batches:
                    batches[rig] = self._batch(rig, nothing, end)
        return list(batches.items())

    def _by_rig(self, rows: Arrived) -> list[tuple[str, Arrived]]:
        if not len(rows):
            return []
        names = rows.names
        rig = np.full(len(rows), names.rig(self._home), np.int32)
        if len(names.rigs) > 1:
            is_channel = rows.name >= 0
            rig[is_channel] = names.rig_of()[rows.name[is_channel]]
            is_tick = rows.name < REJECT
            rig[is_tick] = REJECT - 1 - rows.name[is_tick]
        if not rig.any():
            return [(self._rig, rows)]
        numbers, first = np.unique(rig, return_index=True)
        appearing = numbers[np.argsort(first)].tolist()
        refused = [n for n in appearing if not self._admits(names.rigs[n])]
        if refused:
            rows, rig = self._refuse(rows, rig, np.isin(rig, refused))
            numbers = np.unique(rig)
        return [(names.rigs[n], rows.take(np.flatnonzero(rig == n))) for n in numbers.tolist()]

    def _admits(self, rig: str) -> bool:
        if rig not in self.admitted and len(self.admitted) < self._max_rigs:
            self.admitted.append(rig)
        return rig in self.admitted

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
            where = f"{self._files[rows.feed[i]]}:{line}"
            sample = {"rig": rigs[k]} if rigs else {}
            sample |= {"source": source, "key": key}
            data = msgspec.json.encode(sample)[:MAX_SAMPLE]
            notes[i] = Reject(0, reason, source if rigs else OTHERS, where, data)
        name[at], value[at] = REJECT, np.nan
        return replace(rows, name=name, value=value, notes=notes)

    def _batch(self, rig: str, rows: Arrived, end: bool) -> Batch:
        rejects: list[Reject] = []
        markers: list[Marker] = []
        turned: list[StreamStatus] = []
        if rows.notes is not None:
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
            turned = [
                note._replace(row=row)
                for note, row in zip(rows.notes[kept], place[kept].tolist(), strict=True)
                if isinstance(note, StreamStatus)
            ]
            if rejects:
                rows = rows.take(np.flatnonzero(kept))
        several = len(self._files)
        names, name = _listed(rows)
        return Batch(
            rig=rig,
            names=names,
            name=name,
            ts=rows.ts,
            rx=rows.rx,
            stamped=rows.stamped,
            wild=rows.wild,
            value=rows.value,
            seq=rows.seq,
            line=rows.line if several == 1 else rows.line * several + rows.feed,
            markers=tuple(markers),
            rejects=tuple(rejects),
            turned=tuple(turned),
            end=end,
            part=self._part,
        )


def _listed(rows: Arrived) -> tuple[tuple[tuple[str, str], ...], I32]:
    """Return names, and the index of each row into them; below 0: a tick."""
    name = np.maximum(rows.name, -1)
    channels = rows.names.channels
    if len(channels) <= max(len(rows), _MAX_LISTED):
        return rows.names.as_tuple(), name
    own, place = np.unique(name, return_inverse=True)
    ticks = int(own[0] < 0) if len(own) else 0
    return tuple(channels[n] for n in own[ticks:].tolist()), (place - ticks).astype(np.int32)
