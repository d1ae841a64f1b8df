"""The two ends of a pipe between a run and its process, neither of which may wait for the other.

Linux and macOS wait for a pipe with a limit of time, and write into it only what it takes. Windows
does neither: there a thread waits in the place of the caller.

State: a thread and at most one write, or one read, where the system needs the thread.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

IN_THREADS: bool = sys.platform == "win32"
READ = 1 << 16
_CLOSE_S = 1.0
"""Time for the write under way at the end."""


class PipeReader:
    """The reading end.

    Parameters
    ----------
    number : int
        A descriptor.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._data: SimpleQueue[bytes] | None = None
        if IN_THREADS:
            self._data = SimpleQueue()
            threading.Thread(target=self._read_all, args=(self._data,), daemon=True).start()

    def read(self, seconds: float) -> bytes | None:
        """Return the next bytes, empty at the end; None if there are none within this time (s)."""
        if self._data is None:
            if not select.select([self._number], [], [], max(seconds, 0.0))[0]:
                return None
            return os.read(self._number, READ)
        with suppress(Empty):
            return self._data.get(timeout=max(seconds, 0.0))
        return None

    def _read_all(self, into: SimpleQueue[bytes]) -> None:
        data = b"-"
        while data:
            try:
                data = os.read(self._number, READ)
            except OSError:
                data = b""
            into.put(data)


class PipeWriter:
    """The writing end.

    Parameters
    ----------
    number : int
        A descriptor.
    close : callable
        Closes it.
    """

    def __init__(self, number: int, close: Callable[[], object]) -> None:
        self._number, self._close = number, close
        self._data: SimpleQueue[bytes | None] | None = None
        if IN_THREADS:
            self._data = SimpleQueue()
            self._pending = False
            self._failed: OSError | None = None
            self._thread = threading.Thread(target=self._write_all, args=(self._data,), daemon=True)
            self._thread.start()
        else:
            os.set_blocking(number, False)

    def write(self, data: bytes) -> int:
        """Return the number of bytes taken at once; a full pipe takes none.

        Raises
        ------
        OSError
            The other end is closed.
        """
        if self._data is None:
            with suppress(BlockingIOError):
                return os.write(self._number, data)
            return 0
        if self._failed is not None:
            raise self._failed
        if self._pending:
            return 0
        self._pending = True
        self._data.put(data)
        return len(data)

    def close(self) -> None:
        """Close the pipe, after the write that is under way."""
        if self._data is None:
            self._close()
        else:
            self._data.put(None)
            self._thread.join(_CLOSE_S)

    def _write_all(self, queue: SimpleQueue[bytes | None]) -> None:
        try:
            while (data := queue.get()) is not None:
                left = memoryview(data)
                while left:
                    left = left[os.write(self._number, left) :]
                self._pending = False
        except OSError as error:
            self._failed = error
        with suppress(OSError):
            self._close()
