"""Shutdown of a process by signals: for entry points, since signal handlers are process-wide.

The first Ctrl-C is a request. The second one ends the process within a second, after the actions
registered with `at_abort`.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Self, TextIO, cast

from sources.host import stderr
from sources.host.shutdown import Shutdown

_HANG_UP: int | None = getattr(signal, "SIGHUP", None)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_INTERRUPTED = 130
ABORT_S = 0.8
"""Time limit for all actions of a second Ctrl-C."""
_LAST_LINES_S = 0.1


class SignalShutdown(Shutdown):
    """A shutdown that SIGTERM, SIGINT and SIGHUP request; a second SIGINT aborts at once.

    The handlers are set at the first `start`, and restored by `close` or at the end of a `with`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[int, Any] = {}
        self._answer = ""
        self._terminal = 2
        self._aborting = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, answer: str = "") -> None:
        """Set the signal handlers.

        SIGHUP follows the end of the terminal. Where it is ignored at the start (`nohup`), it
        stays so. Outside of the main thread, where no handler can be set, nothing is done.

        Parameters
        ----------
        answer : str
            A line for standard error at the first SIGINT, before all else.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        self._answer = answer
        for number in _SIGNALS:
            before = signal.signal(number, self._on_signal)
            self._before.setdefault(number, before)
        if _HANG_UP is not None and signal.getsignal(_HANG_UP) != signal.SIG_IGN:
            self._before.setdefault(_HANG_UP, signal.signal(_HANG_UP, self._on_signal))

    def close(self) -> None:
        """Restore the signal handlers."""
        while self._before:
            signal.signal(*self._before.popitem())

    def set_terminal(self, number: int) -> None:
        """Write answers to signals to a descriptor, where standard error is redirected."""
        self._terminal = number

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # The request first: a second signal may interrupt the answer to this one.
        again = self.requested()
        self.request()
        if number == signal.SIGINT:
            if again:
                self._abort()
            elif self._answer:
                self._write(self._answer)
        if number == _HANG_UP:
            _detach()

    def _write(self, line: str) -> None:
        """Write a line past all buffers: the signal may interrupt a `print` of the main thread."""
        if stream := stderr.current():
            stream.hand_over(f"lumen: {line}\n")
            return
        with suppress(OSError):
            os.write(self._terminal, f"lumen: {line}\n".encode())

    def _abort(self) -> None:
        """End the process at once, after the registered actions; without any, interrupt it."""
        if self._aborting:
            os._exit(_INTERRUPTED)
        if not self._at_abort:
            raise KeyboardInterrupt
        self._aborting = True
        self._write("a second Ctrl-C: this run is aborted, and its results end where they are")
        self.end(_INTERRUPTED)

    def end(self, code: int) -> None:
        """End the process within a second, after the actions registered with `at_abort`."""
        last = threading.Timer(ABORT_S, os._exit, (code,))
        last.daemon = True
        last.start()
        for act in self._at_abort:
            with suppress(Exception):
                act()
        stderr.drain(_LAST_LINES_S)
        os._exit(code)


class _Detached:
    """A text stream whose reader may be gone: failed writes are no error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write if possible."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if possible."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _detach() -> None:
    """Continue without the terminal: a write to a closed one is an error and would end the run."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            number = stream.fileno()
            if _is_terminal(number):
                nowhere = os.open(os.devnull, os.O_RDWR)
                os.dup2(nowhere, number)
                os.close(nowhere)
    if isinstance(sys.stdout, _Detached):
        return  # terminal and shell may both send the signal
    sys.stdout = cast(TextIO, _Detached(sys.stdout))
    if stderr.current() is None:
        sys.stderr = cast(TextIO, _Detached(sys.stderr))


def _is_terminal(number: int) -> bool:
    """Whether a file is a terminal, open or closed; `isatty` is False for a closed one."""
    found = os.fstat(number)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev != Path(os.devnull).stat().st_rdev
