"""Lock of an output folder: of several simultaneous starts, one continues.

A run checks its folder before the engine starts, but locks its own file inside only when the
engine builds the sinks. A second start between the two would fail within the engine. Therefore
the folder itself is locked from before the check until the end of the run. No file is written.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from configs.files import PRIVATE, Access
from operators.errors import InUseError

if sys.platform != "win32":
    import fcntl

LOCKS = Path("/proc/locks")
"""Where Linux lists file locks and their processes."""


class FolderLock:
    """An output folder, locked for this run until `leave`.

    Parameters
    ----------
    folder : Path
        Created if missing. If it cannot be opened, it is not locked: the later check of the
        folder reports the reason.
    access : Access
        Rights of a created folder.

    Raises
    ------
    InUseError
        Another run holds the lock; its process is named.
    """

    def __init__(self, folder: Path, access: Access = PRIVATE) -> None:
        self._held: int | None = None
        try:
            folder.mkdir(mode=access.folder, parents=True, exist_ok=True)
            self._held = os.open(folder, os.O_RDONLY)
        except OSError:
            return
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(os.fstat(self._held).st_ino)
            self.leave()
            raise InUseError(f"{folder}: process {holder} is writing there") from None
        except OSError:  # a file system without locks
            self.leave()

    def leave(self) -> None:
        """Release the folder; may be called twice."""
        if self._held is not None:
            os.close(self._held)
            self._held = None


def _holder(inode: int) -> str:
    """Return the process that holds the lock on a folder, if the system lists it."""
    with suppress(OSError):
        for line in LOCKS.read_text().splitlines():
            # 1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> <first> <last>
            columns = line.split()
            if columns[1] == "FLOCK" and columns[5].endswith(f":{inode}"):
                return columns[4]
    return "?"
