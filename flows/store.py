"""Check of the recovery store before a run: created atomically, refused by name if unsafe.

The engine unpickles the content of a store, and panics if it cannot read it. Therefore a store is
checked before the engine starts: its owner and write permissions, use by another process, SQLite's
integrity check, and that each snapshot is plain bytes of this program with a valid checksum.
Nothing is unpickled here.

A store is created beside its place and renamed. A lock file names the holding process, and records
that the store was complete once. An incomplete store without that record is created anew; with
the record it is damaged.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from configs.files import LinkError, open_own, sync_folder
from operators.errors import InUseError
from operators.snapshot import StateRefusedError, origin_of, pickled_bytes
from sinks.snapshots.listing import ListedSnapshot, listed
from sinks.snapshots.names import RECOVERY, SNAPSHOTS

if sys.platform != "win32":
    import fcntl

LOCK = ".lumen.lock"
MAKING = ".making"
READY = b"ready"
PART = re.compile(r"part-\d{1,9}\.sqlite3")
_OURS = re.compile(r"part-\d{1,9}\.sqlite3(-wal|-shm|-journal)?")
MAX_PARTS = 4096
_TABLES = {"parts", "exs", "fronts", "commits", "snaps"}
_NUMBERS = {
    "exs": "ex_num worker_count resume_epoch",
    "fronts": "ex_num worker_index worker_frontier",
    "commits": "part_index commit_epoch",
    "snaps": "snap_epoch",
}
"""Columns by table that the engine reads as numbers from zero on."""
_HEADER = b"SQLite format 3\0"
_MAX_LOCK = 1 << 20
_JOIN_POLL_S, _JOIN_POLLS = 0.05, 600
"""A process waits half a minute for the first one of its cluster to make and check the store."""
_UNSOUND = (sqlite3.Error, ValueError, OverflowError)
"""Errors of SQLite, and of invalid texts and numbers in a damaged file."""
_INPUT = "%.receive"
"""Step of the source."""
_OTHERS = stat.S_IWGRP | stat.S_IWOTH
ANEW = "move the store away and start the same command again: the run begins anew"


class StoreError(InUseError):
    """A store that cannot be used: file and problem, then the remedy; two lines."""

    def __init__(self, path: Path, problem: str, remedy: str = ANEW) -> None:
        self.path, self.problem, self.remedy = path, problem, remedy
        super().__init__(f"{path}: {problem}\n  {remedy}")


class Store:
    """A recovery store, held for this process until `release`.

    Parameters
    ----------
    folder : Path
        Created if missing.
    cluster : str
        Addresses of the processes of a cluster, which share the store; empty: one process.
    parts : int
        Files of a new store.
    unchecked : bool
        The store is to be replaced: it is held, and neither created nor checked.

    Raises
    ------
    StoreError
        The store cannot be used. Only its lock file has been changed.
    """

    def __init__(
        self, folder: Path, cluster: str = "", parts: int = 1, *, unchecked: bool = False
    ) -> None:
        self.folder = folder
        self._unchecked = unchecked
        self._cluster = b"cluster %s\n" % cluster.encode() if cluster else b""
        self._count = parts
        self._lock: int | None = None
        try:
            self._take()
        except OSError as error:
            self.release()
            problem = f"cannot be used: {error.strerror or error}"
            remedy = "make room, or see to the rights of the folder, and start again"
            raise StoreError(Path(error.filename or folder), problem, remedy) from error
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Release the store."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def refuse_others(self, fingerprint: str) -> None:
        """Refuse the store of another configuration or version.

        Raises
        ------
        StoreError
            The store is of another configuration or version.
        """
        for part in parts_of(self.folder):
            for _, data in snapshots_of(part):
                try:
                    origin_of(data, fingerprint)
                except StateRefusedError as error:
                    problem, _, remedy = str(error).partition("; ")
                    raise StoreError(part, problem, remedy) from None

    def inputs(self) -> Iterator[bytes]:
        """Yield the stored states of the source.

        Raises
        ------
        StoreError
            A snapshot cannot be read.
        """
        for part in parts_of(self.folder):
            yield from (data for step, data in snapshots_of(part, _INPUT))

    def _take(self) -> None:
        if not self.folder.exists():
            self.folder.mkdir(mode=0o700, parents=True)
        self._check_folder()
        self._hold()
        ready = READY in self._recorded()
        if not (self._unchecked or ready) and self._is_unfinished():
            self._make()
        if not self._unchecked:
            check_parts(self.folder)
        assert self._lock is not None
        os.write(self._lock, b"" if ready or self._unchecked else READY + b"\n")
        os.write(self._lock, b"pid %d\n%s" % (os.getpid(), self._cluster))
        os.fsync(self._lock)
        if self._cluster and sys.platform != "win32":
            fcntl.flock(self._lock, fcntl.LOCK_SH)  # the other processes may take it now

    def _check_folder(self) -> None:
        found = self.folder.stat()
        if not stat.S_ISDIR(found.st_mode):
            raise StoreError(self.folder, "not a folder", "name a folder with --recover")
        _check_owner(self.folder, found)
        names = {p.name for p in self.folder.iterdir()} - {LOCK, MAKING}
        if not names and found.st_mode & 0o077:
            self.folder.chmod(0o700)  # an empty folder: no content of others
        elif found.st_mode & _OTHERS:
            _refuse_writable(self.folder, found)
        strange = sorted(name for name in names if not _OURS.fullmatch(name))
        if strange and not any(map(PART.fullmatch, names)):
            raise StoreError(
                self.folder,
                f"not a recovery store: it holds {strange[0]!r}",
                "name an empty folder, or one that is not there yet, with --recover",
            )
        for path in self.folder.iterdir():
            if path.name == LOCK or _OURS.fullmatch(path.name):
                _check_file(path)

    def _hold(self) -> None:
        """Lock the store."""
        path = self.folder / LOCK
        try:
            self._lock = open_own(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        except LinkError as error:
            raise StoreError(path, f"{error.strerror}", "remove it and start again") from None
        if sys.platform != "win32" and not self._joined():
            holders = re.findall(rb"^pid (\d{1,10})$", b"\n".join(self._recorded()), re.M)
            holder = holders[-1].decode() if holders else "?"
            raise StoreError(
                self.folder,
                f"process {holder} uses it",
                "end that run, or name another with --recover",
            )
        os.write(self._lock, self._cluster)

    def _joined(self) -> bool:
        """Whether this process has the lock, alone or with the others of its cluster.

        The first process of a cluster has it alone until the store is complete.
        """
        assert self._lock is not None
        for wait_s in (0.0, *itertools.repeat(_JOIN_POLL_S, _JOIN_POLLS)):
            time.sleep(wait_s)
            with suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            # The last note of a holder outside a cluster is its pid.
            if not self._cluster or self._recorded()[-2:] != [self._cluster.rstrip(), b""]:
                return False
            with suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return True
        return False

    def _recorded(self) -> list[bytes]:
        """Return the lines of the lock file."""
        assert self._lock is not None
        size = os.fstat(self._lock).st_size
        os.lseek(self._lock, max(size - _MAX_LOCK, 0), os.SEEK_SET)  # writes append in any case
        return os.read(self._lock, _MAX_LOCK).split(b"\n")

    def _is_unfinished(self) -> bool:
        """Whether the creation of the store was interrupted, or has not begun."""
        return all(map(_is_torn, parts_of(self.folder)))

    def _make(self) -> None:
        """Create the store beside its place, flush it to disk, and rename it."""
        from bytewax.recovery import init_db_dir

        aside = self.folder / MAKING
        if aside.is_symlink():
            raise StoreError(aside, "a link, not a folder", "remove it and start again")
        shutil.rmtree(aside, ignore_errors=True)
        for path in self.folder.iterdir():
            if _OURS.fullmatch(path.name):
                path.unlink()
        aside.mkdir(mode=0o700)
        try:
            init_db_dir(aside, self._count)
        except Exception as error:  # exceptions of the engine: mostly a full disk
            problem = f"cannot be made: {error}"
            remedy = "make room, or name a folder on another disk with --recover"
            raise StoreError(self.folder, problem, remedy) from error
        for path in sorted(aside.iterdir()):
            path.chmod(0o600)
            number = open_own(path, os.O_RDWR)
            try:
                os.fsync(number)
            finally:
                os.close(number)
            path.replace(self.folder / path.name)
        sync_folder(self.folder)
        aside.rmdir()


def parts_of(folder: Path) -> list[Path]:
    """Return the files of a store."""
    return sorted(path for path in folder.iterdir() if PART.fullmatch(path.name))


def check_parts(folder: Path) -> None:
    """Refuse a store with damaged, foreign or missing files; nothing is changed or executed.

    Raises
    ------
    StoreError
        At most four lines: the first problem, the names of the other unusable files, the remedy,
        and the newest snapshot beside the store.
    """
    refused: list[StoreError] = []
    count = 1
    for part in parts_of(folder):
        try:
            _check_file(part)
            count = max(count, _check_content(part))
        except StoreError as error:
            refused.append(error)
    for number in range(count):
        part = folder / f"part-{number}.sqlite3"
        if not os.path.lexists(part):
            refused.append(StoreError(part, "not there: the state is lost"))
    if not refused:
        return
    first, *more = refused
    remedy = first.remedy
    if more:
        remedy = f"also unusable: {', '.join(error.path.name for error in more)}\n  {remedy}"
    kept = [each.name for each in listed(folder.parent / SNAPSHOTS) if _is_of_store(each)]
    if kept:
        remedy += f"\n  or put its snapshot back: lumen restore {kept[0]} --into {folder}"
    raise StoreError(first.path, first.problem, remedy)


def _is_of_store(snapshot: ListedSnapshot) -> bool:
    return snapshot.checked and snapshot.name.endswith(RECOVERY)


def _check_owner(path: Path, found: os.stat_result) -> None:
    if sys.platform != "win32" and found.st_uid != os.geteuid():
        raise StoreError(
            path,
            f"of user {found.st_uid}, not of {os.geteuid()}, the user of this run",
            "a store must be its user's own, since its content is executed: name another with"
            " --recover",
        )


def _refuse_writable(path: Path, found: os.stat_result) -> None:
    writers = "everybody" if found.st_mode & stat.S_IWOTH else "its group"
    raise StoreError(
        path,
        f"may be written by {writers} (mode {stat.S_IMODE(found.st_mode):04o})",
        "if nobody else wrote there: chmod go-w on the folder and its files; else move it away",
    )


def _check_file(path: Path) -> None:
    """Refuse a store file that is a link, of another user, or writable by others."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(path, "not a plain file", "put the file itself there, or move it away")
    _check_owner(path, found)
    if sys.platform != "win32" and found.st_mode & _OTHERS:
        _refuse_writable(path, found)


