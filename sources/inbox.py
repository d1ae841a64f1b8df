"""Inbox of a live stream: a bounded queue between its thread and the flow, which counts drops.

The thread puts items in, the flow takes them out; neither waits. A full inbox drops and counts the
newest events, so that its contents keep their order and their arrival stamps.

Cost: one append an item. State: `room` events. Losses: `inbox_full`, `kernel_full`, counted.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from operators.types import BridgeCommand, Reason
from sources.host.host_clock import HostClock

ROOM = 65_536
"""Events of an inbox: three seconds at 20,000 a second."""
MAX_LOST = 1 << 20
"""Events of one `Unread`."""
NO_TIME = float("nan")
_MAX_LOG_LINES = 16
NEVER = "not started"


class Message(NamedTuple):
    """One message of one key.

    Attributes
    ----------
    rx : float
        Arrival, host time (s).
    key : str
        At most 255 characters; the channel is `<stream>:<key>`.
    value : float, str or tuple
        A finite number; a marker; the elements of an array. An element that is NaN stands for one
        that is not finite, which is a reject (`value`); a text is ignored.
    ts : float
        Source time (s, any epoch, within 1e12); NaN without one.
    seq : int
        The sender's number of the event; -1 without one.
    """

    rx: float
    key: str
    value: float | str | tuple[float | str, ...]
    ts: float = NO_TIME
    seq: int = -1


class Unread(NamedTuple):
    """Inputs that could not be used, `events` of one kind; peer and sample are the first one's."""

    rx: float
    reason: Reason
    where: str
    sample: bytes
    events: int = 1


class StreamChange(NamedTuple):
    """The stream came up or went down, and the reason."""

    rx: float
    up: bool
    why: str


class Commanded(NamedTuple):
    """A command of a person, and the user."""

    rx: float
    command: BridgeCommand
    by: str


InboxItem: TypeAlias = Message | Unread | StreamChange | Commanded


class FromSource(NamedTuple):
    """An item of a source other than the stream itself."""

    source: str
    item: InboxItem

    @property
    def rx(self) -> float:
        """Arrival (s)."""
        return self.item.rx


Item: TypeAlias = InboxItem | FromSource


def stamp() -> float:
    """Return the host's time (s since 1970), in whole microseconds as in recordings."""
    return time.time_ns() // 1000 / 1e6


class Inbox:
    """The queue of one stream. One thread may put, one may take.

    Parameters
    ----------
    stream : str
    room : int
        Events.
    host : HostClock, optional
        Of the run; by default one of its own.

    Attributes
    ----------
    host : HostClock
        Source of arrival stamps.
    up : bool
        The stream receives; False until it reports so.
    why : str
        Reason of its last change.
    received, dropped, lost : int
        Events put in; those of them dropped by the full inbox; those lost earlier in the kernel.
    newest : float
        Arrival of the newest event; NaN before the first.
    settled : float
        Host time up to which the kernel and drivers hold no unread events (s); NaN for a stream
        without that test.
    """

    def __init__(self, stream: str, room: int = ROOM, host: HostClock | None = None) -> None:
        self.host = HostClock() if host is None else host
        self.stream = stream
        self.room = room
        self.up = False
        self.why = NEVER
        self.received = self.dropped = self.lost = 0
        self.newest = self.settled = float("nan")
        self._parts: deque[tuple[list[Item], int]] = deque()
        self._into = self._out = 0
        self._log: deque[str] = deque(maxlen=_MAX_LOG_LINES)
        self._reported: dict[Reason, int] = {"inbox_full": 0, "kernel_full": 0}

    def put(self, items: Iterable[Message | Unread | Commanded | FromSource]) -> None:
        """Append items in order of arrival; drop those that do not fit."""
        kept: list[Item] = []
        room = self.room - self._into + self._out
        events = dropped = 0
        for item in items:
            n = size(item)
            if events + n > room:
                dropped += n
            else:
                events += n
                kept.append(item)
        if kept or dropped:
            self.newest = item.rx
            self.received += events + dropped
            self.dropped += dropped
            self._into += events
            self._parts.append((kept, events))

    def lose(self, count: int) -> None:
        """Count events that were lost before the stream could read them."""
        self.lost += count

    def settle(self, moment: float) -> None:
        """State that all events up to a moment (host time, s) have been put in."""
        self.settled = moment

    def log(self, line: str) -> None:
        """Append a line for the operator; the newest 16 are kept."""
        self._log.append(line)

    def take_log(self) -> list[str]:
        """Take out the lines of the log."""
        return [self._log.popleft() for _ in range(len(self._log))]

    def turn(self, up: bool, why: str) -> None:
        """Report that the stream came up or went down; a change is an item as well."""
        if up != self.up or self.why == NEVER:
            self._parts.append(([StreamChange(self.host(), up, why)], 0))
        self.up, self.why = up, why
        if not up:
            self.settled = float("nan")

    def take(self) -> list[Item]:
        """Take out all items; losses since the last call come last."""
        items: list[Item] = []
        for _ in range(len(self._parts)):
            part, events = self._parts.popleft()
            items += part
            self._out += events
        now: dict[Reason, int] = {"inbox_full": self.dropped, "kernel_full": self.lost}
        for reason, count in now.items():
            if count > self._reported[reason]:
                items += losses(self.host(), reason, count - self._reported[reason])
        self._reported = now
        return items


class Receiving(Protocol):
    """A live input: receives in its own thread, from `start` to `stop`.

    The constructor opens nothing. `start` returns at once; an absent device is no error: the
    stream calls `inbox.turn(False, why)`, tries again with growing pauses, and calls
    `inbox.turn(True, what)` once it receives. No input raises: bad input is `Unread`. `stop`
    returns within two seconds, leaves no thread, socket or file, and may be called twice. Events
    received before it are then in the inbox.
    """

    name: str

    def start(self, inbox: Inbox) -> None:
        """Begin to receive."""

    def stop(self) -> None:
        """Receive no more."""

    def facts(self) -> Sequence[str]:
        """Return facts for the operator once it is up: addresses, sizes of buffers, ports."""


def losses(rx: float, reason: Reason, events: int) -> list[Unread]:
    """Return losses, each item of at most `MAX_LOST` events."""
    parts = range(0, events, MAX_LOST)
    return [Unread(rx, reason, "", b"", min(MAX_LOST, events - n)) for n in parts]


def size(item: Item) -> int:
    """Return the number of events of an item; a command counts as one while it may be lost."""
    if type(item) is Message:
        return len(item.value) if type(item.value) is tuple else 1
    if isinstance(item, FromSource):
        return size(item.item)
    if isinstance(item, Unread):
        return item.events
    return int(isinstance(item, Commanded))


_STOP_S = 2.0


class Listener(ABC):
    """A `Receiving` with one thread.

    Parameters
    ----------
    name : str
        Of the stream.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._inbox = Inbox(name)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, inbox: Inbox) -> None:
        """Begin to receive into an inbox."""
        self._inbox = inbox
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name=f"stream {self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Receive no more; all events received are in the inbox."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)
            self._thread = None

    @abstractmethod
    def _run(self) -> None:
        """Receive until `_stop` is set."""

    @abstractmethod
    def facts(self) -> Sequence[str]:
        """Return facts for the operator once it is up."""
