"""A follower as a process beside a run: settings come through a pipe, whose end ends it.

It begins at once and takes in the rest after the end of the pipe, also after a kill of the run.
Signals are for the run. Its priority is low, so that it never takes time from the flow.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import msgspec

_NICE = 5
S = TypeVar("S", bound=msgspec.Struct)


def run_follower(kind: type[S], follow: Callable[[S, Callable[[float], bool]], None]) -> int:
    """Follow as the first line of standard input asks, until its end.

    Parameters
    ----------
    kind : type
        Of the settings in that line.
    follow : callable
        Gets the settings, and a function that waits for so many seconds (s) or until the end is
        asked for, and returns whether it is.

    Returns
    -------
    int
        The exit code.
    """
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError, AttributeError):
        os.nice(_NICE)
    source = sys.stdin.buffer
    line = source.readline()
    if not line.endswith(b"\n"):
        return 0
    settings = msgspec.json.decode(line, type=kind)
    ended = threading.Event()

    def drain() -> None:
        with suppress(OSError, ValueError):
            for _ in source:
                pass
        ended.set()

    threading.Thread(target=drain, daemon=True).start()
    follow(settings, ended.wait)
    return 0
