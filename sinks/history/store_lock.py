"""The lock of a history in SQLite: one process writes it, or replaces it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from configs.files import open_own
from sinks.history.back_end import HistoryError

if sys.platform != "win32":
    import fcntl


class StoreLock:
    """A store that is held for this process until `release`; the store itself is not opened.

    Parameters
    ----------
    store : Path

    Raises
    ------
    HistoryError
        Another process holds it; its process id is named.
    """

    def __init__(self, store: Path) -> None:
        path = store.with_name(store.name + ".lock")
        self._file: int | None = None
        try:
            self._file = open_own(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise HistoryError(f"{path}: {error.strerror}") from error
        if sys.platform != "win32":
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.pread(self._file, 64, 0).strip().decode("ascii", "replace")
                self.release()
                raise HistoryError(
                    f"{store}: process {holder or '?'} writes it; end that process first"
                ) from error
        os.truncate(self._file, 0)
        os.pwrite(self._file, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Release the store; may be called twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
