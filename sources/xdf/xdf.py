"""An XDF file (LabRecorder, Lab Streaming Layer) as rows of a recording.

A stream is a source, each of its channels a channel. `ts` is the raw stamp. LabRecorder asks each
stream's host for its clock every few seconds, to and fro, and writes the answers down: readings
of host - source at a source time (`two_way`). They state more of a clock than any one-way arrival
could, and the file has no arrivals: `rx` is the raw stamp plus the offset that the readings of the
whole file give it; of a stream with a nominal rate the jitter of the stamps themselves is taken
out too (`even`). These rows bear no evidence of their own (`stamped` is False). The readings do:
each is a row of the channel `clock_offset` of its source, stamped, from which `drift` works out
its report of the clock, where the configuration uses that channel; else its arrival is left
away, and it moves nothing. A stream without readings keeps its stamps: its clock is taken to be
the recorder's.

Rows come in the order of `rx`, those of a stream in the order of the file. `line` numbers samples
in that order. The host axis is the recorder's clock; its epoch is that of the file, as a rule the
start of the machine.

A file is decoded once a process, into columns on disk (`spool`), for all that ask for it.

State: 30 bytes a sample of the longest stream while it is placed; then pages. Cost: 0.1 us a
number and 1 us a sample to load, 0.2 us a number to read. Losses: damaged places (`archive`),
stamps and numbers that are none, stamps that cannot be believed (`wild_stamp`).
"""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections import Counter, OrderedDict
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from operators.errors import SourceError
from sources import shutdown as stop
from sources.recordings.progress import Progress
from sources.recordings.recording import Mark
from sources.recordings.spool import Spool, pieces
from sources.rows.names import Names
from sources.rows.rows import DecodedRows
from sources.xdf.chunks import MAGIC
from sources.xdf.stream_columns import decode
from sources.xdf.streams import READINGS, Placed, place
from sources.xdf.xdf_rows import Recorded

MAX_BYTES = 1 << 30
_PIECE = 65_536
_HEAD = 8
_MAX_KEPT = 16
"""Files that stay decoded in a process."""


class LoadStoppedError(SourceError, OSError):
    """A stop was requested while a file was loaded."""


_kept: OrderedDict[tuple[object, ...], Recorded] = OrderedDict()


