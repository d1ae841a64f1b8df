"""Control socket of a live run: commands of its own user to the bridge.

A Unix datagram socket of mode 0600 in the output folder takes one JSON object a datagram, such as
`{"command": "bridge.release", "rig": "studio"}`. The kernel states the sender's user (Linux,
SO_PASSCRED); elsewhere the mode of the file admits the owner only. A command then goes the way of
all events: inbox, tape, flow.

The socket of a killed run is replaced, that of a live one is not. Without a socket the run goes on.

Cost: four wake-ups a second. State: one socket, at most 100 commands a second into the inbox.
Losses: `control`, for a malformed datagram, another user's, or one for an unknown rig.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from errno import EADDRINUSE, ENOTSOCK, ENOTSUP
from pathlib import Path
from typing import NamedTuple

import msgspec

from configs.inert import inert
from configs.outputs import CONTROL
from operators.events import COMMAND_SOURCE
from operators.limits import MAX_SAMPLE
from sources.control.control_address import control_address
from sources.control.order import Order
from sources.inbox import Commanded, Listener, Unread

_MAX_DATAGRAM = 4096
_POLL_S = 0.25
_PAUSE_S = 0.01
"""Pause after each datagram: senders wait, so that a flood takes no memory."""
_FOLDER_S = 10.0
"""Longest wait for the output folder, which another station of the flow makes."""
_UCRED = struct.Struct("3i")
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_ORDER = msgspec.json.Decoder(Order)


class _Datagram(NamedTuple):
    """One datagram; `user` is None where the system names none."""

    data: bytes
    whole: bool
    process: int
    user: int | None


class CommandSocket(Listener):
    """The control socket of one run.

    Parameters
    ----------
    folder : Path
        Output folder of the run.
    rig : str
        Of the run.
    """

    def __init__(self, folder: Path, rig: str) -> None:
        super().__init__(COMMAND_SOURCE)
        self._folder, self._rig = folder, rig

    def facts(self) -> Sequence[str]:
        """Return the path of the socket."""
        return (str(self._folder / CONTROL),)

    def _run(self) -> None:
        """Receive until the stop; one line in the log if the socket cannot be made."""
        path = self._folder / CONTROL
        try:
            opened = self._opened()
        except OSError as error:
            reason = error.strerror or str(error)
            self._inbox.log(f"the bridge takes no commands: {inert(str(path))}: {reason}")
            return
        if opened is None:
            return
        inode = path.lstat().st_ino
        try:
            opened.settimeout(_POLL_S)
            while not self._stop.is_set():
                if self._take(opened):
                    self._stop.wait(_PAUSE_S)
            opened.settimeout(0.0)
            while self._take(opened):
                pass
        finally:
            opened.close()
            with suppress(OSError):
                if path.lstat().st_ino == inode:
                    path.unlink()

    def _opened(self) -> socket.socket | None:
        """Return the bound socket; None if the run stops before its folder exists."""
        if not hasattr(socket, "AF_UNIX"):
            raise OSError(ENOTSUP, "this system has no such sockets")
        waited = 0.0
        while not self._folder.is_dir() and waited < _FOLDER_S:
            if self._stop.wait(_POLL_S):
                return None
            waited += _POLL_S
        with control_address(self._folder) as where:
            _remove_stale(where)
            made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                if sys.platform == "linux":
                    # The mode of a socket is that of its file from the first moment on.
                    os.fchmod(made.fileno(), 0o600)
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
                made.bind(where)
                Path(where).chmod(0o600)
            except BaseException:
                made.close()
                raise
        return made

    def _take(self, opened: socket.socket) -> bool:
        """Put the next datagram into the inbox; return whether there was one."""
        try:
            datagram = _received(opened)
        except (TimeoutError, BlockingIOError):
            return False
        rx = self._inbox.host()
        sender = f"user {datagram.user}, process {datagram.process}"
        order, fault = self.read(datagram.data, datagram.whole, datagram.user)
        if order is None:
            self._inbox.put([Unread(rx, "control", sender, datagram.data[:MAX_SAMPLE])])
            self._inbox.log(f"a command is refused: {fault} ({sender})")
            return True
        by = _name(os.geteuid() if datagram.user is None else datagram.user)
        self._inbox.put([Commanded(rx, order.command, by)])
        self._inbox.log(f"{order.command} by {by}")
        return True

    def read(self, data: bytes, whole: bool, user: int | None) -> tuple[Order | None, str]:
        """Return the command of a datagram, or None and the reason.

        Parameters
        ----------
        data : bytes
        whole : bool
            Nothing of it was cut off.
        user : int or None
            Its sender; None where the system names none.
        """
        if user not in (None, os.geteuid()):
            return None, "it is of another user"
        if not whole:
            return None, f"it is longer than {_MAX_DATAGRAM} bytes"
        try:
            order = _ORDER.decode(data)
        except _BROKEN as error:
            return None, f"it cannot be read: {error}"
        if order.rig not in (None, self._rig):
            return None, f"there is no rig {order.rig!r}"
        return order, ""


def _received(opened: socket.socket) -> _Datagram:
    if sys.platform != "linux":
        data = opened.recv(_MAX_DATAGRAM + 1)
        return _Datagram(data[:_MAX_DATAGRAM], len(data) <= _MAX_DATAGRAM, 0, None)
    data, parts, flags, _ = opened.recvmsg(_MAX_DATAGRAM, socket.CMSG_SPACE(_UCRED.size))
    process, user = 0, -1
    for level, kind, content in parts:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            process, user, _group = _UCRED.unpack(content[: _UCRED.size])
    return _Datagram(data, not flags & socket.MSG_TRUNC, process, user)


def _remove_stale(where: str) -> None:
    """Remove the socket of a killed run.

    Raises
    ------
    OSError
        A live run listens there, or the file is no socket.
    """
    try:
        mode = os.lstat(where).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(ENOTSOCK, "the file is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(where)
        except ConnectionRefusedError:
            Path(where).unlink()
            return
    raise OSError(EADDRINUSE, "another run takes commands there")


def _name(user: int) -> str:
    """Return the name of a user, or its number."""
    try:
        from pwd import getpwuid  # not on every system

        return getpwuid(user).pw_name
    except (ImportError, KeyError):
        return str(user)
