"""Files that this process makes and reads: no link is followed, and rights are as configured.

Another user may have placed a link under the name of a file, in a shared or received folder. So a
name is opened as a plain file or not at all.
"""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO
from pathlib import Path
from typing import Literal, NamedTuple

from operators.errors import LumenError

AccessMode = Literal["private", "group", "world"]
"""Read access to results and tapes: the owner, the group, or all users."""

NO_FOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT: int = getattr(os, "O_NONBLOCK", 0)
_BINARY: int = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class Access(NamedTuple):
    """Rights of new files and folders, as of `chmod`."""

    file: int
    folder: int


PRIVATE = Access(0o600, 0o700)
ACCESS: dict[AccessMode, Access] = {
    "private": PRIVATE,
    "group": Access(0o640, 0o750),
    "world": Access(0o644, 0o755),
}


class LinkError(LumenError, OSError):
    """A link, a folder, a pipe or a device in the place of a file."""


def open_own(path: Path, flags: int, access: Access = PRIVATE) -> int:
    """Open a plain file, never through a link in its place.

    Parameters
    ----------
    path : Path
    flags : int
        As of `os.open`.
    access : Access
        Rights of a new file.

    Returns
    -------
    int
        The descriptor.

    Raises
    ------
    OSError
        It cannot be opened; the path is named. A `LinkError` for a link, a folder, a pipe or a
        device.
    """
    try:
        # Opening a pipe would block.
        number = os.open(path, flags | NO_FOLLOW | _NO_WAIT | _BINARY, access.file)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK) or path.is_symlink():
            raise LinkError(errno.ELOOP, "a link, not a file", str(path)) from None
        if error.errno in (errno.ENXIO, errno.EISDIR):
            raise LinkError(error.errno, "not a plain file", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise LinkError(errno.EINVAL, "not a plain file", str(path))
    return number


def read_own(path: Path, max_bytes: int) -> bytes:
    """Return the content of a plain file.

    Raises
    ------
    OSError
        It cannot be read, is a link, or has more than `max_bytes` bytes.
    """
    with open_file(path, os.O_RDONLY) as file:
        if os.fstat(file.fileno()).st_size > max_bytes:
            raise OSError(errno.EFBIG, f"larger than {max_bytes:,} bytes", str(path))
        return file.readall()


def open_file(path: Path, flags: int, access: Access = PRIVATE) -> FileIO:
    """Return a plain file, unbuffered, opened as by `open_own`.

    Raises
    ------
    OSError
        As `open_own`.
    """
    mode = {os.O_RDONLY: "rb", os.O_WRONLY: "wb"}.get(flags & (os.O_WRONLY | os.O_RDWR), "rb+")
    return FileIO(open_own(path, flags, access), mode)


def write_whole(path: Path, data: bytes, access: Access = PRIVATE, *, durable: bool = True) -> None:
    """Write a file atomically; a durable one is on the disk before this returns.

    Raises
    ------
    OSError
        It cannot be written; the path is named.
    """
    draft = path.with_name(path.name + ".tmp")
    try:
        draft.unlink(missing_ok=True)  # of a killed writer, with its rights
        with open_file(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, access) as file:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            if durable:
                os.fsync(file.fileno())
        draft.replace(path)
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        raise OSError(error.errno, f"cannot write: {error.strerror}", str(path)) from error


def sync_data(number: int) -> None:
    """Sync the content of an open file to the disk, its times only where the system has no less."""
    getattr(os, "fdatasync", os.fsync)(number)


def sync_folder(folder: Path) -> None:
    """Sync a folder's names to the disk; where folders cannot be opened, the system does it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
