"""The wish to stop, and whether a later run goes on from where this one stops."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

_requested = threading.Event()
_recovering: bool | None = None
_before: dict[int, Any] = {}
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def request() -> None:
    """Ask all sources to end."""
    _requested.set()


def requested() -> bool:
    """Whether sources are to end."""
    return _requested.is_set()


def wish() -> threading.Event:
    """Return what is set once sources are to end, to wait for."""
    return _requested


def reset() -> None:
    """Forget the wish and what was said of recovery; signals mean what they did before."""
    global _recovering
    _requested.clear()
    _recovering = None
    while _before:
        signal.signal(*_before.popitem())


def install() -> None:
    """Let SIGTERM and SIGINT ask for the end; a second SIGINT interrupts at once.

    Does nothing outside of the main thread, where no handler can be set.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        before = signal.signal(number, _on_signal)
        _before.setdefault(number, before)


def _on_signal(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT and requested():
        raise KeyboardInterrupt
    request()


def set_recovering(value: bool) -> None:
    """Say that the run has a recovery store, or none, where the command line does not."""
    global _recovering
    _recovering = value


def recovering() -> bool:
    """Whether the run has a recovery store: then a stop is a pause, not the end of data."""
    if _recovering is not None:
        return _recovering
    if os.environ.get("BYTEWAX_RECOVERY_DIRECTORY"):
        return True
    given = [*sys.argv, *sys.orig_argv]
    return any("bytewax" in a for a in given) and any(map(_names_recovery, given))


def _names_recovery(argument: str) -> bool:
    if argument.startswith("--"):
        return len(argument) > 3 and "--recovery-directory".startswith(argument.partition("=")[0])
    return argument.startswith("-r")
