"""Places on the tapes of edges: a block that an edge sent twice is read once.

An edge that starts again sends its last blocks a second time. Each of its messages has the headers
`tape`, the name of the tape, and `place`, the position of the block on it; places of a tape rise
within a partition. State: the newest place of 64 tapes, and one entry for each message that is read
and not settled yet.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping

MAX_TAPES = 64
"""The tape that was seen longest ago leaves."""
_TAPE, _PLACE = re.compile(rb"[A-Za-z0-9._-]{1,64}"), re.compile(rb"[0-9]{1,18}")
Headers = Mapping[str, str | bytes | None] | Iterable[tuple[str, str | bytes | None]]


class TapePlaces:
    """The newest place of each tape in one partition.

    Parameters
    ----------
    settled : dict of str to int
        Of `before`, in the order in which they were seen.
    """

    def __init__(self, settled: dict[str, int]) -> None:
        self._settled = dict(settled)
        self._newest = dict(settled)
        self._open: deque[tuple[int, str, int]] = deque()

    def is_known(self, headers: Headers, offset: int) -> bool:
        """Whether a block was read before; a new one is entered.

        Parameters
        ----------
        headers : mapping, or iterable of (key, value)
            Of the message; without both of the edge's the block is new.
        offset : int
            Of the message.
        """
        found = dict(headers)
        tape, place = found.get("tape"), found.get("place")
        if not (isinstance(tape, bytes) and isinstance(place, bytes)):
            return False
        if not (_TAPE.fullmatch(tape) and _PLACE.fullmatch(place)):
            return False
        name, at = tape.decode(), int(place)
        if self._newest.get(name, -1) >= at:
            return True
        _enter(self._newest, name, at)
        self._open.append((offset, name, at))
        return False

    def before(self, offset: int) -> dict[str, int]:
        """Return the newest places of the messages before an offset."""
        found = dict(self._settled)
        for number, name, at in self._open:
            if number >= offset:
                break
            _enter(found, name, at)
        return found

    def settle(self, offset: int) -> None:
        """Forget the entries of messages before an offset: nothing resumes before it."""
        while self._open and self._open[0][0] < offset:
            _, name, at = self._open.popleft()
            _enter(self._settled, name, at)


def _enter(places: dict[str, int], name: str, at: int) -> None:
    """Enter a place as the newest; the tape seen longest ago leaves a full table."""
    places.pop(name, None)
    places[name] = at
    if len(places) > MAX_TAPES:
        del places[next(iter(places))]
