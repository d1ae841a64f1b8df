"""Sender of a command to the bridge of a live run on this machine."""

from __future__ import annotations

import socket
from errno import ENOTSUP
from pathlib import Path

import msgspec

from operators.types import BridgeCommand
from sources.control.control_address import control_address
from sources.control.order import Order

_WAIT_S = 1.0


def listening(folder: Path) -> bool:
    """Whether a run takes commands in an output folder.

    Parameters
    ----------
    folder : Path
        `output.dir` of the run.
    """
    try:
        with control_address(folder) as where, _socket() as out:
            out.connect(where)
    except OSError:
        return False
    return True


def send(folder: Path, command: BridgeCommand, rig: str | None = None) -> None:
    """Send a command to the run that writes into an output folder.

    Parameters
    ----------
    folder : Path
        `output.dir` of the run.
    command : {"bridge.release", "bridge.rollback"}
    rig : str, optional
        By default the rig of the run's configuration.

    Raises
    ------
    OSError
        No run takes commands there, or this user may not send any.
    """
    with control_address(folder) as where, _socket() as out:
        out.settimeout(_WAIT_S)
        out.connect(where)
        out.send(msgspec.json.encode(Order(command, rig)))


def _socket() -> socket.socket:
    """Return a new socket.

    Raises
    ------
    OSError
        This system has no such sockets.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise OSError(ENOTSUP, "this system has no such sockets")
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
