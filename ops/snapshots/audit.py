"""The audit of snapshots: a line a command in `audit.jsonl` beside them, and in the journal.

A line is one write. A line that a full disk or a killed process cut is ended before the next one.
Size: about 250 bytes a command; the file is never cut by this program.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.files import PRIVATE, open_file
from configs.inert import inert
from ops.snapshots.faults import SnapshotFailedError
from sinks.snapshots.names import AUDIT

JOURNAL = "/run/systemd/journal/socket"
"""Where systemd's journal takes entries; without it, the file alone has them."""


@dataclass
class AuditEntry:
    """The entry of a running command.

    Attributes
    ----------
    command : str
    name : str or None
        The snapshot.
    hash : str or None
        Its SHA-256.
    details : dict
        Further fields of the line.
    """

    command: str
    name: str | None = None
    hash: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


@contextmanager
def audited(folder: Path, command: str, name: str | None = None) -> Iterator[AuditEntry]:
    """Record a command with its result: `ok`, or `failed` with the error.

    Raises
    ------
    SnapshotFailedError
        The command succeeded, and its line could not be written.
    """
    entry = AuditEntry(command, name)
    start = time.monotonic()
    try:
        yield entry
    except BaseException as error:
        entry.details["error"] = (str(error) or type(error).__name__).split("\n")[0]
        with suppress(OSError):
            _write(folder, _line(entry, time.monotonic() - start, "failed"))
        raise
    try:
        _write(folder, _line(entry, time.monotonic() - start, "ok"))
    except OSError as error:
        raise SnapshotFailedError(
            f"{command} succeeded, but {folder / AUDIT} cannot be written: {error.strerror}"
        ) from error


def _line(entry: AuditEntry, seconds: float, result: str) -> str:
    user = os.getuid() if hasattr(os, "getuid") else None
    fields = {
        "ts": round(time.time(), 3),
        "who": user,
        "command": entry.command,
        "name": entry.name,
        "hash": entry.hash,
        "seconds": round(seconds, 3),
        "result": result,
        **entry.details,
    }
    return json.dumps(fields)


def _write(folder: Path, line: str) -> None:
    send_to_journal(line)
    folder.mkdir(mode=PRIVATE.folder, parents=True, exist_ok=True)
    with open_file(folder / AUDIT, os.O_RDWR | os.O_CREAT) as file:
        size = file.seek(0, os.SEEK_END)
        torn = b""
        if size:
            file.seek(size - 1)
            torn = b"" if file.read(1) == b"\n" else b"\n"
        data = torn + line.encode() + b"\n"
        if file.write(data) != len(data):
            raise OSError(28, "No space left on device", str(folder / AUDIT))
        os.fsync(file.fileno())


def send_to_journal(line: str, path: str = JOURNAL) -> None:
    """Send a line to the journal; nothing is raised where there is none."""
    text = f"MESSAGE=lumen: {inert(line)}\nPRIORITY=5\nSYSLOG_IDENTIFIER=lumen\n"
    with suppress(OSError, AttributeError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.setblocking(False)
        to.sendto(text.encode(), path)