def load(path: str, progress: bool = False) -> Recorded:
    """Read a file, or return it as it was read before in this process.

    Parameters
    ----------
    path : str
    progress : bool
        Show on standard error how far it is.

    Raises
    ------
    OSError
        It cannot be opened, or the folder for temporary files is full.
    ValueError
        It is too large.
    LoadStoppedError
        A stop was requested meanwhile.
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
        file = _unpacked(path, raw) if packed else cast(BinaryIO, raw)
        with file:
            size = file.seek(0, os.SEEK_END)
            if size > MAX_BYTES:
                raise ValueError(
                    f"{path}: {size / 2**30:.1f} GiB, and no more than {MAX_BYTES >> 30} GiB of an"
                    " XDF file can be read: cut it, or record fewer streams into one file"
                )
            recorded = _decoded(path, file, size, progress)
    _kept[key] = recorded
    while len(_kept) > _MAX_KEPT:
        _kept.popitem(last=False)
    return recorded


def _decoded(path: str, file: BinaryIO, size: int, progress: bool) -> Recorded:
    spool = Spool()
    # Placing takes about as long as decoding: each is half of the way.
    way = Progress(2 * size, heading=f"{Path(path).name}: read") if progress else None
    read = samples = 0

    def shown(at: int, found: int) -> None:
        nonlocal read, samples
        if stop.requested():
            raise LoadStoppedError
        if way:
            way.show(at, found - samples, float("nan"))
        read, samples = at, found

    streams, damaged = decode(file, size, spool, shown)
    placed = place(streams, spool, lambda n: shown(size + size * n // max(samples, 1), samples))
    recorded = Recorded(path, placed, damaged)
    file.seek(0)
    recorded.head, recorded.size = file.read(_HEAD), size
    return recorded


def _unpacked(path: str, raw: Any) -> BinaryIO:
    """Return a packed file's content, as far as it can be had.

    Raises
    ------
    ValueError
        It is no gzip archive, or too large.
    """
    out = cast(BinaryIO, tempfile.TemporaryFile(prefix="lumen-"))  # noqa: SIM115
    try:
        with gzip.GzipFile(fileobj=raw) as packed:
            while (data := packed.read1(1 << 20)) and out.tell() <= MAX_BYTES:
                out.write(data)
                if stop.requested():
                    raise LoadStoppedError
    except (EOFError, OSError, zlib.error) as error:
        if not out.tell():
            out.close()
            raise ValueError(f"{path}: no gzip archive can be read from it: {error}") from None
    return out


def why_not(path: str, recorded: Recorded, fewest: int) -> str | None:
    """Return why nothing can be fused of a file, None where something can."""
    if numbers_of(recorded, fewest):
        return None
    if not recorded.size:
        return f"{path}: empty (0 bytes): the recorder wrote nothing to it"
    streams = [t for t in recorded.tracks if not t.stamped]
    if not streams and recorded.damaged:
        if not recorded.head.startswith(MAGIC):
            return (f"{path}: no XDF file: it begins with {recorded.head!r}, not with {MAGIC!r};"
                    " give it the ending of its own format")  # fmt: skip
        lost = sum(x.stop - x.start for x in recorded.damaged)
        return (f"{path}: damaged: {lost:,} bytes cannot be read, and no stream header is among the"
                " rest; copy it anew from the recorder")  # fmt: skip
    if not streams:
        return f"{path}: holds no stream: choose streams in the recorder before it starts"
    texts = [t for t in streams if t.header and not t.header.size]
    if len(texts) == len(streams):
        count, named = sum(map(len, texts)), ", ".join(t.source for t in texts[:4])
        return (f"{path}: markers only ({count:,} texts of {named}): nothing to fuse;"
                " record a stream of numbers beside them, or give its file too")  # fmt: skip
    most = max(len(t) for t in streams)
    why = f"; {recorded.remarks[0]}" if recorded.remarks else ""
    return f"{path}: no channel with more than {fewest} numbers ({most} at most){why}"


def numbers_of(recorded: Recorded, fewest: int) -> bool:
    """Whether any channel has more numbers than that."""
    counts = _counts(recorded)
    return any(n > fewest for channel, n in counts.items() if not channel.endswith(f":{READINGS}"))


class XdfRecording:
    """An XDF file read from a mark on, as `Recording` reads lines.

    Parameters
    ----------
    path : str
    follow : bool
        Not possible.
    mark : Mark, optional
        Its offset is a line.
    used : collection of str, optional
        Channels that the configuration uses; None: all.
    progress : bool
        Show on standard error how far loading is.

    Raises
    ------
    OSError, ValueError
        As `load`; or the file is shorter than the mark says.
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
    ) -> None:
        if follow:
            raise ValueError(f"{path}: an XDF file cannot be followed")
        self.path, self.follow = path, bool(follow)
        try:
            self._recorded = load(path, progress)
            stopped = False
        except LoadStoppedError:
            # Nothing has been read, and a resumed run begins where this one would have.
            self._recorded, stopped = Recorded(path, Placed(), []), True
        self._unused = frozenset(
            f"{t.source}:{READINGS}" for t in self._recorded.tracks
            if used is not None and t.stamped and f"{t.source}:{READINGS}" not in used
        )  # fmt: skip
        self.size = Path(path).stat().st_size
        self.at = mark.offset if mark else 0
        if self.at > len(self._recorded) and not stopped:
            raise ValueError(f"{path}: shorter than when it was read ({self.at} samples)")
        self.ended = False

    def read(self) -> list[XdfRecording]:
        """Return itself, for `rows` to be taken from, as long as there are any."""
        self.ended = self.at >= len(self._recorded)
        return [] if self.ended else [self]

    def rows(self, names: Names) -> DecodedRows:
        """Return the next rows, and go on behind them."""
        rows, self.at = self._recorded.rows(self.at, names, self._unused)
        return rows

    def finish(self) -> list[XdfRecording]:
        """Return nothing: only a followed file is ended from outside."""
        return []

    def position(self) -> int:
        """Return how much of the file has been read (bytes)."""
        return self.size * self.at // max(len(self._recorded), 1)

    def mark(self, line: int | None) -> Mark:
        """Return where to go on: at a line, or behind all that was read."""
        return Mark(self.at if line is None else line)

    def close(self) -> None:
        """Let the samples go."""
        self._recorded = Recorded(self.path, Placed(), [])


def channels(path: str) -> Counter[str]:
    """Return how many numbers each channel has."""
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
