"""Hides from a fresh interpreter all that another system lacks, then runs a module.

    python other_system.py macos|windows -m MODULE [ARGUMENT ...]

Child processes of the module get the same treatment. What cannot be hidden: the C library of
compiled packages, and `os.name` with its path classes.
"""

from __future__ import annotations

import asyncio  # noqa: F401  its choice of a loop precedes the change of `sys.platform`
import builtins
import concurrent.futures.process  # noqa: F401
import ctypes
import email  # noqa: F401
import http.server  # noqa: F401
import io
import logging.handlers  # noqa: F401
import multiprocessing.util  # noqa: F401
import os
import platform
import runpy
import select
import selectors
import shutil  # noqa: F401
import signal
import socket
import sqlite3  # noqa: F401
import stat
import subprocess
import sys
import tempfile  # noqa: F401
import time
import unittest.mock  # noqa: F401
import uuid  # noqa: F401
import zoneinfo  # noqa: F401
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

PLATFORM = {"macos": "darwin", "windows": "win32"}
NAMED = {"macos": "Darwin", "windows": "Windows"}
MACOS: dict[Any, tuple[str, ...]] = {
    os: (
        "fdatasync", "posix_fadvise", "posix_fallocate", "sched_setscheduler", "sched_getaffinity",
        "sched_param", "SCHED_RR", "memfd_create", "pidfd_open", "pipe2", "eventfd", "splice",
        "copy_file_range", "preadv", "pwritev",
    ),
    time: ("CLOCK_BOOTTIME",),
    socket: ("SO_PASSCRED", "SCM_CREDENTIALS", "SO_BINDTODEVICE"),
    select: ("epoll",),
}  # fmt: skip
WINDOWS: dict[Any, tuple[str, ...]] = {
    os: (
        *MACOS[os], "fchmod", "fchown", "getuid", "geteuid", "getgid", "getegid", "getloadavg",
        "uname", "nice", "getpriority", "setpriority", "pread", "pwrite", "set_blocking",
        "get_blocking", "fork", "killpg", "getpgid", "getpgrp", "setsid", "O_NOFOLLOW",
        "O_DIRECTORY", "O_NONBLOCK", "O_CLOEXEC", "O_SYNC", "O_DSYNC", "sysconf", "chown", "lchown",
        "mkfifo", "sync",
    ),
    time: ("CLOCK_BOOTTIME", "clock_gettime", "clock_gettime_ns", "tzset"),
    socket: (
        "AF_UNIX", "SO_PASSCRED", "SCM_CREDENTIALS", "SO_BINDTODEVICE", "SO_REUSEPORT",
        "MSG_DONTWAIT", "MSG_TRUNC", "CMSG_SPACE", "CMSG_LEN",
    ),
    select: ("epoll", "poll"),
    signal: ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL", "SIGPIPE", "SIGCHLD", "pthread_sigmask",
             "setitimer", "pause"),
}  # fmt: skip
MODULES = {"macos": (), "windows": ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty")}
FOLDERS = {"macos": ("/proc", "/sys"), "windows": ("/proc", "/sys", "/dev/shm", "/dev/snd", "/etc")}
ABSENT_SYMBOLS = ("recvmmsg", "malloc_trim", "adjtimex", "sem_init")
FORBIDDEN = frozenset('<>:"|?*\\')
"""Characters that no file name of Windows has."""


def hide(system: str) -> None:
    """Hide what a system lacks."""
    for owner, names in (MACOS if system == "macos" else WINDOWS).items():
        for name in names:
            if hasattr(owner, name):
                delattr(owner, name)
    for name in MODULES[system]:
        sys.modules[name] = None  # type: ignore[assignment]  # an import is an ImportError
    _hide_folders(FOLDERS[system])
    _hide_symbols(system)
    if system == "windows":
        selectors.DefaultSelector = selectors.SelectSelector  # type: ignore[misc, assignment]
        _import_waitress()
        _restrict_files()
        _restrict_select()
        for name in ("recvmsg", "sendmsg", "recvmsg_into"):
            setattr(socket.socket, name, property(_absent))
        _refuse_long_datagrams()
    _pass_on(system)
    platform.system = lambda: NAMED[system]
    sys.platform = PLATFORM[system]


def _absent(_: object) -> None:
    raise AttributeError("absent on this system")


def _refuse_long_datagrams() -> None:
    """Make a datagram that does not fit an error, after which it is gone."""
    real = socket.socket.recvfrom

    def recvfrom(self: socket.socket, size: int, *more: int) -> Any:
        data, peer = real(self, size + 1, *more)
        if len(data) > size:
            raise OSError(10040, "A message sent on a datagram socket was larger than the buffer")
        return data, peer

    socket.socket.recvfrom = recvfrom  # type: ignore[method-assign, assignment]


def _import_waitress() -> None:
    """Import the server in the form that it has there: its trigger is a socket, no pipe."""
    os.name = "nt"
    try:
        import waitress.trigger  # noqa: F401
    except ImportError:  # a child process without packages
        pass
    finally:
        os.name = "posix"


def _hide_folders(hidden: tuple[str, ...]) -> None:
    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(path: Any = ".", *more: Any, **named: Any) -> Any:
            if isinstance(path, (str, Path)) and str(path).startswith(hidden):
                raise FileNotFoundError(2, "No such file or directory", str(path))
            return function(path, *more, **named)

        return call

    for owner, names in (
        (os, ("open", "stat", "lstat", "listdir", "scandir", "readlink", "access")),
        (io, ("open",)),
    ):
        for name in names:
            setattr(owner, name, guarded(getattr(owner, name)))
    builtins.open = io.open


def _hide_symbols(system: str) -> None:
    def without(library: type) -> type:
        class Library(library):  # type: ignore[misc]
            def __init__(self, name: Any, *more: Any, **named: Any) -> None:
                if name is None and system == "windows":
                    raise TypeError("argument of type 'NoneType' is not iterable")
                super().__init__(name, *more, **named)

            def __getattr__(self, name: str) -> Any:
                if name in ABSENT_SYMBOLS:
                    raise AttributeError(name)
                return super().__getattr__(name)

        return Library

    ctypes.CDLL = without(ctypes.CDLL)  # type: ignore[misc]
    ctypes.PyDLL = without(ctypes.PyDLL)  # type: ignore[misc]


def _restrict_files() -> None:
    """Refuse folders as files, open files as the object of a removal, and impossible names."""
    real_open, real_unlink, real_replace = os.open, os.unlink, os.replace
    opened = "/proc/self/fd"
    # The guarded functions hide this folder; `link` is not among them.
    from posix import listdir, readlink

    def is_open(path: Any) -> bool:
        wanted = os.path.realpath(path)
        for number in listdir(opened):
            try:
                if readlink(f"{opened}/{number}") == wanted:
                    return True
            except OSError:
                pass
        return False

    def open_file(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_CREAT and FORBIDDEN & set(Path(os.fsdecode(path)).name):
            raise OSError(22, "Invalid argument", str(path))
        number = real_open(path, flags, *more, **named)
        if stat.S_ISDIR(os.fstat(number).st_mode):
            os.close(number)
            raise PermissionError(13, "Permission denied", str(path))
        return number

    def unlink(path: Any, *more: Any, **named: Any) -> None:
        if is_open(path):
            raise PermissionError(13, "used by another process", str(path))
        real_unlink(path, *more, **named)

    def replace(source: Any, target: Any, *more: Any, **named: Any) -> None:
        if is_open(source) or is_open(target):
            raise PermissionError(13, "used by another process", str(source))
        real_replace(source, target, *more, **named)

    os.open, os.unlink, os.remove, os.replace = open_file, unlink, unlink, replace


def _restrict_select() -> None:
    real = select.select

    def only_sockets(*lists: Any) -> Any:
        for each in (x for found in lists[:3] for x in found):
            number = each if isinstance(each, int) else each.fileno()
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                raise OSError(10038, "not a socket")
        return real(*lists)

    select.select = only_sockets


def _pass_on(system: str) -> None:
    """Start Python modules of a child process in the same way."""

    class Popen(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, args: Any, *more: Any, **named: Any) -> None:
            if not isinstance(args, str) and "-m" in args and args[0] == sys.executable:
                at = list(args).index("-m")
                args = [*args[:at], __file__, system, *args[at:]]
            super().__init__(args, *more, **named)

    subprocess.Popen = Popen  # type: ignore[misc]


def main() -> None:
    """Hide, and run the module."""
    system, _, module, *arguments = sys.argv[1:]
    hide(system)
    if not sys.flags.safe_path:
        sys.path[0] = ""
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
