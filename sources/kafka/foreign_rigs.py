"""Rigs that do not belong to a partition: their events are rejects in their place.

A rig in two partitions has no determined order. So each event has to lie in the partition of its
rig, by `partition_of` its name; the key of the message is not trusted. Host ticks of a foreign rig
are dropped, which count nowhere.

Cost: 5 us a rig of a table of names, and a look-up a row. State: a flag a rig. Losses: none here.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from operators.events import COMMAND_SOURCE, CommandRow, Reject
from operators.limits import MAX_SAMPLE
from operators.rig_partition import partition_of
from operators.topic_place import shown
from operators.types import Bool
from sources.rows.names import REJECT, Names, tick_of
from sources.rows.rows import Arrived, no_notes


def home_of(topic: str, partition: int, count: int, rig: str) -> str:
    """Return the rig of lines that belong to none: of the configuration, if it lies here.

    Otherwise it is named by the partition, with a suffix so that it lies in it.
    """
    if partition_of(rig, count) == partition:
        return rig
    stem = f"{topic}-{partition}"
    names = (stem if n == 0 else f"{stem}.{n}" for n in range(64 * count + 64))
    return next((name for name in names if partition_of(name, count) == partition), stem)


class ForeignRigs:
    """The screen of one partition.

    Parameters
    ----------
    topic : str
    partition, count : int
        The partition, of so many.
    """

    def __init__(self, topic: str, partition: int, count: int) -> None:
        self._where = f"{topic}/{partition}"
        self._partition, self._count = partition, count
        self._names: Names | None = None
        self._is_foreign: Bool = np.empty(0, np.bool_)

    def is_own(self, rig: str) -> bool:
        """Whether a rig lies in this partition."""
        return partition_of(rig, self._count) == self._partition

    def screened(self, rows: Arrived) -> Arrived:
        """Return rows in which events of foreign rigs are rejects, and their ticks are gone."""
        if not len(rows):
            return rows
        self._judge(rows.names)
        if not self._is_foreign.any():
            return rows
        is_channel, is_tick = rows.name >= 0, rows.name < REJECT
        rig = np.zeros(len(rows), np.int32)
        rig[is_channel] = rows.names.rig_of()[rows.name[is_channel]]
        rig[is_tick] = REJECT - 1 - rows.name[is_tick]
        foreign = self._is_foreign[rig] & (is_channel | is_tick)
        return self._rejected(rows, foreign) if foreign.any() else rows

    def _judge(self, names: Names) -> None:
        """Bring the flags of the rigs of a table up to date."""
        if names is not self._names:
            self._names, self._is_foreign = names, np.empty(0, np.bool_)
        new = names.rigs[len(self._is_foreign) :]
        if new:
            found = [not self.is_own(rig) for rig in new]
            self._is_foreign = np.concatenate([self._is_foreign, found])

    def _rejected(self, rows: Arrived, foreign: Bool) -> Arrived:
        name, value, notes = rows.name.copy(), rows.value.copy(), no_notes(len(rows))
        if rows.notes is not None:
            notes[:] = rows.notes
        keep = np.ones(len(rows), np.bool_)
        rig_of, rigs = rows.names.rig_of(), rows.names.rigs
        for i in np.flatnonzero(foreign).tolist():
            where = shown(self._where, int(rows.line[i]))
            if name[i] >= 0:
                source, key = rows.names.channels[name[i]]
                sample: dict[str, object] = {"rig": rigs[rig_of[name[i]]], "source": source}
                sample["key"] = key
            elif isinstance(note := notes[i], CommandRow):
                source = COMMAND_SOURCE
                sample = {"rig": rigs[tick_of(int(name[i]))], "control": note.command}
            else:
                keep[i] = False
                continue
            data = msgspec.json.encode(sample)[:MAX_SAMPLE]
            notes[i] = Reject(0, "foreign_partition", source, where, data)
            name[i], value[i] = REJECT, np.nan
        changed = replace(rows, name=name, value=value, notes=notes)
        return changed if keep.all() else changed.take(np.flatnonzero(keep))
