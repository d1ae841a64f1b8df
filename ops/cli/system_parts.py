"""Parts of the system that a run uses on Linux, and the way without each."""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path


def _symbol(name: str) -> bool:
    try:
        return hasattr(ctypes.CDLL(None), name)
    except (OSError, TypeError):  # no library of the process itself
        return False


def _module(name: str) -> bool:
    try:
        return bool(import_module(name))
    except ImportError:
        return False


PARTS: tuple[tuple[str, Callable[[], bool], str], ...] = (
    ("recvmmsg", lambda: _symbol("recvmmsg"),
     "datagrams are read one by one and stamped late; lost ones are not counted"),
    ("CLOCK_BOOTTIME", lambda: hasattr(time, "CLOCK_BOOTTIME"),
     "a sleep of the machine is a step of its clock"),
    ("fdatasync", lambda: hasattr(os, "fdatasync"),
     "tapes are synced with their times, which is slower"),
    ("fcntl", lambda: _module("fcntl"),
     "folders are not locked: start one run in each"),
    ("resource", lambda: _module("resource"),
     "peak memory is not stated, and columnar files are read without a limit"),
    ("/proc", lambda: Path("/proc/self/stat").exists(),
     "holders of ports are not named, and the age of a run counts from its import"),
    ("malloc_trim", lambda: _symbol("malloc_trim"),
     "free memory stays with a live run"),
    ("AF_UNIX", lambda: hasattr(socket, "AF_UNIX"),
     "the bridge takes no commands"),
    ("SCM_CREDENTIALS", lambda: not hasattr(socket, "AF_UNIX")
     or hasattr(socket, "SCM_CREDENTIALS"),
     "commands of the bridge are admitted by the mode of their socket"),
    ("real-time priority", lambda: hasattr(os, "sched_setscheduler"),
     "clocks and OSC out are less even on a busy machine"),
    ("file owners", lambda: hasattr(os, "geteuid"),
     "owner and rights of a recovery store are not checked: keep it in your own folder"),
    ("folder sync", lambda: hasattr(os, "O_DIRECTORY"),
     "the system itself keeps the names of new files through a loss of power"),
    ("hang-up", lambda: hasattr(import_module("signal"), "SIGHUP"),
     "Ctrl-C drains a run; every other end is a kill, after which --recover resumes"),
)  # fmt: skip
"""Name of a part, whether it is there, and the way without it."""


def lacking() -> Iterator[tuple[str, str]]:
    """Yield the parts that this system lacks, each with the way without it."""
    for name, there, instead in PARTS:
        if not there():
            yield name, instead
