"""Rate-limited status messages of a live run on standard error."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

from configs.inert import inert
from operators.types import ENDED
from operators.unusable import FILTERED, UnusableStreams
from sources.inbox import FromSource, Item, Message, StreamChange, Unread, size

_LOSS_REPORT_S = 10.0
"""From one report of losses to the next."""
_MAX_LINES_S = 5
"""Lines in a second."""
_MAX_WAITING = 64
"""Lines that wait for their second; of more, the oldest are dropped."""
LATE_S, IN_TIME_S = 1.0, 0.5
"""Events with a longer wait are late; below the second wait the flow keeps up again."""
_LATE_FOR_S, _LATE_AGAIN_S = 2.0, 60.0
"""How long lateness lasts before its first report, and until the next one."""
SILENT_S = 5.0
"""After such a pause a stream that sends at a rate is silent."""


class StatusReporter:
    """Reports changes of streams, silence, lateness and losses, at most five lines a second.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    steady : collection of str
        Streams that send at a rate, so that their silence is reported: an open port is no
        evidence of a sender.
    keys : mapping of str to sequence of str
        Key patterns of each stream that is filtered.
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
        self._second, self._printed = 0.0, 0
        self._waiting: deque[str] = deque(maxlen=_MAX_WAITING)
        self._lost: dict[tuple[str, str], int] = {}
        self._losses_reported = -_LOSS_REPORT_S
        self._last_event: dict[str, float] = {}
        self._silent: set[str] = set()
        self._late_since: float | None = None
        self._late_reported: float | None = None

    def update(self, taken: dict[str, list[Item]]) -> None:
        """Report on the items of one look, by stream."""
        now = self._clock()
        for stream, items in taken.items():
            used, others = _split(stream, items)
            if used:
                self._refusals.use(stream, used, now)
            if used or any(isinstance(item, Unread) for item in others):
                self._note_event(stream, now)
            for item in others:
                self._note(stream, item, now)
        for refusal in self._refusals.due(now):
            text = refusal.text(self._keys.get(refusal.stream, ()))
            self.report(f"{refusal.stream}: {text}")
        for stream, last in self._last_event.items():
            if now - last >= SILENT_S and stream not in self._silent:
                self._silent.add(stream)
                self.report(f"{stream} is silent: no events for {SILENT_S:g} s")
        if self._lost and now - self._losses_reported >= _LOSS_REPORT_S:
            self._losses_reported = now
            for (stream, reason), events in self._lost.items():
                self.report(f"{stream}: {events} events lost ({reason})")
            self._lost = {}
        self._print(now)

    def _note(self, stream: str, item: Item, now: float) -> None:
        """Report a change of a stream; count a loss or a refusal."""
        if isinstance(item, StreamChange):
            self.report(f"{stream} is {'up' if item.up else 'down'}: {item.why}")
            self._change(stream, item.up, now)
        elif isinstance(item, Unread) and ENDED.get(item.reason) == "dropped":
            key = (stream, item.reason)
            self._lost[key] = self._lost.get(key, 0) + item.events
        elif isinstance(item, Unread) and self._is_refusal(stream, item):
            sample = item.sample.decode("ascii", "replace")
            self._refusals.lose(stream, item.reason, item.events, now, item.where, sample)

    def report_wait(self, waited_s: float) -> None:
        """Report the begin and the end of lateness.

        Parameters
        ----------
        waited_s : float
            Wait of the oldest event that was taken now (s).
        """
        now = self._clock()
        if waited_s < LATE_S:
            if waited_s <= IN_TIME_S:
                self._late_since = None
                if self._late_reported is not None:
                    self._late_reported = None
                    self.report("in time again: events are taken as they arrive")
            return
        if self._late_since is None:
            self._late_since = now
        again = self._late_reported is None or now - self._late_reported >= _LATE_AGAIN_S
        if again and now - self._late_since >= _LATE_FOR_S:
            self._late_reported = now
            self.report(
                f"late: events wait {waited_s:.1f} s before they are taken: this machine cannot"
                " keep up; close other programs, lower resample.target_hz or leave streams out"
            )

    def report(self, line: str) -> None:
        """Print a line, now or, after many lines in this second, a little later."""
        self._waiting.append(line)
        self._print(self._clock())

    def _is_refusal(self, stream: str, item: Unread) -> bool:
        """Whether an input counts as refused: the other keys of a driver are filtered by design."""
        if item.reason == FILTERED:
            return stream in self._keys
        return ENDED.get(item.reason) is None

    def _note_event(self, stream: str, now: float) -> None:
        if stream in self._steady:
            self._last_event[stream] = now
            if stream in self._silent:
                self._silent.discard(stream)
                self.report(f"{stream} sends again")

    def _change(self, stream: str, up: bool, now: float) -> None:
        self._silent.discard(stream)
        self._last_event.pop(stream, None)
        if up and stream in self._steady:
            self._last_event[stream] = now

    def _print(self, now: float) -> None:
        if not self._waiting:
            return
        if now - self._second >= 1:
            self._second, self._printed = now, 0
        while self._waiting and self._printed < _MAX_LINES_S:
            self._printed += 1
            print(f"lumen: {inert(self._waiting.popleft())}", file=sys.stderr)


def _split(stream: str, items: list[Item]) -> tuple[int, list[Item]]:
    """Return the number of usable events of a stream, and its other items.

    Sources `<stream>@<sender>` count as the stream; the sources of a recording do not.
    """
    used = 0
    others: list[Item] = []
    for item in items:
        own = isinstance(item, FromSource) and item.source.startswith(f"{stream}@")
        one = item.item if own and isinstance(item, FromSource) else item
        if type(one) is Message:
            used += size(one)
        else:
            others.append(one)
    return used, others
