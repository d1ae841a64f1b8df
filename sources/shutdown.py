"""The wish to stop, and whether a later run goes on from where this one stops.

The first Ctrl-C is a wish: whoever takes data takes no more, and what was taken is written. The
second one ends the process within a second: what was entered with `at_abort` is done first.
"""

from __future__ import annotations

import argparse
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

from sources import stderr as aside

_requested = threading.Event()
_recovering: bool | None = None
_before: dict[int, Any] = {}
_HANG_UP: int | None = getattr(signal, "SIGHUP", None)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_INTERRUPTED = 130
ABORT_S = 0.8
"""For all that is done at a second Ctrl-C."""
_LAST_WORDS_S = 0.1
_since = float("inf")
_answer = ""
_stderr = 2
_store: Path | None = None
_at_abort: list[Callable[[], None]] = []
_aborting = False


def request() -> None:
    """Ask all sources to end."""
    global _since
    if not requested():
        _since = time.monotonic()
    _requested.set()


def requested() -> bool:
    """Whether sources are to end."""
    return _requested.is_set()


def age_s() -> float:
    """Return how long ago the wish to stop came (s); minus infinity before it."""
    return time.monotonic() - _since


def at_abort(act: Callable[[], None]) -> None:
    """Enter an act for a second Ctrl-C; an earlier one of the same name and owner is the same."""
    if act not in _at_abort:
        _at_abort.append(act)


def wish() -> threading.Event:
    """Return what is set once sources are to end, to wait for."""
    return _requested


def reset() -> None:
    """Forget the wish and whether there is recovery; signals and standard error are as before."""
    global _recovering, _since, _answer, _store
    _requested.clear()
    _recovering, _since, _answer, _store = None, float("inf"), "", None
    _at_abort.clear()
    aside.uninstall()
    while _before:
        signal.signal(*_before.popitem())


def install(answer: str = "") -> None:
    """Let SIGTERM, SIGINT and SIGHUP ask for the end; a second SIGINT interrupts at once.

    `answer` is a line for standard error at the first SIGINT, before anything else is done.

    SIGHUP comes when the terminal is closed. Where it is ignored at the start (`nohup`), it stays
    so. Does nothing outside of the main thread, where no handler can be set.
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
    # The wish first: a second signal may come while this one is answered.
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
    """Write a line past all buffers: the main thread may be in the midst of a `print`."""
    if stream := aside.current():
        stream.hand_over(f"lumen: {line}\n")
        return
    with suppress(OSError):
        os.write(_stderr, f"lumen: {line}\n".encode())


def _interrupt() -> None:
    """End the process at once, after what has been entered for that; else interrupt it."""
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
    aside.drain(_LAST_WORDS_S)
    os._exit(_INTERRUPTED)


class _Detached:
    """A text stream whose reader may be gone: what cannot be written is nobody's loss."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write as far as that goes."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write out as far as that goes."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _detach() -> None:
    """Go on without the terminal: a write to one that is closed is an error, and would end us."""
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
    if aside.current() is None:
        sys.stderr = cast(TextIO, _Detached(sys.stderr))


def _is_terminal(number: int) -> bool:
    """Whether a file is a terminal, be it a closed one, which `isatty` denies."""
    found = os.fstat(number)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev != Path(os.devnull).stat().st_rdev


def set_terminal(number: int) -> None:
    """Let answers to signals go to a descriptor, where standard error itself is led elsewhere."""
    global _stderr
    _stderr = number


def set_recovering(value: bool, store: Path | None = None) -> None:
    """Give the run a recovery store, or none, where the command line does not; and its folder."""
    global _recovering, _store
    _recovering, _store = value, store


def store() -> Path | None:
    """Return the folder of the run's recovery store, as far as it is known."""
    if _recovering is not None:
        return _store
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-r", "--recovery-directory", type=Path)
    for option in ("-s", "--snapshot-interval"), ("-b", "--backup-interval"):
        parser.add_argument(*option)
    given: Path | None = None
    if recovering():
        with suppress(argparse.ArgumentError):
            given = parser.parse_known_args(sys.argv[1:])[0].recovery_directory
    environ = os.environ.get("BYTEWAX_RECOVERY_DIRECTORY")
    return given or (Path(environ) if environ else None)


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
