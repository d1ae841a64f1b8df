"""Admission of names: a run distinguishes its channels in use and a bounded number of others.

A channel that the configuration uses is always admitted. Of all others the first `MAX_NAMES` are
admitted, in the order of the rows. Events of further ones are rejects (`too_many_names`) under one
source, so that 300,000 sources make one dead letter with its count.

A name is stored as 8 bytes of its BLAKE2b hash: the state does not grow with the length of names,
and a resumed run admits the same ones. Two names in 65,536 share a hash once in 10^10 runs.

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
"""The source of events under names that are not admitted."""
_SIZE = 8
_MAX_RECENT = 1024


class Admission:
    """The names of one run.

    Parameters
    ----------
    used : collection of str
        Channels that the configuration uses.
    known : bytes
        Of `snapshot`.
    max_names : int
    """

    def __init__(
        self, used: Collection[str] = (), known: bytes = b"", max_names: int = MAX_NAMES
    ) -> None:
        self._used, self._max_names = used, max_names
        self._order = bytearray(known)
        self._sorted: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._recent: set[int] = set()
        self._sort()
        self._names: Names | None = None
        self._judged: Bool = np.empty(0, np.bool_)
        self._fits: Bool = np.empty(0, np.bool_)

    def snapshot(self) -> bytes:
        """Return the hashes of the admitted names."""
        return bytes(self._order)

    def admits(self, *name: str) -> bool:
        """Whether a name is admitted; a new one is entered while there is room."""
        text = "\0".join(name).encode("utf-8", "surrogatepass")
        digest = blake2b(text, digest_size=_SIZE).digest()
        number = int.from_bytes(digest, "little")
        if number in self._recent:
            return True
        at = int(np.searchsorted(self._sorted, np.uint64(number)))
        if at < len(self._sorted) and int(self._sorted[at]) == number:
            return True
        if len(self._order) >= _SIZE * self._max_names:
            return False
        self._order += digest
        self._recent.add(number)
        if len(self._recent) > _MAX_RECENT:
            self._sort()
        return True

    def _sort(self) -> None:
        """Index all names by one sorted array: 8 bytes a name; a set takes 75."""
        self._sorted = np.sort(np.frombuffer(bytes(self._order), "<u8"))
        self._recent = set()

    def refused(self, names: Names, name: I64) -> Bool:
        """Return the mask of channel numbers (n,), in the order of the rows, that are refused."""
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
        # Elements of a reduced array are in use under the name of the array.
        return channel in self._used or channel.rpartition("[")[0] in self._used

    def _grow(self, names: Names) -> None:
        old_size = 0 if names is not self._names else len(self._judged)
        size = max(2 * old_size, len(names.channels), 256)
        judged, fits = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
        judged[:old_size], fits[:old_size] = self._judged[:old_size], self._fits[:old_size]
        self._names, self._judged, self._fits = names, judged, fits
