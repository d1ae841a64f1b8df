"""Whose turn an output folder is: of several starts at once, one goes on.

A run looks at its folder before the engine starts, and locks the file of its own inside only once
the engine has made the sinks. What starts between the two would fail within the engine. So the
folder itself is locked from before the look until the end of the run; nothing is written for it.
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
"""Where Linux lists who holds a lock on which file."""


class FolderLock:
    """A folder that is this run's until `leave`.

    Parameters
    ----------
    folder : Path
        Made where it is missing. Where it cannot be had, it is not locked: the look at it names
        the reason.
    access : Access
        Rights of the folder where it is made.

    Raises
    ------
    InUseError
        Another run has it; its process is named.
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
        """Let others have the folder; may be called twice."""
        if self._held is not None:
            os.close(self._held)
            self._held = None


def _holder(inode: int) -> str:
    """Return the process that holds the lock on a folder, as far as the system lists it."""
    with suppress(OSError):
        for line in LOCKS.read_text().splitlines():
            # 1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> <first> <last>
            words = line.split()
            if words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
                return words[4]
    return "?"
