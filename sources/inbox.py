"""What a live stream hears on its way to the flow: a bounded queue that counts what it drops.

A stream's thread puts in, the flow takes out; neither ever waits. When there is no room the
newest is dropped and counted, so that what is in there keeps its order and its arrival stamps.

Cost: one append an item. State: `room` events. Losses: `inbox_full`, `kernel_full`, counted.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from operators.types import Reason
from sources.host_clock import HostClock

ROOM = 65_536
"""Events that wait for the flow at most: three seconds at 20,000 a second."""
MAX_LOST = 1 << 20
"""Events that one refusal may stand for."""
NO_TIME = float("nan")
_MAX_WORDS = 16
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
        A finite number; a marker; the elements of an array: NaN where one is no finite number,
        which is rejected alone (`value`), and a text where one is a text, which is ignored.
    ts : float
        Source time (s, any epoch, within 1e12), NaN where the sender gave none.
    seq : int
        The sender's number of the event, -1 where it gave none.
    """

    rx: float
    key: str
    value: float | str | tuple[float | str, ...]
    ts: float = NO_TIME
    seq: int = -1


class Unread(NamedTuple):
    """Inputs that could not be used, `events` alike: the first one's peer and sample."""

    rx: float
    reason: Reason
    where: str
    sample: bytes
    events: int = 1


class StreamChange(NamedTuple):
    """The stream came up, or went down for a reason."""

    rx: float
    up: bool
    why: str


InboxItem: TypeAlias = Message | Unread | StreamChange


class FromSource(NamedTuple):
    """What a stream heard of a source that is not itself."""

    source: str
    item: InboxItem

    @property
    def rx(self) -> float:
        """Arrival (s)."""
        return self.item.rx


Item: TypeAlias = InboxItem | FromSource


def stamp() -> float:
    """Return the host's time (s since 1970), in whole microseconds as recordings keep it."""
    return time.time_ns() // 1000 / 1e6


class Inbox:
    """Where one stream puts what it hears. One thread may put, one may take.

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
        Stamps all that is put in.
    up : bool
        The stream works, as far as it can tell; False until it says so.
    why : str
        What it said when it last went up or down.
    received, dropped, lost : int
        Events put in, dropped here for want of room among them; lost in the kernel before.
    newest : float
        Arrival of the newest event; NaN before the first.
    settled : float
        Host time up to which nothing waits unread in the kernel or a driver (s); NaN where the
        stream cannot know.
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
        self._words: deque[str] = deque(maxlen=_MAX_WORDS)
        self._told: dict[Reason, int] = {"inbox_full": 0, "kernel_full": 0}

    def put(self, items: Iterable[Message | Unread | FromSource]) -> None:
        """Put in what was heard, in order of arrival, as far as there is room."""
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
        """Count events that were lost before the stream could hear them."""
        self.lost += count

    def settle(self, moment: float) -> None:
        """Note that all that arrived by a moment (host time, s) has been put in."""
        self.settled = moment

    def say(self, line: str) -> None:
        """Leave a line for whoever runs the flow; the newest 16 are kept."""
        self._words.append(line)

    def words(self) -> list[str]:
        """Take out the lines that were left."""
        return [self._words.popleft() for _ in range(len(self._words))]

    def turn(self, up: bool, why: str) -> None:
        """Say that the stream works, or does not and why; the edge travels as data."""
        if up != self.up or self.why == NEVER:
            self._parts.append(([StreamChange(self.host(), up, why)], 0))
        self.up, self.why = up, why
        if not up:
            self.settled = float("nan")

    def take(self) -> list[Item]:
        """Take out all there is; what was lost and dropped meanwhile comes last."""
        items: list[Item] = []
        for _ in range(len(self._parts)):
            part, events = self._parts.popleft()
            items += part
            self._out += events
        now: dict[Reason, int] = {"inbox_full": self.dropped, "kernel_full": self.lost}
        for reason, count in now.items():
            if count > self._told[reason]:
                items += losses(self.host(), reason, count - self._told[reason])
        self._told = now
        return items


class Receiving(Protocol):
    """A live input: hears in a thread of its own, from `start` to `stop`.

    Making one opens nothing. `start` returns at once; what is not there yet is no error: the
    stream says `inbox.turn(False, why)`, tries again by itself with growing pauses, and says
    `inbox.turn(True, what)` when it hears. Nothing that comes from outside raises: it is
    `Unread`. `stop` returns within two seconds, leaves no thread, socket or file, and may be
    called twice; what was heard before it is in the inbox by then.
    """

    name: str

    def start(self, inbox: Inbox) -> None:
        """Begin to hear."""

    def stop(self) -> None:
        """Hear no more."""

    def facts(self) -> Sequence[str]:
        """Return what is worth telling once it is up: addresses, sizes of buffers, ports."""


def losses(rx: float, reason: Reason, events: int) -> list[Unread]:
    """Return losses, each item of at most `MAX_LOST` events."""
    parts = range(0, events, MAX_LOST)
    return [Unread(rx, reason, "", b"", min(MAX_LOST, events - n)) for n in parts]


def size(item: Item) -> int:
    """Return how many events an item is."""
    if type(item) is Message:
        return len(item.value) if type(item.value) is tuple else 1
    if isinstance(item, FromSource):
        return size(item.item)
    return item.events if isinstance(item, Unread) else 0


_STOP_S = 2.0


class Listener(ABC):
    """A `Stream` with one thread.

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
        """Begin to hear, into an inbox."""
        self._inbox = inbox
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name=f"stream {self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Hear no more; what was heard is in the inbox."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)
            self._thread = None

    @abstractmethod
    def _run(self) -> None:
        """Hear until `_stop` is set."""

    @abstractmethod
    def facts(self) -> Sequence[str]:
        """Return what is worth telling once it is up."""
