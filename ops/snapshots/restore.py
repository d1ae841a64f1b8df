"""Restore of a snapshot: checked first, then put in the place of the store in one step.

The replaced store stays as `.before`, with its log. A kill at any point leaves the old store or the
restored one under the name of the store, and the command can be given again.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from configs.files import sync_folder
from flows.store import Store, parts_of
from ops.snapshots.faults import SnapshotError
from ops.snapshots.recovery_copy import unpack_recovery
from ops.snapshots.snapshot_folder import SnapshotFolder, copied, digest_of, refuse_changed, remove
from ops.snapshots.sqlite_copy import BUSY_S, refuse_unsound
from sinks.history.rebuild import BEFORE
from sinks.history.sqlite_store import LOG_ENDINGS, held
from sinks.snapshots.names import SnapshotName

DRAFT = ".restoring"
LOGS = (*LOG_ENDINGS, "-journal")
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def restore_sqlite(folder: SnapshotFolder, name: SnapshotName, store: Path) -> str:
    """Put a snapshot in the place of a store in SQLite; return its hash.

    Raises
    ------
    HistoryError
        A follower holds the store; its process is named.
    SnapshotError
        The snapshot is missing, damaged, foreign or newer; or a reader holds the store.
    """
    expected = folder.expected_hash(name)
    store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = beside(store, DRAFT)
    lock = held(store)
    try:
        refuse_changed(folder.path(name), copied(folder.path(name), draft), expected)
        refuse_unsound(draft, str(name))
        if is_restored(store, draft):  # by a command that was killed then: `.before` stays
            remove_logs(store)
            return expected
        if store.exists():
            _complete(store)
            _keep(store)
        remove_logs(store)
        draft.replace(store)
        sync_folder(store.parent)
        remove_logs(store)  # of a reader that began meanwhile
    finally:
        remove(draft)
        os.close(lock)
    return expected


def is_restored(store: Path, draft: Path) -> bool:
    """Whether a store was replaced before, and has the bytes of a checked copy."""
    return beside(store, BEFORE).exists() and _same(store, draft)


def _complete(store: Path) -> None:
    """Write the log of the old store into its file, so that the file alone is complete.

    A damaged store keeps its log as `.before-wal`.
    """
    remove_logs(beside(store, BEFORE))
    try:
        with closing(sqlite3.connect(store, timeout=BUSY_S, isolation_level=None)) as base:
            base.execute("PRAGMA trusted_schema = OFF")
            busy = base.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            busy = 1
        else:
            busy = 0
            with suppress(FileNotFoundError):
                beside(store, "-wal").replace(beside(store, f"{BEFORE}-wal"))
    if busy:
        raise SnapshotError(f"{store}: a reader holds it; end that process, and start again")


def _keep(store: Path) -> None:
    """Keep the old store as `.before`, while its own name stays."""
    before, link = beside(store, BEFORE), beside(store, f"{BEFORE}{DRAFT}")
    remove(link)
    try:
        os.link(store, link)
    except OSError:  # a file system without links
        shutil.copyfile(store, link)
    link.replace(before)
    remove(link)  # two names of one file: `replace` changes nothing


def remove_logs(store: Path) -> None:
    """Remove the files that SQLite keeps beside a database."""
    for ending in LOGS:
        remove(beside(store, ending))


def beside(path: Path, ending: str) -> Path:
    """Return a path with an ending behind its name."""
    return path.with_name(path.name + ending)


def restore_recovery(folder: SnapshotFolder, name: SnapshotName, store: Path) -> str:
    """Put a snapshot in the place of a recovery store; return its hash.

    Raises
    ------
    StoreError
        A run uses the store.
    SnapshotError
        The snapshot is missing, damaged or foreign.
    """
    expected = folder.check(name)
    store = store.absolute()
    if store.is_symlink() or (store.exists() and not store.is_dir()):
        raise SnapshotError(f"{store}: not a folder")
    draft, before = beside(store, DRAFT), beside(store, BEFORE)
    try:
        unpack_recovery(folder.path(name), draft)
        if not store.exists():
            draft.replace(store)
        else:
            lock = Store(store, unchecked=True)
            try:
                parts = parts_of(draft)
                if before.exists() and all(_same(store / part.name, part) for part in parts):
                    return expected
                remove(before)
                draft.replace(before)
                _exchange(before, store)
            finally:
                lock.release()
        sync_folder(store.parent)
    finally:
        remove(draft)
    return expected


def _same(part: Path, draft: Path) -> bool:
    log = beside(part, "-wal")
    return (
        part.is_file()
        and not (log.exists() and log.stat().st_size)
        and part.stat().st_size == draft.stat().st_size
        and digest_of(part) == digest_of(draft)
    )


def _exchange(new: Path, store: Path) -> None:
    """Exchange two folders in one step, where the system can; else in three."""
    with suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None, use_errno=True)
        one, other = os.fsencode(new), os.fsencode(store)
        if not library.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE):
            return
    aside = beside(store, f"{BEFORE}{DRAFT}")
    remove(aside)
    store.replace(aside)
    new.replace(store)
    aside.replace(new)
