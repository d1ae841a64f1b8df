"""The tap: what a live flow consumes is on the tape before it is used.

Each run has a folder of its own in `tap.dir`, named after the moment at which it began, so that
no run overwrites another. A segment is plain while it grows; with `zstd` it is packed, by a
thread, once it is complete. `write` hands the lines to the system: a killed process loses
nothing; `sync` waits for the disk, for the sake of a killed machine.

State: one open file. Losses: none; a tape that cannot be written stops the flow, by its name.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from backports import zstd

from configs.schema import TapConfig
from sources.tape import (
    MANIFEST,
    VERSION,
    Manifest,
    Segment,
    is_tape,
    read_manifest,
    segment_path,
)

if sys.platform != "win32":
    import fcntl

LOCK = ".lumen.lock"
_MB = 1_000_000
_PACK = 1 << 20
_YOUNG = 3
"""Snapshots before which the store may hold none: they are taken first, and then stored."""


class TapError(Exception):
    """The tap's folder cannot be had: one line that says why."""


class Lock:
    """Keeps a folder for one process, whose number stands in it."""

    def __init__(self, folder: Path, make: bool = True) -> None:
        self._file: int | None = None
        path = folder / LOCK
        if not make and not path.exists():
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise TapError(f"{folder}: cannot be written: {error.strerror}") from error
        if sys.platform != "win32":
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.read(self._file, 32).decode("ascii", "replace").strip()
                self.release()
                raise TapError(f"{folder}: process {holder or '?'} is recording there") from error
        if make:
            os.ftruncate(self._file, 0)
            os.write(self._file, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let others have the folder."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Tap:
    """Writes one tape.

    Parameters
    ----------
    config : TapConfig
    rig, fingerprint : str
        Of the run.
    run : str or None
        The folder of a run that is gone on with; its torn end is cut off.
    needed : int or None
        From where on the tape may have to be read again; None: nobody will go on with it.

    Attributes
    ----------
    run : str
        Name of the run's folder.
    offset : int
        Bytes on the tape.

    Raises
    ------
    TapError
        The folder cannot be had.
    ValueError
        The run to go on with is not there.
    """

    def __init__(
        self,
        config: TapConfig,
        rig: str,
        fingerprint: str,
        run: str | None = None,
        needed: int | None = None,
    ) -> None:
        self._config = config
        self._root = Path(config.dir)
        self._limit = int(config.rotate_mb * _MB)
        self._lock = Lock(self._root)
        self._packing: list[threading.Thread] = []
        self._file: int | None = None
        self._needed = needed
        try:
            if run is None:
                self.run = self._fresh()
                self._manifest = Manifest(VERSION, rig, fingerprint)
                self.offset = 0
                self._begin()
            else:
                self.run = run
                self._manifest = read_manifest(self.folder)
                self._go_on()
        except BaseException:
            self._lock.release()
            raise

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self._root / self.run

    def write(self, lines: bytes) -> None:
        """Write whole lines; nothing of them is used before."""
        segment = self._manifest.segments[-1]
        size = self.offset - segment.begin
        if size and size + len(lines) > self._limit:
            self._complete()
            self._begin()
            self._drop_old()
        assert self._file is not None
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            path = segment_path(self.folder, self._manifest.segments[-1])
            raise OSError(error.errno, f"cannot write: {error.strerror}", str(path)) from error
        self._digest.update(lines)
        self._lines += lines.count(b"\n")
        self.offset += len(lines)

    def sync(self, needed: int) -> None:
        """Wait until all is on the disk: a snapshot needs the tape from here on.

        What the snapshot before it needs is kept, for this one may never be stored.
        """
        if self._file is not None:
            os.fdatasync(self._file)
        if self._manifest.snapshots < _YOUNG:
            self._manifest.snapshots += 1
            self._save()
        self._drop_old()
        self._needed = needed

    def close(self, ended: bool) -> None:
        """Complete the tape; `ended`: nobody will go on with it."""
        if self._file is not None:
            self._manifest.ended = ended
            self._complete()
            for segment in self._manifest.segments:  # also those that a killed run left plain
                self._pack(segment)
            for thread in self._packing:
                thread.join()
        self._lock.release()

    def _fresh(self) -> str:
        """Return a name that no run has."""
        name = begun = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        n = 1
        while (self._root / name).exists():
            n += 1
            name = f"{begun}-{n}"
        (self._root / name).mkdir()
        return name

    def _begin(self) -> None:
        """Begin a segment: it is announced before it is there."""
        name = f"{len(self._manifest.segments):06}.ndjson"
        self._manifest.segments.append(Segment(name, self.offset))
        self._save()
        self._open()

    def _open(self) -> None:
        path = self.folder / self._manifest.segments[-1].name
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._digest, self._lines = hashlib.sha256(), 0

    def _complete(self) -> None:
        """Say what the segment holds, and pack it if that is wanted."""
        assert self._file is not None
        os.fdatasync(self._file)
        os.close(self._file)
        self._file = None
        segment = self._manifest.segments[-1]
        segment.size, segment.lines = self.offset - segment.begin, self._lines
        segment.sha256 = self._digest.hexdigest()
        self._save()
        self._pack(segment)

    def _go_on(self) -> None:
        """Cut off what a killed writer left of a line, and open the last segment again."""
        last = self._manifest.segments[-1]
        if last.sha256 is not None:
            assert last.size is not None
            self.offset = last.begin + last.size
            self._begin()
            return
        self._open()
        assert self._file is not None
        with (self.folder / last.name).open("rb") as file:
            whole = 0
            for line in file:
                if line.endswith(b"\n"):
                    self._digest.update(line)
                    self._lines += 1
                    whole += len(line)
        os.ftruncate(self._file, whole)
        self.offset = last.begin + whole

    def _pack(self, segment: Segment) -> None:
        path = self.folder / segment.name
        self._packing = [t for t in self._packing if t.is_alive()]
        packing = {thread.name for thread in self._packing}
        if self._config.zstd and path.name not in packing and path.exists():
            thread = threading.Thread(target=_pack, args=(path,), name=path.name)
            thread.start()
            self._packing.append(thread)

    def _drop_old(self) -> None:
        """Delete segments beyond the newest `keep`, of this run only what is not needed."""
        if not self._config.keep:
            return
        every: list[tuple[Path, Segment, bool]] = []
        for folder in sorted(p for p in self._root.iterdir() if is_tape(str(p))):
            ours = folder == self.folder
            segments = (self._manifest if ours else read_manifest(folder)).segments
            ends = [s.begin for s in segments[1:]]
            needed = self.offset if self._needed is None else self._needed
            unused = [not ours or end <= needed for end in ends] + [not ours]
            every += [(folder, s, free) for s, free in zip(segments, unused, strict=True)
                      if segment_path(folder, s).exists()]  # fmt: skip
        for folder, segment, free in every[: -self._config.keep]:
            if free:
                segment_path(folder, segment).unlink(missing_ok=True)

    def _save(self) -> None:
        path = self.folder / MANIFEST
        draft = path.with_suffix(".tmp")
        try:
            with draft.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(self._manifest), indent=1))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            raise OSError(error.errno, f"cannot write: {error.strerror}", str(path)) from error


def unfinished(config: TapConfig, fingerprint: str) -> str | None:
    """Return the run that was killed before it had a snapshot to go on from, if the last was."""
    root = Path(config.dir)
    if not root.is_dir():
        return None
    tapes = sorted((p for p in root.iterdir() if is_tape(str(p))), key=_order)
    if not tapes:
        return None
    manifest = read_manifest(tapes[-1])
    young = manifest.snapshots < _YOUNG and not manifest.ended
    return tapes[-1].name if young and manifest.config == fingerprint else None


def _order(folder: Path) -> tuple[str, int]:
    begun, _, number = folder.name.partition("-")
    return begun, int(number) if number.isdecimal() else 0


def _pack(path: Path) -> None:
    """Pack a complete segment; it stays plain where that fails."""
    draft, packed = Path(f"{path}.tmp"), Path(f"{path}.zst")
    try:
        with path.open("rb") as plain, draft.open("wb") as file:
            with zstd.ZstdFile(file, "w") as out:
                while data := plain.read(_PACK):
                    out.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(packed)
        path.unlink()
    except OSError as error:
        print(f"lumen: {path} stays unpacked: {error.strerror}", file=sys.stderr)
