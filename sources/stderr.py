"""Standard error beside the flow: messages never wait for their reader, and never end a run.

In a run `sys.stderr` is an `Aside`: whatever is printed there goes into a bounded queue, and a
thread of its own writes it. A reader that stalls costs messages, not ticks: they are counted, and
the next line that can be written states how many are missing. A reader that is gone is no error.

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
"""Messages that wait to be written at most."""
DRAIN_S = 1.0
"""For what still waits at the end of a run."""
_POLL_S = 0.01
_RETRY_S = 0.1


class Aside:
    """A text stream that hands whole lines to a thread.

    Parameters
    ----------
    stream : text stream
        Where it goes; its file is written past the stream's own buffer.

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
        # Its `put` may be called in a signal handler amid another `put`.
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        self._put = self._done = self._stated = 0
        self._thread: threading.Thread | None = None

    def lead(self, number: int) -> None:
        """Write to another descriptor from now on."""
        self._number = number

    def write(self, text: str) -> int:
        """Take a text; a line goes on its way once it is whole."""
        held = getattr(self._parts, "text", "") + text
        if held.endswith("\n"):
            self._parts.text = ""
            self.hand_over(held)
        else:
            self._parts.text = held
        return len(text)

    def flush(self) -> None:
        """Let what this thread has written go on its way; return at once."""
        if held := getattr(self._parts, "text", ""):
            self._parts.text = ""
            self.hand_over(held)

    def hand_over(self, text: str) -> None:
        """Put whole lines into the queue; a signal handler may."""
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
        """Messages that are not written yet."""
        return self._put - self._done

    def drain(self, seconds: float = DRAIN_S) -> None:
        """Wait until all is written, or for so long."""
        self.flush()
        end = time.monotonic() + seconds
        while self.waiting and time.monotonic() < end:
            time.sleep(_POLL_S)

    def close(self) -> None:
        """Write what can still be written, and end the thread."""
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
                text = f"lumen: {missing} messages are missing here: nobody read them\n{text}"
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
            except BlockingIOError:  # another program made the file so
                select.select([], [self._number], [], _RETRY_S)


def install() -> None:
    """Let `sys.stderr` be an `Aside`, where it is a file; a closed one is nowhere.

    A standard file that is closed is opened on nothing first: its number would be given to the
    next file of the run, and a message would be written into that.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    if current():
        return
    with suppress(AttributeError, OSError, ValueError):  # a stream without a file waits for nobody
        aside = Aside(sys.stderr)
        sys.stderr = cast(TextIO, Guarded(cast(TextIO, aside)))
        atexit.register(aside.close)


def current() -> Aside | None:
    """Return what stands before standard error, if it is one."""
    stream: Any = unguarded(sys.stderr)
    return stream if isinstance(stream, Aside) else None


def uninstall() -> None:
    """Let `sys.stderr` be what it was, once what waits is written."""
    if aside := current():
        aside.close()
        atexit.unregister(aside.close)
        sys.stderr = aside.stream


def drain(seconds: float) -> None:
    """Wait until all messages are written, or for so long."""
    if aside := current():
        aside.drain(seconds)


def lost() -> tuple[int, str | None]:
    """Return how many messages have not been written, and the first error in writing."""
    aside = current()
    if aside is None:
        return 0, None
    aside.drain(_RETRY_S)
    return aside.lost + aside.waiting, aside.why
