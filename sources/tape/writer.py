"""The tap: writes the events of a live flow to a tape before the flow uses them.

Each run has its own folder in `tap.dir`, named after its start time, so that no run overwrites
another. A segment is plain while it grows; with `zstd` a thread packs it once it is complete.
`write` passes the lines to the system: a killed process loses nothing. `sync` waits for the disk:
a crash of the machine loses nothing before it.

State: one open file. Losses: none; a tape that cannot be written stops the flow with its name.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from io import BufferedReader, BufferedWriter
from pathlib import Path

import msgspec
from backports import zstd

from configs.files import (
    PRIVATE,
    Access,
    LinkError,
    open_file,
    open_own,
    sync_data,
    sync_folder,
    write_whole,
)
from configs.outputs import TapConfig
from operators.collect import BlockRule
from operators.errors import InUseError
from sources.ndjson import Decoder
from sources.recordings.recording import NEEDS_EXTRA, Recording, UnusableError
from sources.rows.names import Names
from sources.rows.rows import DecodedRows
from sources.rows.written import LineDetails, details_of
from sources.tape.reader import (
    MANIFEST,
    VERSION,
    Manifest,
    Segment,
    digest_of,
    is_run,
    is_tape,
    read_manifest,
    segment_name,
    segment_path,
)

if sys.platform != "win32":
    import fcntl

LOCK = ".lumen.lock"
_MB = 1_000_000
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_PACK = 1 << 20
_MAX_TROUBLED = 1024
_MIN_SNAPSHOTS = 3
"""Below this number the store may hold no snapshot: each one is taken first, and stored later."""


class TapError(InUseError):
    """The folder of the tap cannot be used: one line with the reason."""


class Lock:
    """Locks a folder for one process, whose number is in the lock file."""

    def __init__(self, folder: Path, make: bool = True, access: Access = PRIVATE) -> None:
        self._file: int | None = None
        path = folder / LOCK
        if not make and not os.path.lexists(path):
            return
        try:
            folder.mkdir(mode=access.folder, parents=True, exist_ok=True)
            self._file = open_own(path, os.O_RDWR | os.O_CREAT, access)
        except LinkError as error:
            raise TapError(
                f"{path}: {error.strerror}; move it away or choose another tap.dir"
            ) from None
        except OSError as error:
            raise TapError(f"{folder}: cannot be written: {error.strerror}") from error
        if sys.platform != "win32":
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                found = re.match(rb"\d{1,10}\n", os.read(self._file, 32))
                holder = found[0].decode().strip() if found else "?"
                self.release()
                raise TapError(f"{folder}: process {holder} is recording there") from error
        if make:
            os.ftruncate(self._file, 0)
            os.write(self._file, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Release the folder."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


class TapeWriter:
    """Writes one tape.

    Parameters
    ----------
    config : TapConfig
    rig, fingerprint : str
        Of the run.
    run : str or None
        The folder of a resumed run; its torn end is cut off.
    needed : int or None
        Offset from which a resume may read the tape; None: no run resumes it.
    access : Access
        Permissions of new files and folders.
    block_s : float, "density" or None
        Blocks of arrival time of the run, entered in a new tape.

    Attributes
    ----------
    run : str
        Name of the run's folder.
    offset : int
        Bytes on the tape.

    Raises
    ------
    TapError
        The folder cannot be used.
    ValueError
        The run to resume does not exist.
    """

    def __init__(
        self,
        config: TapConfig,
        rig: str,
        fingerprint: str,
        run: str | None = None,
        needed: int | None = None,
        access: Access = PRIVATE,
        block_s: BlockRule | None = None,
    ) -> None:
        self._config = config
        self._access = access
        self._root = Path(config.dir)
        self._limit = int(config.rotate_mb * _MB)
        self._lock = Lock(self._root, access=access)
        self._troubled: set[Path] = set()
        self._packing: list[threading.Thread] = []
        self._file: int | None = None
        self._needed = needed
        try:
            if config.format == "parquet":
                _check_extra()
            if run is None:
                self.run = self._fresh()
                self._manifest = Manifest(VERSION, rig, fingerprint, block_s=block_s)
                self.offset = 0
                self._begin()
            else:
                self.run = run
                if not is_run(run) or self.folder.is_symlink():
                    raise UnusableError(f"{self._root}: {run[:64]!r} is no tape of this run")
                self._manifest = read_manifest(self.folder)
                if not self._manifest.segments:
                    raise UnusableError(f"{self.folder / MANIFEST}: names no segment")
                self._resume()
        except BaseException:
            self._lock.release()
            raise

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self._root / self.run

    @property
    def unkept(self) -> int:
        """Number of folders and segments of earlier runs that could not be deleted or read."""
        return len(self._troubled)

    def write(self, lines: bytes) -> None:
        """Write whole lines, before the flow uses them."""
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
        """Wait for the disk: a snapshot needs the tape from an offset on.

        Segments that the previous snapshot needs are kept, since this one may not be stored.
        """
        if self._file is not None:
            sync_data(self._file)
        self._pack_free()
        if self._manifest.snapshots < _MIN_SNAPSHOTS:
            self._manifest.snapshots += 1
            self._save()
        self._drop_old()
        self._needed = needed

    def close(self, ended: bool) -> None:
        """Complete the tape; `ended`: no run resumes it."""
        if self._file is not None:
            self._manifest.ended = ended
            self._complete()
            self._pack_free(every=ended)  # also those that a killed run left plain
            for thread in self._packing:
                thread.join()
        self._lock.release()

    def _fresh(self) -> str:
        """Return an unused name, and make its folder."""
        name = start = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        n = 1
        while os.path.lexists(self._root / name):
            n += 1
            name = f"{start}-{n}"
        (self._root / name).mkdir(mode=self._access.folder)
        return name

    def _begin(self) -> None:
        """Begin a segment: its manifest entry precedes its file."""
        name = segment_name(len(self._manifest.segments))
        self._manifest.segments.append(Segment(name, self.offset))
        self._save()
        self._open()

    def _open(self) -> None:
        path = self.folder / self._manifest.segments[-1].name
        self._file = open_own(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, self._access)
        self._digest, self._lines = hashlib.sha256(), 0

    def _complete(self) -> None:
        """Enter size, lines and digest of the segment, and pack it if configured."""
        assert self._file is not None
        sync_data(self._file)
        os.close(self._file)
        self._file = None
        segment = self._manifest.segments[-1]
        segment.size, segment.lines = self.offset - segment.begin, self._lines
        segment.sha256 = self._digest.hexdigest()
        self._save()
        self._pack_free()

    def _resume(self) -> None:
        """Cut off the torn line of a killed writer, and reopen the last segment."""
        last = self._manifest.segments[-1]
        if last.sha256 is not None:
            assert last.size is not None
            self.offset = last.begin + last.size
            self._begin()
            return
        self._open()
        assert self._file is not None
        with BufferedReader(open_file(self.folder / last.name, os.O_RDONLY)) as file:
            whole = 0
            for line in file:
                if line.endswith(b"\n"):
                    self._digest.update(line)
                    self._lines += 1
                    whole += len(line)
        os.ftruncate(self._file, whole)
        self.offset = last.begin + whole

    def _pack_free(self, every: bool = False) -> None:
        """Pack or convert the complete segments.

        Only those are converted that no resume reads, after a snapshot that has been stored.
        """
        for segment in self._manifest.segments:
            if segment.sha256 is None:
                continue
            end = segment.begin + (segment.size or 0)
            if self._config.format == "ndjson":
                if self._config.zstd:
                    self._start(_pack, segment)
            elif every or self._needed is None or end <= self._needed:
                self._start(_convert, segment)

    def _start(self, work: Callable[[Path, Segment, Access], None], segment: Segment) -> None:
        """Work on a plain segment in a thread."""
        path = self.folder / segment.name
        self._packing = [t for t in self._packing if t.is_alive()]
        if path.exists() and path.name not in {thread.name for thread in self._packing}:
            arguments = (path, segment, self._access)
            thread = threading.Thread(target=work, args=arguments, name=path.name)
            thread.start()
            self._packing.append(thread)

    def _drop_old(self) -> None:
        """Delete segments beyond the newest `keep`, of this run only those not needed."""
        if not self._config.keep:
            return
        every: list[tuple[Path, Segment, bool]] = []
        for folder in self._runs():
            ours = folder == self.folder
            try:
                segments = (self._manifest if ours else read_manifest(folder)).segments
            except ValueError as error:
                self._leave(folder, str(error))
                continue
            ends = [s.begin for s in segments[1:]]
            needed = self.offset if self._needed is None else self._needed
            unused = [not ours or end <= needed for end in ends] + [not ours]
            every += [
                (folder, segment, free)
                for segment, free in zip(segments, unused, strict=False)
                if segment_path(folder, segment).exists()
            ]
        for folder, segment, free in every[: -self._config.keep]:
            path = segment_path(folder, segment)
            try:
                if free:
                    path.unlink(missing_ok=True)
            except OSError as error:
                self._leave(path, f"{path}: {error.strerror}")

    def _runs(self) -> list[Path]:
        """Return the tapes of all runs, the oldest first, links excluded."""
        try:
            return tapes_in(self._root)
        except OSError as error:
            self._leave(self._root, f"{self._root}: {error.strerror}")
            return []

    def _leave(self, path: Path, why: str) -> None:
        """Skip a path of another run: one message for each path, a count, no error."""
        if path not in self._troubled and len(self._troubled) < _MAX_TROUBLED:
            self._troubled.add(path)
            print(f"lumen: tap.keep leaves this as it is: {why}", file=sys.stderr)

    def _save(self) -> None:
        data = msgspec.json.format(msgspec.json.encode(self._manifest), indent=1)
        write_whole(self.folder / MANIFEST, data, self._access)


def _check_extra() -> None:
    try:
        import sources.columnar.columnar_writer  # noqa: F401
    except ImportError:
        raise TapError(f"tap.format parquet {NEEDS_EXTRA}") from None


def tapes_in(root: Path) -> list[Path]:
    """Return the folders of tapes that runs made in `root`, the oldest first.

    Raises
    ------
    OSError
        The folder cannot be read.
    """
    found = [p for p in root.iterdir() if is_run(p.name) and not p.is_symlink()]
    return sorted((p for p in found if is_tape(str(p))), key=_order)


def unfinished(config: TapConfig, fingerprint: str) -> str | None:
    """Return the last run if it was killed before its first stored snapshot."""
    root = Path(config.dir)
    try:
        tapes = tapes_in(root)
    except OSError:
        return None
    if not tapes:
        return None
    try:
        manifest = read_manifest(tapes[-1])
    except ValueError as error:
        print(f"lumen: a new tape begins: {error}", file=sys.stderr)
        return None
    young = manifest.snapshots < _MIN_SNAPSHOTS and not manifest.ended and manifest.segments
    return tapes[-1].name if young and manifest.config == fingerprint else None


def _order(folder: Path) -> tuple[str, int]:
    start, _, number = folder.name.partition("-")
    return start, int(number) if number.isdecimal() else 0


def _convert(path: Path, segment: Segment, access: Access) -> None:
    """Convert a complete segment to Parquet; it stays plain after an error.

    The lines of the new file are compared with the digest of the old one before that is deleted.
    At each moment one of both is whole, and `segment_path` names one.
    """
    draft, converted = Path(f"{path}.tmp.parquet"), Path(f"{path}.parquet")
    try:
        from sources.columnar import columnar_writer  # an extra

        draft.unlink(missing_ok=True)
        with BufferedWriter(open_file(draft, _NEW, access)) as file:
            columnar_writer.write(file, _lines_of(path), "parquet", offset=True)
            file.flush()
            os.fsync(file.fileno())
        if digest_of(draft) != segment.sha256:
            raise ValueError("its lines are not those that this program writes")
        draft.replace(converted)
        sync_folder(path.parent)
        path.unlink()
    except (OSError, ValueError, ImportError) as error:
        draft.unlink(missing_ok=True)
        print(f"lumen: {path} stays unconverted: {error}", file=sys.stderr)


def _lines_of(path: Path) -> Iterator[tuple[DecodedRows, LineDetails]]:
    names, decoder = Names(""), Decoder(str(path))
    with closing(Recording(str(path), own=True)) as recording:
        while not recording.ended:
            names = names.rotated()
            for piece in recording.read():
                rows = decoder.decode(piece.data, piece.offset, names)
                yield rows, details_of(rows, piece.data, piece.offset)


def _pack(path: Path, segment: Segment, access: Access) -> None:
    """Pack a complete segment; it stays plain after an error."""
    draft, packed = Path(f"{path}.tmp"), Path(f"{path}.zst")
    try:
        draft.unlink(missing_ok=True)
        with (
            open_file(path, os.O_RDONLY) as plain,
            BufferedWriter(open_file(draft, _NEW, access)) as file,
        ):
            with zstd.ZstdFile(file, "w") as out:
                while data := plain.read(_PACK):
                    out.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(packed)
        path.unlink()
    except (OSError, zstd.ZstdError) as error:
        print(f"lumen: {path} stays unpacked: {error}", file=sys.stderr)
