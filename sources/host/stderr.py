"""Standard error without back-pressure: a slow or closed reader neither delays nor ends a run.

In a run `sys.stderr` is a `QueuedStream`: printed lines go into a bounded queue, and a thread
writes them. A reader that stalls costs messages, not ticks: lost messages are counted, and the
next written line states their number. A closed reader is no error.

State: 256 messages. Losses: messages, counted (`lost`).
"""

from __future__ import annotations

import atexit
import os
import select
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO, cast

from configs.inert import Guarded, unguarded

ROOM = 256
"""Messages of the queue."""
DRAIN_S = 1.0
"""Time for the queued messages at the end of a run."""
_POLL_S = 0.01
_RETRY_S = 0.1


class QueuedStream:
    """A text stream that passes whole lines to a thread.

    Parameters
    ----------
    stream : text stream
        The destination; its file is written past the buffer of the stream.

    Attributes
    ----------
    lost : int
        Messages that were not written.
    why : str or None
        The first error in writing, if there was one.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.lost = 0
        self.why: str | None = None
        self._number = stream.fileno()
        self._encoding = stream.encoding or "utf-8"
        self._parts = threading.local()
        # A signal handler may call its `put` during another `put`.
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        self._put = self._done = self._stated = 0
        self._thread: threading.Thread | None = None

    def redirect(self, number: int) -> None:
        """Write to another descriptor from now on."""
        self._number = number

    def write(self, text: str) -> int:
        """Take a text; a line is queued once it is complete."""
        held = getattr(self._parts, "text", "") + text
        if held.endswith("\n"):
            self._parts.text = ""
            self.hand_over(held)
        else:
            self._parts.text = held
        return len(text)

    def flush(self) -> None:
        """Queue the incomplete line of this thread; return at once."""
        if held := getattr(self._parts, "text", ""):
            self._parts.text = ""
            self.hand_over(held)

    def hand_over(self, text: str) -> None:
        """Queue whole lines; safe in a signal handler."""
        if self._queue.qsize() >= ROOM:
            self.lost += 1
            return
        self._put += 1
        self._queue.put(text)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="stderr", daemon=True)
            self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of messages that are not written yet."""
        return self._put - self._done

    def drain(self, seconds: float = DRAIN_S) -> None:
        """Wait until all messages are written, at most for `seconds`."""
        self.flush()
        end = time.monotonic() + seconds
        while self.waiting and time.monotonic() < end:
            time.sleep(_POLL_S)

    def close(self) -> None:
        """Write the queued messages if possible, and end the thread."""
        self.drain()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(_RETRY_S)
            self._thread = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _run(self) -> None:
        while (text := self._queue.get()) is not None:
            if missing := self.lost - self._stated:
                text = (
                    f"lumen: {missing} messages are missing here: the reader was too slow\n{text}"
                )
            try:
                self._write(text.encode(self._encoding, "backslashreplace"))
                self._stated += missing
            except OSError as error:
                self.lost += 1
                self.why = self.why or error.strerror
            self._done += 1

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._number, left) :]
            except BlockingIOError:  # another program has set the file to non-blocking
                select.select([], [self._number], [], _RETRY_S)


def install() -> None:
    """Replace `sys.stderr` by a `QueuedStream` if it is a file; replace a closed one by /dev/null.

    A closed standard file is opened on /dev/null first: else the next file of the run would get
    its number, and messages would be written into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    if current():
        return
    with suppress(AttributeError, OSError, ValueError):  # a stream without a file cannot stall
        queued = QueuedStream(sys.stderr)
        sys.stderr = cast(TextIO, Guarded(cast(TextIO, queued)))
        atexit.register(queued.close)


def current() -> QueuedStream | None:
    """Return the queued stream in place of standard error, if there is one."""
    stream: Any = unguarded(sys.stderr)
    return stream if isinstance(stream, QueuedStream) else None


def uninstall() -> None:
    """Restore `sys.stderr` after the queued messages are written."""
    if queued := current():
        queued.close()
        atexit.unregister(queued.close)
        sys.stderr = queued.stream


def drain(seconds: float) -> None:
    """Wait until all messages are written, at most for `seconds`."""
    if queued := current():
        queued.drain(seconds)


def lost() -> tuple[int, str | None]:
    """Return the number of messages not written, and the first error of a write."""
    queued = current()
    if queued is None:
        return 0, None
    queued.drain(_RETRY_S)
    return queued.lost + queued.waiting, queued.why
