"""The folder of snapshots: one writer at a time, unfinished files under hidden names, hashes.

A snapshot appears under its name last: checked, hashed and on the disk. Each other file that a
killed process can leave has a hidden name, or is a hash file without a snapshot; `hold` removes
them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from configs.files import PRIVATE, open_file, open_own, sync_folder, write_whole
from ops.snapshots.faults import SnapshotError, SnapshotFailedError
from sinks.snapshots.listing import recorded_hash
from sinks.snapshots.names import BAD, HASH, PART, Kind, SnapshotName, new_name, parsed

if sys.platform != "win32":
    import fcntl

_PIECE = 1 << 20


class SnapshotFolder:
    """A folder of snapshots; made by the first one.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def hold(self, name: str = ".lock") -> Iterator[None]:
        """Hold the folder against other commands, and remove the remains of killed ones.

        Parameters
        ----------
        name : str
            Lock file. A drill has one of its own: it only reads.

        Raises
        ------
        SnapshotError
            Another command holds it; its process is named.
        """
        self.root.mkdir(mode=PRIVATE.folder, parents=True, exist_ok=True)
        lock = open_own(self.root / name, os.O_RDWR | os.O_CREAT)
        try:
            if sys.platform != "win32":
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    holder = os.pread(lock, 64, 0).strip().decode("ascii", "replace")
                    raise SnapshotError(
                        f"{self.root}: process {holder or '?'} works there; start again after it"
                    ) from None
                os.ftruncate(lock, 0)
                os.pwrite(lock, b"%d\n" % os.getpid(), 0)
            if name == ".lock":
                self._remove_remains()
            yield
        finally:
            os.close(lock)

    def _remove_remains(self) -> None:
        for path in sorted(self.root.iterdir()):
            name = parsed(path.name.removesuffix(HASH))
            lonely = path.name.endswith(HASH) and name and not (self.root / str(name)).exists()
            if lonely or (path.name.startswith(".") and path.name.endswith(PART)):
                remove(path)

    def names(self, kind: Kind | None = None) -> list[SnapshotName]:
        """Return the names of finished snapshots, oldest first."""
        if not self.root.is_dir():
            return []
        found = filter(None, (parsed(path.name) for path in self.root.iterdir()))
        return sorted(name for name in found if kind is None or name.kind == kind)

    def new(self, kind: Kind, now: datetime) -> SnapshotName:
        """Return a name that is free."""
        return new_name((path.name for path in self.root.iterdir()), kind, now)

    def draft(self, name: SnapshotName) -> Path:
        """Return the path of an unfinished snapshot."""
        return self.root / f".{name}{PART}"

    def path(self, name: SnapshotName) -> Path:
        """Return the path of a finished snapshot."""
        return self.root / str(name)

    def finish(self, name: SnapshotName) -> str:
        """Hash a checked draft, and give it its name; return the hash."""
        draft = self.draft(name)
        digest = digest_of(draft)
        sync_file(draft)
        write_whole(self.root / f"{name}{HASH}", f"{digest}  {name}\n".encode())
        draft.replace(self.path(name))
        sync_folder(self.root)
        return digest

    def put_aside(self, name: SnapshotName) -> Path:
        """Keep a draft that failed its check under `.bad`."""
        bad = self.root / f"{name}{BAD}"
        self.draft(name).replace(bad)
        sync_folder(self.root)
        return bad

    def expected_hash(self, name: SnapshotName) -> str:
        """Return the recorded hash of a snapshot.

        Raises
        ------
        SnapshotError
            There is no such snapshot, or it has no hash.
        """
        path = self.path(name)
        if not path.is_file():
            raise SnapshotError(f"{path}: there is no such snapshot; `lumen snapshot --list`")
        digest = recorded_hash(path)
        if digest is None:
            raise SnapshotError(
                f"{path}{HASH}: missing, or not of this snapshot; take another snapshot"
            )
        return digest

    def check(self, name: SnapshotName) -> str:
        """Compare a snapshot with its recorded hash; return the hash.

        Raises
        ------
        SnapshotError
            As `expected_hash`; or the file was changed since.
        """
        expected = self.expected_hash(name)
        refuse_changed(self.path(name), digest_of(self.path(name)), expected)
        return expected


def refuse_changed(path: Path, digest: str, expected: str) -> None:
    """Raise an error if two hashes differ."""
    if digest != expected:
        raise SnapshotFailedError(
            f"{path}: damaged: its SHA-256 is {digest[:12]}..., expected {expected[:12]}...;"
            " take another snapshot"
        )


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with open_file(path, os.O_RDONLY) as file:
        while data := file.read(_PIECE):
            digest.update(data)
    return digest.hexdigest()


def copied(source: Path, target: Path) -> str:
    """Copy a file to a new private one, wait for the disk, and return the SHA-256 of its bytes.

    Raises
    ------
    OSError
        The file cannot be read or written; the path is named. The target is removed.
    """
    digest = hashlib.sha256()
    remove(target)
    try:
        with (
            open_file(source, os.O_RDONLY) as reader,
            open_file(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as writer,
        ):
            while data := reader.read(_PIECE):
                digest.update(data)
                rest = memoryview(data)
                while rest:
                    rest = rest[writer.write(rest) :]
            os.fsync(writer.fileno())
    except OSError as error:
        remove(target)
        raise OSError(error.errno, error.strerror, error.filename or str(target)) from error
    return digest.hexdigest()


def sync_file(path: Path) -> None:
    """Wait until a file is on the disk."""
    with open_file(path, os.O_RDWR) as file:
        os.fsync(file.fileno())


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
