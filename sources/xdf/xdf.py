"""An XDF file (LabRecorder, Lab Streaming Layer) as rows of a recording.

A stream is a source, each of its channels a channel. `ts` is the raw stamp. LabRecorder measures
the clock of each stream's host every few seconds, in both directions, and writes the readings:
host - source at a source time (`clock_offsets`). They are more accurate than one-way arrivals,
and the file has no arrivals. `rx` is therefore the raw stamp plus the offset by the readings of
the whole file; for a stream with a nominal rate the jitter of the stamps is removed too
(`dejitter`). These rows are no independent evidence (`stamped` is False). The readings are: each
is a stamped row of the channel `clock_offset` of its source. `drift` estimates the clock from
them if the configuration uses that channel; else their arrival is omitted, and they have no
effect. A stream without readings keeps its stamps, as if on the recorder's clock.

Rows are in the order of `rx`, those of a stream in the order of the file. `line` numbers samples
in that order. The host axis is the recorder's clock; its epoch is that of the file, usually the
start of the machine.

A file is decoded once in a process, into columns on disk (`spool`), for all readers.

State: 30 bytes a sample of the longest stream during loading; then pages. Cost: 0.1 us a number
and 1 us a sample to load, 0.2 us a number to read. Losses: damaged places (`archive`), invalid
stamps and numbers, implausible stamps (`wild_stamp`).
"""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from operators.errors import SourceError
from operators.events import READING_KEY
from sources.recordings.progress import Progress
from sources.recordings.recording import Mark
from sources.recordings.spool import Spool, pieces
from sources.rows.names import Names
from sources.rows.rows import DecodedRows
from sources.xdf.chunks import MAGIC
from sources.xdf.stream_columns import decode
from sources.xdf.streams import Placed, place
from sources.xdf.xdf_rows import Recorded

MAX_BYTES = 1 << 30
_PIECE = 65_536
_HEAD = 8
_MAX_KEPT = 16
"""Maximum number of decoded files kept in a process."""


class LoadStoppedError(SourceError, OSError):
    """A stop was requested while a file was loaded."""


_kept: OrderedDict[tuple[object, ...], Recorded] = OrderedDict()


def load(
    path: str, progress: bool = False, stopped: Callable[[], bool] = lambda: False
) -> Recorded:
    """Load a file; a file loaded before in this process is returned again.

    Parameters
    ----------
    path : str
    progress : bool
        Report the progress on standard error.
    stopped : callable
        Whether to end the load.

    Raises
    ------
    OSError
        The file cannot be opened, or the folder for temporary files is full.
    ValueError
        The file is too large.
    LoadStoppedError
        A stop was requested during the load.
    """
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        raise FileNotFoundError(f"recording not found: {path}") from None
    key = (path, status.st_ino, status.st_dev, status.st_size, status.st_mtime_ns)
    if key in _kept:
        _kept.move_to_end(key)
        return _kept[key]
    with Path(path).open("rb") as raw:
        packed = not path.lower().endswith(".xdf")
        file = _unpacked(path, raw, stopped) if packed else cast(BinaryIO, raw)
        with file:
            size = file.seek(0, os.SEEK_END)
            if size > MAX_BYTES:
                raise ValueError(
                    f"{path}: {size / 2**30:.1f} GiB, and no more than {MAX_BYTES >> 30} GiB of an"
                    " XDF file can be read: cut it, or record fewer streams into one file"
                )
            recorded = _decoded(path, file, size, progress, stopped)
    _kept[key] = recorded
    while len(_kept) > _MAX_KEPT:
        _kept.popitem(last=False)
    return recorded


