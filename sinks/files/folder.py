"""The output folder: its lock, and the list of files that a run wrote.

A lock file names the writing process, and each file before it is begun. So a run without recovery
can replace the one before it, even a killed one, and never touches any other file.
"""

from __future__ import annotations

import os
import re
import sys
import weakref
from collections.abc import Callable, Collection, Iterable
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import msgspec

from configs.files import PRIVATE, Access, LinkError, open_own, read_own, sync_folder
from configs.outputs import CONTROL
from operators.errors import InUseError
from sinks.files.aside import set_aside
from sinks.files.progress import LATER, NAMES
from sinks.files.readers import is_report

if sys.platform != "win32":
    import fcntl

LOCK = ".lumen.lock"
RUN = "run.json"
HINDSIGHT = "hindsight.msgpack"
"""The findings of a first pass over recordings."""
TRACEBACK = "traceback.txt"
"""Traceback of the last bug."""
STEMS = ("fused", "sync", "evidence", "dead", "markers", "bridge", "aligned")
_MAX_BYTES = 64 << 20
"""Largest lock file or `run.json` that is read."""
_MAX_LENGTH = 255
_BROKEN = (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_OWN = re.compile(rf"(?:[^/]+/)?(?:{'|'.join(STEMS)})(?:\.\d{{6,}})?\.jsonl")


class FolderError(InUseError):
    """The folder cannot be used: one line with the reason and the remedy."""


class _Files(msgspec.Struct):
    files: dict[str, int] = {}


def rig_folder(rig: str) -> str:
    """Return the folder name of a rig: the rig's name, if it is a plain one.

    Names are part of the data: none may lead elsewhere, be too long or look like a file of the
    run. Such names are escaped with `%`.
    """
    name = quote(rig, safe=" ", errors="surrogatepass") or "%"
    if name.startswith(".") or name.endswith((".json", ".jsonl", ".tmp")):
        name = name.replace(".", "%2E")
    if name == LATER:
        name = name.replace("-", "%2D")
    if len(name) > 200:
        name = f"{name[:160]}%{sha256(name.encode()).hexdigest()[:16]}"
    return name


class Folder:
    """An output folder, read-only until `take` locks it.

    Parameters
    ----------
    root : Path
    access : Access
        Rights of files and folders made in it.
    """

    def __init__(self, root: Path, access: Access = PRIVATE) -> None:
        self.root = root
        self.access = access
        self._lock: int | None = None
        self._close: Callable[[], object] = lambda: None

    def check(self) -> None:
        """Refuse a folder that another run is writing, or that holds files no run wrote.

        Nothing is changed.

        Raises
        ------
        FolderError
            One line.
        """
        if self.root.exists() and not self.root.is_dir():
            raise FolderError(f"{self.root}: output.dir is not a folder")
        existing = next(path for path in (self.root, *self.root.resolve().parents) if path.exists())
        if not os.access(existing, os.W_OK):
            raise FolderError(f"{self.root}: nothing may be written there")
        if os.path.lexists(self.root / LOCK):
            os.close(self._locked(0))
        self._refuse_strangers(self.known())

    def take(self, *, fresh: bool, keep: Collection[str] = ()) -> None:
        """Lock the folder; for a fresh run, remove the files of the one before it.

        Parameters
        ----------
        fresh : bool
            The run does not resume.
        keep : collection of str
            Names of files that stay.

        Raises
        ------
        FolderError
            As `check`.
        """
        self.root.mkdir(mode=self.access.folder, parents=True, exist_ok=True)
        self._lock = self._locked(os.O_CREAT)
        self._close = weakref.finalize(self, os.close, self._lock)
        known = self.known()
        self._refuse_strangers(known)
        if fresh:
            try:
                set_aside(self.root, self.access)
            except OSError as error:
                raise FolderError(f"{error.filename}: {error.strerror}") from error
            for name in known - set(keep):
                self._remove(self.root / name)
            for name in {str(Path(name).parent) for name in known} - {"."}:
                if (self.root / name).is_dir():
                    (self.root / name).rmdir()
            os.truncate(self._lock, 0)
        self._note([f"pid {os.getpid()}"])
        sync_folder(self.root)

    def announce(self, paths: Iterable[Path]) -> None:
        """Record files before they are begun."""
        self._note([f"file {path.relative_to(self.root).as_posix()}" for path in paths])

    def release(self) -> None:
        """Release the lock."""
        self._close()
        self._lock = None

    def known(self) -> set[str]:
        """Return the files of earlier runs, relative to the folder."""
        names = {line[5:] for line in self._lines() if line.startswith("file ")}
        try:
            data = read_own(self.root / RUN, _MAX_BYTES)
            names |= msgspec.json.decode(data, type=_Files).files.keys()
        except _BROKEN:
            pass
        return {name for name in names if self._may_be_ours(name)} | {
            RUN,
            f"{RUN}.tmp",
            HINDSIGHT,
            f"{HINDSIGHT}.tmp",
        }

    def _may_be_ours(self, name: str) -> bool:
        """Whether a run would write a file of this name here, whoever wrote the name."""
        folder, _, file = name.rpartition("/")
        if not _OWN.fullmatch(name) or not name.isprintable() or folder in (".", ".."):
            return False
        # In a folder that is a link, even a file of the right name belongs to another program.
        return len(file) <= _MAX_LENGTH and not (
            folder and (len(folder) > _MAX_LENGTH or (self.root / folder).is_symlink())
        )

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise FolderError(f"{path}: cannot be removed: {error.strerror}") from error

    def _refuse_strangers(self, known: set[str]) -> None:
        ours = (
            known
            | {LOCK, TRACEBACK, f"{TRACEBACK}.tmp", CONTROL, *NAMES}
            | {str(Path(name).parent) for name in known}
        )
        for path in sorted(self.root.glob("*")):
            plain = path.is_dir() and not path.is_symlink() and path.name != LATER
            inside = sorted(path.glob("*")) if plain else []
            for found in (path, *inside):
                name = found.relative_to(self.root).as_posix()
                if name not in ours and not is_report(name):
                    raise FolderError(
                        f"{found}: no run wrote this; move it away or choose another output.dir"
                    )

    def _lines(self) -> list[str]:
        try:
            return read_own(self.root / LOCK, _MAX_BYTES).decode("utf-8", "replace").split("\n")
        except OSError:
            return []

    def _locked(self, more: int) -> int:
        """Return the lock file as a descriptor that holds the lock."""
        try:
            lock = open_own(self.root / LOCK, os.O_RDWR | os.O_APPEND | more, self.access)
        except LinkError as error:
            raise FolderError(
                f"{self.root / LOCK}: {error.strerror}; move it away or choose another output.dir"
            ) from None
        except OSError as error:
            raise FolderError(f"{self.root}: cannot be written: {error.strerror}") from error
        if sys.platform != "win32":
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(lock)
                holders = [n[4:] for n in self._lines() if re.fullmatch(r"pid \d{1,10}", n)]
                raise FolderError(
                    f"{self.root}: process {holders[-1] if holders else '?'} is writing there"
                ) from error
        return lock

    def _note(self, lines: list[str]) -> None:
        if self._lock is None:
            raise FolderError(f"{self.root}: not taken")
        try:
            os.write(self._lock, "".join(f"{line}\n" for line in lines).encode())
            os.fsync(self._lock)
        except OSError as error:
            reason = f"cannot write: {error.strerror}"
            raise OSError(error.errno, reason, str(self.root / LOCK)) from error