def _opened(part: Path) -> sqlite3.Connection:
    base = sqlite3.connect(f"{part.absolute().as_uri()}?mode=rw", uri=True, timeout=1.0)
    base.execute("PRAGMA trusted_schema = OFF")
    return base


def _is_torn(part: Path) -> bool:
    """Whether a file holds an unfinished store: no snapshot can be lost with it."""
    with part.open("rb") as file:
        head = file.read(len(_HEADER))
        if head != _HEADER:
            return not head.strip(b"\0") and not any(
                iter(lambda: file.read(1 << 20).strip(b"\0"), b"")
            )
    try:
        with closing(_opened(part)) as base:
            found = {name for (name,) in base.execute("SELECT name FROM sqlite_master")}
            if not found >= _TABLES:
                return not found & {"snaps"} or not _count(base, "snaps")
            return not _count(base, "parts") and not _count(base, "snaps")
    except _UNSOUND:
        return False


def _count(base: sqlite3.Connection, name: str) -> int:
    return int(base.execute(f"SELECT count(*) FROM {name}").fetchone()[0])


def _check_content(part: Path) -> int:
    """Refuse a file that SQLite reports as damaged, or with foreign content.

    Returns
    -------
    int
        Number of files of the store, as this one states it.
    """
    with part.open("rb") as file:
        if file.read(len(_HEADER)) != _HEADER:
            raise StoreError(part, "damaged, or foreign: it is no SQLite file")
    try:
        with closing(_opened(part)) as base:
            base.execute("BEGIN IMMEDIATE").fetchall()
            base.rollback()
            found = str(base.execute("PRAGMA quick_check(1)").fetchone()[0])
            if found != "ok":
                raise StoreError(part, f"damaged: {_line(found)}")
            kinds = set(base.execute("SELECT type, name FROM sqlite_master"))
            names = {name for kind, name in kinds if kind == "table"}
            if {kind for kind, _ in kinds} - {"table", "index"} or not names >= _TABLES:
                raise StoreError(part, "foreign: it is no recovery store of the engine")
            count = base.execute("SELECT max(part_count) FROM parts").fetchone()[0]
            if not isinstance(count, int) or not 0 < count <= MAX_PARTS:
                raise StoreError(part, "damaged: it does not name its parts")
            for name, columns in _NUMBERS.items():
                wrong = " OR ".join(f"{c} < 0 OR typeof({c}) <> 'integer'" for c in columns.split())
                if base.execute(f"SELECT 1 FROM {name} WHERE {wrong}").fetchone():
                    raise StoreError(part, f"damaged: a number in {name} is out of range")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise StoreError(
                part, "another process has it open", "end that process, and start again"
            ) from None
        raise StoreError(part, f"damaged: {_line(str(error))}") from None
    except _UNSOUND as error:
        raise StoreError(part, f"damaged: {_line(str(error))}") from None
    for step, data in snapshots_of(part):
        try:
            origin_of(data, None)
        except StateRefusedError as error:
            raise StoreError(part, f"{step}: {str(error).partition('; ')[0]}") from None
    return count


def snapshots_of(part: Path, step: str = "%") -> list[tuple[str, bytes]]:
    """Return step and bytes of each snapshot, cut out of the engine's pickles unread.

    Parameters
    ----------
    part : Path
    step : str
        Pattern of SQL for the names of steps.

    Raises
    ------
    StoreError
        A snapshot cannot be read, or is not plain bytes.
    """
    found: list[tuple[str, bytes]] = []
    try:
        with closing(_opened(part)) as base:
            rows = base.execute(
                "SELECT step_id, ser_change FROM snaps"
                " WHERE ser_change NOT NULL AND step_id LIKE ?",
                (step,),
            ).fetchall()
            for name, change in rows:
                data = pickled_bytes(change) if isinstance(change, bytes) else None
                if data is None:
                    problem = f"{_line(str(name))}: a snapshot that is no plain bytes: not loaded"
                    raise StoreError(part, problem)
                found.append((_line(str(name)), data))
    except _UNSOUND as error:
        raise StoreError(part, f"damaged: {_line(str(error))}") from None
    return found


def _line(text: str) -> str:
    """Return the text without line breaks, cut to 200 characters."""
    return "".join(c if c.isprintable() else " " for c in text)[:200]