def _decoded(
    path: str, file: BinaryIO, size: int, progress: bool, stopped: Callable[[], bool]
) -> Recorded:
    spool = Spool()
    # Decoding and `place` take about equal time: each is half of the progress.
    bar = Progress(2 * size, heading=f"{Path(path).name}: read") if progress else None
    read = samples = 0

    def shown(at: int, found: int) -> None:
        nonlocal read, samples
        if stopped():
            raise LoadStoppedError
        if bar:
            bar.show(at, found - samples, float("nan"))
        read, samples = at, found

    streams, damaged = decode(file, size, spool, shown)
    placed = place(streams, spool, lambda n: shown(size + size * n // max(samples, 1), samples))
    recorded = Recorded(path, placed, damaged)
    file.seek(0)
    recorded.head, recorded.size = file.read(_HEAD), size
    return recorded


def _unpacked(path: str, raw: Any, stopped: Callable[[], bool]) -> BinaryIO:
    """Return the content of a compressed file, as far as it is readable.

    Raises
    ------
    ValueError
        The file is no gzip archive, or too large.
    """
    out = cast(BinaryIO, tempfile.TemporaryFile(prefix="lumen-"))  # noqa: SIM115
    try:
        with gzip.GzipFile(fileobj=raw) as packed:
            while (data := packed.read1(1 << 20)) and out.tell() <= MAX_BYTES:
                out.write(data)
                if stopped():
                    raise LoadStoppedError
    except (EOFError, OSError, zlib.error) as error:
        if not out.tell():
            out.close()
            raise ValueError(f"{path}: no gzip archive can be read from it: {error}") from None
    return out


def why_not(path: str, recorded: Recorded, fewest: int) -> str | None:
    """Return the reason why a file has nothing to fuse; None if it has."""
    if numbers_of(recorded, fewest):
        return None
    if not recorded.size:
        return f"{path}: empty (0 bytes): the recorder wrote nothing to it"
    streams = [t for t in recorded.tracks if not t.stamped]
    if not streams and recorded.damaged:
        if not recorded.head.startswith(MAGIC):
            return (
                f"{path}: no XDF file: it begins with {recorded.head!r}, not with {MAGIC!r};"
                " give it the ending of its own format"
            )
        lost = sum(x.stop - x.start for x in recorded.damaged)
        return (
            f"{path}: damaged: {lost:,} bytes cannot be read, and no stream header is among the"
            " rest; copy it anew from the recorder"
        )
    if not streams:
        return f"{path}: holds no stream: choose streams in the recorder before it starts"
    texts = [t for t in streams if t.header and not t.header.size]
    if len(texts) == len(streams):
        count, named = sum(map(len, texts)), ", ".join(t.source for t in texts[:4])
        return (
            f"{path}: markers only ({count:,} texts of {named}): nothing to fuse;"
            " record a stream of numbers beside them, or give its file too"
        )
    most = max(len(t) for t in streams)
    why = f"; {recorded.remarks[0]}" if recorded.remarks else ""
    return f"{path}: no channel with more than {fewest} numbers ({most} at most){why}"


def numbers_of(recorded: Recorded, fewest: int) -> bool:
    """Whether any channel has more than `fewest` numbers."""
    counts = _counts(recorded)
    return any(
        n > fewest for channel, n in counts.items() if not channel.endswith(f":{READING_KEY}")
    )


class XdfRecording:
    """An XDF file, read from a mark on; the interface is that of `Recording`.

    Parameters
    ----------
    path : str
    follow : bool
        Not supported: an error if set.
    mark : Mark, optional
        Its offset is a line number.
    used : collection of str, optional
        Channels used by the configuration; None: all.
    progress : bool
        Report the progress of loading on standard error.
    stopped : callable
        Whether to end the load.

    Raises
    ------
    OSError, ValueError
        As of `load`; or the file is shorter than its mark.
    """

    before = 0
    idle = False

    def __init__(
        self,
        path: str,
        follow: bool = False,
        mark: Mark | None = None,
        used: Collection[str] | None = None,
        progress: bool = False,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        if follow:
            raise ValueError(f"{path}: an XDF file cannot be followed")
        self.path, self.follow = path, bool(follow)
        try:
            self._recorded = load(path, progress, stopped)
            is_partial = False
        except LoadStoppedError:
            # Nothing has been read: a resumed run begins at the same mark.
            self._recorded, is_partial = Recorded(path, Placed(), []), True
        readings = {f"{t.source}:{READING_KEY}" for t in self._recorded.tracks if t.stamped}
        self._unused = frozenset(readings - set(used) if used is not None else ())
        self.size = Path(path).stat().st_size
        self.at = mark.offset if mark else 0
        if self.at > len(self._recorded) and not is_partial:
            raise ValueError(f"{path}: shorter than when it was read ({self.at} samples)")
        self.ended = False

    def read(self) -> list[XdfRecording]:
        """Return itself while rows are left, to be read by `rows`."""
        self.ended = self.at >= len(self._recorded)
        return [] if self.ended else [self]

    def rows(self, names: Names) -> DecodedRows:
        """Return the next rows, and advance past them."""
        rows, self.at = self._recorded.rows(self.at, names, self._unused)
        return rows

    def finish(self) -> list[XdfRecording]:
        """Return nothing: only a followed file has pending lines."""
        return []

    def position(self) -> int:
        """Return the position in the file (bytes)."""
        return self.size * self.at // max(len(self._recorded), 1)

    def mark(self, line: int | None) -> Mark:
        """Return the mark of a line, or of the end of the read rows."""
        return Mark(self.at if line is None else line)

    def close(self) -> None:
        """Release the samples."""
        self._recorded = Recorded(self.path, Placed(), [])


def channels(path: str) -> Counter[str]:
    """Return the number of finite values of each channel."""
    return _counts(load(path))


def _counts(recorded: Recorded) -> Counter[str]:
    found = Counter[str]()
    for track in recorded.tracks:
        if track.header and not track.header.size:
            continue
        for s in pieces(len(track), _PIECE):
            values: Any = track.values.read(s.start, s.stop)
            finite = np.isfinite(values.reshape(-1, len(track.keys))).sum(axis=0)
            for key, n in zip(track.keys, finite.tolist(), strict=True):
                found[f"{track.source}:{key}"] += int(n)
    return found
