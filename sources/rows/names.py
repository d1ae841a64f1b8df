"""Names of channels and rigs as small numbers, in a bounded table."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from operators.limits import MAX_NAME_LENGTH, MAX_NAMES
from operators.types import I32

Owner: TypeAlias = tuple[str | None, str, str]
"""Rig (None: that of the configuration), source and key."""

REJECT = -2
"""Number of a row that could not be decoded."""
_MAX_CHARACTERS = 8 << 20
_UNFIT = frozenset("/\\\x7f") | {chr(c) for c in range(32)}


def is_rig(name: str) -> bool:
    """Whether a text is a valid name of a rig: it becomes the name of a folder."""
    return 0 < len(name.encode()) <= MAX_NAME_LENGTH and name[0] != "." and _UNFIT.isdisjoint(name)


def tick_of(rig: int) -> int:
    """Return the number of a tick of the host clock of a rig; its own inverse."""
    return REJECT - 1 - rig


class Names(dict[Owner, int]):
    """Numbers by owner: a new owner is entered; an invalid name is `REJECT`.

    Bounded: `rotated` begins another table after 65,536 names or 8 Mi characters, so that hostile
    names cost time, not memory; a live run begins another one earlier. Rows keep the table by
    which they were numbered.

    Attributes
    ----------
    channels : list of (source, key)
        By number.
    rigs : list of str
        The first is that of the configuration.
    """

    def __init__(self, rig: str) -> None:
        super().__init__()
        self.channels: list[tuple[str, str]] = []
        self.rigs = [rig]
        self._rig_of: list[int] = []
        self._rig_numbers = {rig: 0}
        self._characters = 0
        self._of_rig: list[list[tuple[str, str]]] = [[]]
        self._tuples: list[tuple[tuple[str, str], ...]] = [()]
        self._places: list[int] = []
        self._columns: I32 = np.empty((2, 0), np.int32)
        self._known = 0

    def __missing__(self, owner: Owner) -> int:
        rig, source, key = owner
        if (
            len(source) > MAX_NAME_LENGTH
            or len(key) > MAX_NAME_LENGTH
            or not (rig is None or is_rig(rig))
        ):
            return REJECT
        return self.add(owner)

    def add(self, owner: Owner) -> int:
        """Return the number of a valid owner."""
        rig, source, key = owner
        full = (self.rigs[0] if rig is None else rig, source, key)
        number = self.get(full)
        if number is None:
            number = self[full] = len(self.channels)
            self.channels.append((source, key))
            owned = self._of_rig[self.rig(rig)]
            self._rig_of.append(self.rig(rig))
            self._places.append(len(owned))
            owned.append((source, key))
        self[owner] = number
        self._characters += len(source) + len(key)
        return number

    def rig(self, name: str | None) -> int:
        """Return the number of a rig."""
        if name is None:
            return 0
        number = self._rig_numbers.setdefault(name, len(self.rigs))
        if number == len(self.rigs):
            self.rigs.append(name)
            self._of_rig.append([])
            self._tuples.append(())
            self._characters += len(name)
        return number

    def rotated(self, max_names: int | None = None) -> Names:
        """Return this table, or an empty one if this holds `max_names` names (65,536)."""
        names = len(self) + len(self.rigs)
        full = names > (max_names or MAX_NAMES) or self._characters > _MAX_CHARACTERS
        return Names(self.rigs[0]) if full else self

    def of_rig(self, rig: int) -> tuple[tuple[str, str], ...]:
        """Return a rig's channels, of which `places` are the places.

        The tuple is the same object until the rig has another channel.
        """
        if len(self._tuples[rig]) != len(self._of_rig[rig]):
            self._tuples[rig] = tuple(self._of_rig[rig])
        return self._tuples[rig]

    def places(self) -> I32:
        """Return the place of each name among the channels of its rig (names,)."""
        places: I32 = self._table()[1]
        return places

    def rig_of(self) -> I32:
        """Return the rig's number of each name (names,)."""
        rigs: I32 = self._table()[0]
        return rigs

    def _table(self) -> I32:
        """Return rig and place of each name (2, names), with the names that are new."""
        known, n = self._known, len(self._rig_of)
        if n > self._columns.shape[1]:
            room = np.empty((2, 2 * n), np.int32)
            room[:, :known] = self._columns[:, :known]
            self._columns = room
        self._columns[0, known:n] = self._rig_of[known:]
        self._columns[1, known:n] = self._places[known:]
        self._known = n
        return self._columns[:, :n]
