"""What a live run says of itself on standard error."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

from configs.inert import inert
from operators.types import ENDED
from operators.unusable import FILTERED, UnusableStreams
from sources.inbox import FromSource, Item, Message, StreamChange, Unread, size

_SAY_EVERY_S = 10.0
_MAX_SAID = 5
"""Lines in a second."""
_MAX_WAITING = 64
LATE_S, IN_TIME_S = 1.0, 0.5
"""Events that wait longer for the flow are late; below the second it keeps up again."""
_LATE_FOR_S, _LATE_AGAIN_S = 2.0, 60.0
"""How long it has to be late before it is said, and said again."""
SILENT_S = 5.0
"""After which a stream that speaks at a rate is called silent."""


class StatusReporter:
    """Says on standard error which streams come and go and what is lost, seldom enough.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    steady : collection of str
        Streams that speak at a rate, so that their silence is worth a word. That a port is open
        says nothing of whoever sends to it.
    keys : mapping of str to sequence of str
        What each stream that is filtered asks for.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        steady: Collection[str] = (),
        keys: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self._clock = clock
        self._keys = keys
        self._refusals = UnusableStreams(steady)
        self._steady = frozenset(steady)
        self._second, self._said = 0.0, 0
        self._waiting: deque[str] = deque(maxlen=_MAX_WAITING)
        self._lost: dict[tuple[str, str], int] = {}
        self._lost_said = -_SAY_EVERY_S
        self._heard: dict[str, float] = {}
        self._silent: set[str] = set()
        self._late_since: float | None = None
        self._late_said: float | None = None

    def tell(self, taken: dict[str, list[Item]]) -> None:
        """Say what there is to say of what was taken."""
        now = self._clock()
        for stream, items in taken.items():
            used = 0
            others: list[Item] = []
            for item in items:
                # Of a stream that is split by sender; a recording's events are not its own.
                own = isinstance(item, FromSource) and item.source.startswith(f"{stream}@")
                one = item.item if own and isinstance(item, FromSource) else item
                if type(one) is Message:
                    used += size(one)
                else:
                    others.append(one)
            if used:
                self._refusals.use(stream, used, now)
            if used or any(isinstance(item, Unread) for item in others):
                self._hear(stream, now)
            for item in others:
                if isinstance(item, StreamChange):
                    self.say(f"{stream} is {'up' if item.up else 'down'}: {item.why}")
                    self._turn(stream, item.up, now)
                elif isinstance(item, Unread) and ENDED.get(item.reason) == "dropped":
                    key = (stream, item.reason)
                    self._lost[key] = self._lost.get(key, 0) + item.events
                elif isinstance(item, Unread) and self._is_refusal(stream, item):
                    sample = item.sample.decode("ascii", "replace")
                    self._refusals.lose(stream, item.reason, item.events, now, item.where, sample)
        for refusal in self._refusals.due(now):
            text = refusal.text(self._keys.get(refusal.stream, ()))
            self.say(f"{refusal.stream}: {text}")
        for stream, heard in self._heard.items():
            if now - heard >= SILENT_S and stream not in self._silent:
                self._silent.add(stream)
                self.say(f"{stream} is silent: nothing came for {SILENT_S:g} s")
        if self._lost and now - self._lost_said >= _SAY_EVERY_S:
            self._lost_said = now
            for (stream, reason), events in self._lost.items():
                self.say(f"{stream}: {events} events lost ({reason})")
            self._lost = {}
        self._speak(now)

    def wait(self, waited_s: float) -> None:
        """Say that events wait too long for the flow, and that they do no more.

        Parameters
        ----------
        waited_s : float
            How long the oldest event waited that was taken now (s).
        """
        now = self._clock()
        if waited_s < LATE_S:
            if waited_s <= IN_TIME_S:
                self._late_since = None
                if self._late_said is not None:
                    self._late_said = None
                    self.say("in time again: events are taken as they come")
            return
        if self._late_since is None:
            self._late_since = now
        again = self._late_said is None or now - self._late_said >= _LATE_AGAIN_S
        if again and now - self._late_since >= _LATE_FOR_S:
            self._late_said = now
            self.say(
                f"late: events wait {waited_s:.1f} s before they are taken: this machine cannot"
                " keep up; close other programs, lower resample.target_hz or leave streams out"
            )

    def say(self, line: str) -> None:
        """Say a line, now or, where there were many just now, a little later."""
        self._waiting.append(line)
        self._speak(self._clock())

    def _is_refusal(self, stream: str, item: Unread) -> bool:
        """Whether it is worth a word: what a driver sends besides is filtered by design."""
        if item.reason == FILTERED:
            return stream in self._keys
        return ENDED.get(item.reason) is None

    def _hear(self, stream: str, now: float) -> None:
        if stream in self._steady:
            self._heard[stream] = now
            if stream in self._silent:
                self._silent.discard(stream)
                self.say(f"{stream} speaks")

    def _turn(self, stream: str, up: bool, now: float) -> None:
        self._silent.discard(stream)
        self._heard.pop(stream, None)
        if up and stream in self._steady:
            self._heard[stream] = now

    def _speak(self, now: float) -> None:
        if not self._waiting:
            return
        if now - self._second >= 1:
            self._second, self._said = now, 0
        while self._waiting and self._said < _MAX_SAID:
            self._said += 1
            print(f"lumen: {inert(self._waiting.popleft())}", file=sys.stderr)
