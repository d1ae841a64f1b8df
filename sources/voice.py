"""What a live run says of itself on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable

from operators.records import ENDED
from sources.inbox import Heard, Item, Refused, Turned

_SAY_EVERY_S = 10.0
_MOST_SAID = 5
"""Lines in a second."""


class Voice:
    """Says on standard error which streams come and go and what is lost, seldom enough."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second, self._said = 0.0, 0
        self._lost: dict[tuple[str, str], int] = {}
        self._lost_said = -_SAY_EVERY_S

    def tell(self, taken: dict[str, list[Item]]) -> None:
        """Say what there is to say of what was taken."""
        for stream, items in taken.items():
            for item in [x for x in items if type(x) is not Heard]:
                if isinstance(item, Turned):
                    self.say(f"{stream} is {'up' if item.up else 'down'}: {item.why}")
                elif isinstance(item, Refused) and ENDED.get(item.reason) == "dropped":
                    key = (stream, item.reason)
                    self._lost[key] = self._lost.get(key, 0) + item.events
        if self._lost and self._clock() - self._lost_said >= _SAY_EVERY_S:
            self._lost_said = self._clock()
            for (stream, reason), events in self._lost.items():
                self.say(f"{stream}: {events} events lost ({reason})")
            self._lost = {}

    def say(self, line: str) -> None:
        """Say a line, unless there were too many just now."""
        now = self._clock()
        if now - self._second >= 1:
            self._second, self._said = now, 0
        self._said += 1
        if self._said <= _MOST_SAID:
            print(f"lumen: {line}", file=sys.stderr)
