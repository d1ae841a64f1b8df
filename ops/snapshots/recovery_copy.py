"""Copy of the recovery store of a run that stands still, as one archive of its files.

The archive is a plain tar with members `part-N.sqlite3`. Other members are refused, and nothing in
the files is executed: `flows.store` checks them as before a run.
"""

from __future__ import annotations

import os
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

from configs.files import open_file, open_own, sync_folder
from flows.store import PART as PART_NAME
from flows.store import Store, StoreError, check_parts, parts_of
from ops.snapshots.faults import SnapshotFailedError
from ops.snapshots.snapshot_folder import remove
from sinks.snapshots.names import PART

_PIECE = 1 << 20
MAX_MEMBERS = 4096


def copy_of_recovery(folder: Path, draft: Path) -> str | None:
    """Copy a recovery store into one archive; return the problem of the copy, if it has one.

    Raises
    ------
    StoreError
        A run uses the store, or it is missing, damaged or foreign.
    """
    if not folder.is_dir() or not parts_of(folder):
        raise StoreError(folder, "there is no recovery store", "name the folder of --recover")
    store = Store(folder)
    scratch = draft.with_name(f"{draft.name.removesuffix(PART)}.parts{PART}")
    try:
        remove(scratch)
        scratch.mkdir(mode=0o700)
        for part in parts_of(folder):
            copy_part(part, scratch / part.name)
        try:
            check_parts(scratch)
        except StoreError as error:
            return error.problem
        finally:
            _pack(scratch, draft)
    finally:
        store.release()
        remove(scratch)
    return None


def copy_part(part: Path, target: Path) -> None:
    """Copy one file of a store in a read transaction, its log included."""
    os.close(open_own(target, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    with (
        closing(sqlite3.connect(f"{part.absolute().as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(target)) as copy,
    ):
        source.execute("PRAGMA trusted_schema = OFF")
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        source.backup(copy)
        source.rollback()
        # The mode of the copy is that of the original, in one file: the engine goes on with it.
        copy.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _pack(folder: Path, draft: Path) -> None:
    remove(draft)
    with (
        open_file(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for part in parts_of(folder):
            with open_file(part, os.O_RDONLY) as content:
                member = tarfile.TarInfo(part.name)
                member.size, member.mode = os.fstat(content.fileno()).st_size, 0o600
                archive.addfile(member, content)


def unpack_recovery(archive: Path, folder: Path) -> None:
    """Unpack an archive into a new folder, check it as before a run, and mark it as complete.

    Raises
    ------
    SnapshotFailedError
        It is damaged, or holds other files.
    """
    remove(folder)
    folder.mkdir(mode=0o700, parents=True)
    try:
        with tarfile.open(archive, "r:") as members:
            for count, member in enumerate(members):
                if not (member.isreg() and PART_NAME.fullmatch(member.name)) or count > MAX_MEMBERS:
                    raise SnapshotFailedError(f"{archive}: of another project")
                content = members.extractfile(member)
                assert content is not None
                with open_file(folder / member.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
                    while data := content.read(_PIECE):
                        file.write(data)
                    os.fsync(file.fileno())
        if not parts_of(folder):
            raise SnapshotFailedError(f"{archive}: of another project")
        Store(folder).release()
        sync_folder(folder)
    except (tarfile.TarError, EOFError) as error:
        raise SnapshotFailedError(f"{archive}: damaged: {error}") from error
    except StoreError as error:
        raise SnapshotFailedError(f"{archive}: {error.path.name}: {error.problem}") from error
