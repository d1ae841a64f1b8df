"""Shutdown request of the process, by signal or by call.

The first Ctrl-C is a request: sources take no more data, and data already taken are written. The
second one ends the process within a second, after the actions registered with `at_abort`.

The state is process-wide, as signal handlers are.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, TextIO, cast

from sources import stderr

_requested = threading.Event()
_before: dict[int, Any] = {}
_HANG_UP: int | None = getattr(signal, "SIGHUP", None)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_INTERRUPTED = 130
ABORT_S = 0.8
"""Time limit for all actions of a second Ctrl-C."""
_LAST_LINES_S = 0.1
_since = float("inf")
_answer = ""
_stderr = 2
_at_abort: list[Callable[[], None]] = []
_aborting = False


def request() -> None:
    """Request the end of all sources."""
    global _since
    if not requested():
        _since = time.monotonic()
    _requested.set()


def requested() -> bool:
    """Whether sources have to end."""
    return _requested.is_set()


def age_s() -> float:
    """Return the time since the request (s); minus infinity before it."""
    return time.monotonic() - _since


def at_abort(act: Callable[[], None]) -> None:
    """Register an action for a second Ctrl-C, once for each name and owner."""
    if act not in _at_abort:
        _at_abort.append(act)


def event() -> threading.Event:
    """Return the event that a request sets."""
    return _requested


def reset() -> None:
    """Withdraw the request, and restore signal handlers and standard error."""
    global _since, _answer
    _requested.clear()
    _since, _answer = float("inf"), ""
    _at_abort.clear()
    stderr.uninstall()
    while _before:
        signal.signal(*_before.popitem())


def install(answer: str = "") -> None:
    """Let SIGTERM, SIGINT and SIGHUP request the end; a second SIGINT interrupts at once.

    SIGHUP follows the end of the terminal. Where it is ignored at the start (`nohup`), it stays
    so. Outside of the main thread, where no handler can be set, nothing is done.

    Parameters
    ----------
    answer : str
        A line for standard error at the first SIGINT, before all else.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    global _answer
    _answer = answer
    for number in _SIGNALS:
        before = signal.signal(number, _on_signal)
        _before.setdefault(number, before)
    if _HANG_UP is not None and signal.getsignal(_HANG_UP) != signal.SIG_IGN:
        _before.setdefault(_HANG_UP, signal.signal(_HANG_UP, _on_signal))


def _on_signal(number: int, frame: FrameType | None) -> None:
    # The request first: a second signal may interrupt the answer to this one.
    again = requested()
    request()
    if number == signal.SIGINT:
        if again:
            _interrupt()
        elif _answer:
            _write(_answer)
    if number == _HANG_UP:
        _detach()


def _write(line: str) -> None:
    """Write a line past all buffers: the signal may interrupt a `print` of the main thread."""
    if stream := stderr.current():
        stream.hand_over(f"lumen: {line}\n")
        return
    with suppress(OSError):
        os.write(_stderr, f"lumen: {line}\n".encode())


def _interrupt() -> None:
    """End the process at once, after the registered actions; without any, interrupt it."""
    global _aborting
    if _aborting:
        os._exit(_INTERRUPTED)
    if not _at_abort:
        raise KeyboardInterrupt
    _aborting = True
    _write("a second Ctrl-C: this run is aborted, and its results end where they are")
    last = threading.Timer(ABORT_S, os._exit, (_INTERRUPTED,))
    last.daemon = True
    last.start()
    for act in _at_abort:
        with suppress(Exception):
            act()
    stderr.drain(_LAST_LINES_S)
    os._exit(_INTERRUPTED)


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


def set_terminal(number: int) -> None:
    """Write answers to signals to a descriptor, where standard error is redirected."""
    global _stderr
    _stderr = number
