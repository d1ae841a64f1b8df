"""Rows dealt out to their rigs, as batches."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from operators.records import I32, Batch, Bool, Marker, Reject, Turned
from sources.names import REJECT
from sources.rows import Arrived, as_reject, no_notes

_MAX_SAMPLE = 256


class Dealer:
    """Knows which rigs there are.

    Events of more than `max_rigs` rigs are rejects of the configuration's rig, `too_many_rigs`;
    which ones are admitted follows from the order of the rows alone.

    Parameters
    ----------
    files : list of str
        Paths by number.
    rig : str
        Of events that name none, and of rejects; always admitted.
    max_rigs : int

    Attributes
    ----------
    admitted, seen : list of str
        Rigs that may have batches; those that had one.
    """

    def __init__(
        self, files: list[str], rig: str, max_rigs: int, admitted: list[str], seen: list[str]
    ) -> None:
        self._files = files
        self._rig = rig
        self._max_rigs = max_rigs
        self.admitted = admitted or [rig]
        self.seen = list(seen)

    def deal(self, rows: Arrived, end: bool) -> list[tuple[str, Batch]]:
        """Return one batch a rig; at the end one for every rig there was."""
        batches = {rig: self._batch(rig, part, end) for rig, part in self._split(rows)}
        self.seen += [rig for rig in batches if rig not in self.seen]
        if end:
            nothing = rows.take(slice(0, 0))
            for rig in self.seen or [self._rig]:
                if rig not in batches:
                    batches[rig] = self._batch(rig, nothing, end)
        return list(batches.items())

    def _split(self, rows: Arrived) -> list[tuple[str, Arrived]]:
        if not len(rows):
            return []
        names = rows.names
        rig = np.zeros(len(rows), np.int32)
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
        """Turn events of further rigs into rejects; their ticks are nothing."""
        name, rig, notes = rows.name.copy(), rig.copy(), no_notes(len(rows))
        if rows.notes is not None:
            notes[:] = rows.notes
        for i in np.flatnonzero(refused & (rows.name >= 0)).tolist():
            source, key = rows.names.pairs[name[i]]
            says = {"rig": rows.names.rigs[rig[i]], "source": source, "key": key}
            notes[i] = Reject(
                0, "too_many_rigs", source, f"{self._files[rows.feed[i]]}:{rows.line[i]}",
                msgspec.json.encode(says)[:_MAX_SAMPLE],
            )  # fmt: skip
            name[i], rig[i] = REJECT, 0
        keep = np.flatnonzero((rig == 0) | ~refused)
        return replace(rows, name=name, notes=notes).take(keep), rig[keep]

    def _batch(self, rig: str, rows: Arrived, end: bool) -> Batch:
        rejects: list[Reject] = []
        markers: list[Marker] = []
        turned: list[Turned] = []
        if rows.notes is not None:
            kept = rows.name != REJECT
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
                if isinstance(note, Turned)
            ]
            if rejects:
                rows = rows.take(np.flatnonzero(kept))
        several = len(self._files)
        return Batch(
            rig=rig,
            names=rows.names.listed(),
            name=np.maximum(rows.name, -1),
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
        )
