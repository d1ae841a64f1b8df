"""Which names of a run are told apart: its channels in use, and so many others.

A channel that the configuration uses is always admitted. Of all others the first `MAX_NAMES` of a
run are, in the order of the rows; events of further ones are rejects (`too_many_names`), all of
them under one source, so that 300,000 sources are one dead letter with its count.

A name is kept as 8 bytes of its BLAKE2b hash: room does not grow with the length of names, and a
resumed run goes on with the very same ones. Two names in 65,536 share a hash once in 10^10 runs.

State: 16 bytes a name, 1 MiB at most. Cost: about 5 us a name of a new table. Losses: none here.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from operators.limits import MAX_NAMES
from operators.types import I64, Bool
from sources.rows.names import Names

OTHERS = "*"
"""The source of what comes under further names."""
_SIZE = 8
_MAX_RECENT = 1024


class Admission:
    """The names of one run.

    Parameters
    ----------
    used : collection of str
        Channels that the configuration uses.
    known : bytes
        What `snapshot` gave.
    most : int
    """

    def __init__(
        self, used: Collection[str] = (), known: bytes = b"", most: int = MAX_NAMES
    ) -> None:
        self._used, self._most = used, most
        self._order = bytearray(known)
        self._sorted: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._recent: set[int] = set()
        self._sort()
        self._names: Names | None = None
        self._judged: Bool = np.empty(0, np.bool_)
        self._fits: Bool = np.empty(0, np.bool_)

    def snapshot(self) -> bytes:
        """Return the names that have been admitted."""
        return bytes(self._order)

    def admits(self, *name: str) -> bool:
        """Whether a name is told apart; a new one is entered while there is room."""
        text = "\0".join(name).encode("utf-8", "surrogatepass")
        digest = blake2b(text, digest_size=_SIZE).digest()
        number = int.from_bytes(digest, "little")
        if number in self._recent:
            return True
        at = int(np.searchsorted(self._sorted, np.uint64(number)))
        if at < len(self._sorted) and int(self._sorted[at]) == number:
            return True
        if len(self._order) >= _SIZE * self._most:
            return False
        self._order += digest
        self._recent.add(number)
        if len(self._recent) > _MAX_RECENT:
            self._sort()
        return True

    def _sort(self) -> None:
        """Index all names by one sorted array: 8 bytes a name, where a set takes 75."""
        self._sorted = np.sort(np.frombuffer(bytes(self._order), "<u8"))
        self._recent = set()

    def refused(self, names: Names, name: I64) -> Bool:
        """Return which of the numbers of channels (n,), in the order of the rows, are refused."""
        if names is not self._names or len(self._judged) < len(names.channels):
            self._grow(names)
        new = name[~self._judged[name]]
        if len(new):
            numbers, first = np.unique(new, return_index=True)
            numbers = numbers[np.argsort(first)]
            self._judged[numbers] = True
            for number in numbers.tolist():
                self._fits[number] = self._is_used(*names.channels[number]) or self.admits(
                    *names.channels[number]
                )
        return np.asarray(~self._fits[name])

    def _is_used(self, source: str, key: str) -> bool:
        channel = f"{source}:{key}"
        # Elements of an array that is reduced are used under the name of the array.
        return channel in self._used or channel.rpartition("[")[0] in self._used

    def _grow(self, names: Names) -> None:
        had = 0 if names is not self._names else len(self._judged)
        size = max(2 * had, len(names.channels), 256)
        judged, fits = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
        judged[:had], fits[:had] = self._judged[:had], self._fits[:had]
        self._names, self._judged, self._fits = names, judged, fits
