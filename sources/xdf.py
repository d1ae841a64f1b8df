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
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from operators.records import F64, I32, I64, Reason, Reject
from sources.chunks import MAGIC, Span
from sources.line import MAX_LINE
from sources.names import REJECT, Names
from sources.progress import Progress
from sources.recording import Mark
from sources.rows import Rows, no_notes
from sources.spool import Spool, pieces
from sources.streams import decode
from sources.tracks import READINGS, Placed, Track, place

MOST_BYTES = 1 << 30
_MOST_ROWS = 65_536
_LEAST_AHEAD = 1024
_SAMPLE = 256
_HEAD = 8
_MOST_KEPT = 16
"""Files that stay decoded in a process."""


class Recorded:
    """The rows of tracks, in the order of host time.

    Parameters
    ----------
    path : str
        How the file is called in rejects.
    placed : Placed
        Tracks and losses.
    damaged : list of Span
        Places of the file that could not be read.
    """

    def __init__(self, path: str, placed: Placed, damaged: list[Span]) -> None:
        self._path, self.tracks = path, placed.tracks
        self.remarks = [*(x.why for x in placed.lost), *placed.remarks]
        self._faults: list[tuple[str, Reason, str, bytes, int]] = [
            (x.source, x.reason, f"{path}:{x.source}[{x.first}]", x.why.encode(), x.events)
            for x in placed.lost
        ]
        self._faults += [
            (
                "?",
                "archive",
                f"{path}:{x.start}",
                b"%d bytes cannot be read" % (x.stop - x.start),
                1,
            )
            for x in damaged
        ]
        self.damaged, self.head, self.size = damaged, b"", 0
        self._pages, self._lines = _paged(self.tracks)
        self.samples = self._lines[-1]
        self._names: Names | None = None
        self._table: dict[int, I32] = {}
        self._page: tuple[int, I32, I64] | None = None

    def __len__(self) -> int:
        return self.samples + len(self._faults)

    def _ordered(self, k: int) -> tuple[I32, I64]:
        """Return track and place of each sample of a page."""
        if self._page is None or self._page[0] != k:
            begin, end = self._pages[k], self._pages[k + 1]
            some = np.flatnonzero(end > begin)
            due = [self.tracks[t].rx.read(int(begin[t]), int(end[t])) for t in some.tolist()]
            of = np.repeat(some, (end - begin)[some]).astype(np.int32)
            at = np.concatenate([np.arange(begin[t], end[t]) for t in some.tolist()])
            order = np.argsort(np.concatenate(due), kind="stable")
            self._page = k, of[order], at[order]
        return self._page[1], self._page[2]

    def rows(self, first: int, names: Names, unused: Collection[str] = ()) -> tuple[Rows, int]:
        """Return the rows from a line on, not too many, and the line after them.

        Channels of readings among the `unused` have no arrival.
        """
        if first >= self.samples:
            return self._lost(first, names), len(self)
        if names is not self._names:
            self._names, self._table = names, {}
        k = bisect_right(self._lines, first) - 1
        of, at = self._ordered(k)
        of, at = of[first - self._lines[k] :], at[first - self._lines[k] :]
        width = np.array([len(t.keys) for t in self.tracks], np.int64)[of]
        last = max(int(np.searchsorted(np.cumsum(width), _MOST_ROWS, "right")), 1)
        of, at, width = of[:last], at[:last], width[:last]
        which = np.repeat(np.arange(last), width)
        n = len(which)
        name, value = np.empty(n, np.int32), np.full(n, np.nan)
        ts, rx, stamped = np.empty(last), np.empty(last), np.zeros(last, bool)
        notes = None
        for t in np.unique(of).tolist():
            track, mine = self.tracks[t], np.flatnonzero(of == t)
            span = int(at[mine[0]]), int(at[mine[-1]]) + 1
            rows = mine if len(track.keys) == 1 and n == last else np.flatnonzero(of[which] == t)
            name[rows] = np.tile(self._numbers(t, names), len(mine))
            ts[mine], rx[mine] = track.ts.read(*span), track.rx.read(*span)
            stamped[mine] = track.stamped
            if track.stamped and f"{track.source}:{READINGS}" in unused:
                rx[mine] = np.nan
            values: Any = track.values.read(*span)
            if isinstance(values, list):
                notes = no_notes(n) if notes is None else notes
                notes[rows] = [x.decode("utf-8", "replace") for row in values for x in row]
            else:
                value[rows] = values.astype(np.float64).ravel()
        rows_ = Rows(
            names=names, name=name, ts=ts[which], rx=rx[which], value=value,
            stamped=stamped[which], seq=np.full(n, -1), line=first + which, notes=notes,
        )  # fmt: skip
        return self._judged(rows_), first + last

    def _numbers(self, track: int, names: Names) -> I32:
        """Return the numbers of a track's channels."""
        if track not in self._table:
            of = self.tracks[track]
            self._table[track] = np.array([names[None, of.source, k] for k in of.keys], np.int32)
        return self._table[track]

    def _judged(self, rows: Rows) -> Rows:
        """Make rejects of what cannot be used; a text is a marker, the empty one too."""
        notes = rows.notes
        bad = rows.name == REJECT
        if notes is None:
            bad |= ~np.isfinite(rows.value)
            texts = None
        else:
            texts = np.array([isinstance(x, str) for x in notes], bool)
            bad |= ~np.isfinite(rows.value) & ~texts
        long = [] if notes is None or texts is None else [
            i for i in np.flatnonzero(texts).tolist() if len(notes[i]) > MAX_LINE]  # fmt: skip
        bad[long] = True
        if not bad.any():
            return rows
        notes = no_notes(len(rows)) if notes is None else notes
        for i in np.flatnonzero(bad).tolist():
            reason: Reason = "too_long" if i in long else "value"
            source = rows.names.pairs[rows.name[i]][0] if rows.name[i] >= 0 else "?"
            said = notes[i] if isinstance(notes[i], str) else f"ts={rows.ts[i]} {rows.value[i]}"
            notes[i] = Reject(0, reason, source, f"{self._path}:{rows.line[i]}",
                              said[:_SAMPLE].encode()[:_SAMPLE])  # fmt: skip
        for column in (rows.ts, rows.rx, rows.value):
            column[bad] = np.nan
        rows.name[bad] = REJECT
        rows.stamped[bad] = False
        return replace(rows, notes=notes)

    def _lost(self, first: int, names: Names) -> Rows:
        """Return a reject for each loss and each damaged place, from a line on."""
        faults = self._faults[first - self.samples :]
        n = len(faults)
        notes, nan = no_notes(n), np.full(n, np.nan)
        for i, (source, reason, where, said, count) in enumerate(faults):
            notes[i] = Reject(0, reason, source, where, said[:_SAMPLE], count)
        return Rows(
            names=names, name=np.full(n, REJECT, np.int32), ts=nan, rx=nan, value=nan,
            stamped=np.zeros(n, np.bool_), seq=np.full(n, -1),
            line=first + np.arange(n), notes=notes,
        )  # fmt: skip


def _paged(tracks: list[Track]) -> tuple[list[I64], list[int]]:
    """Return where each page begins in each track, and its first line; both with their ends.

    A page ends where the first of the looked-ahead stretches of all tracks ends: all that comes
    before that, by host time and then by track, is in it.
    """
    size = np.array([len(t) for t in tracks], np.int64)
    at = np.zeros(len(tracks), np.int64)
    pages, lines = [at.copy()], [0]
    ahead = max(_MOST_ROWS // max(len(tracks), 1), _LEAST_AHEAD)
    held: dict[int, tuple[int, F64]] = {}
    while live := np.flatnonzero(at < size).tolist():
        for t in live:
            first, due = held.get(t, (0, np.empty(0)))
            if first + len(due) < min(at[t] + ahead, size[t]):
                first = int(at[t])
                held[t] = first, tracks[t].rx.read(first, first + 4 * ahead)
        fronts = []
        for t in live:
            first, due = held[t]
            stop = min(int(at[t]) + ahead, int(size[t])) - first
            fronts.append((float(due[stop - 1]), t))
        edge, limit = min(fronts)
        for t in live:
            first, due = held[t]
            stop = int(np.searchsorted(due, edge, "right" if t <= limit else "left"))
            at[t] = max(first + stop, int(at[t]))
        pages.append(at.copy())
        lines.append(int(at.sum()))
    return pages, lines


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
            if size > MOST_BYTES:
                raise ValueError(
                    f"{path}: {size / 2**30:.1f} GiB, and no more than {MOST_BYTES >> 30} GiB of an"
                    " XDF file can be read: cut it, or record fewer streams into one file"
                )
            recorded = _decoded(path, file, size, progress)
    _kept[key] = recorded
    while len(_kept) > _MOST_KEPT:
        _kept.popitem(last=False)
    return recorded


def _decoded(path: str, file: BinaryIO, size: int, progress: bool) -> Recorded:
    spool = Spool()
    # Placing takes about as long as decoding: each is half of the way.
    way = Progress(2 * size, heading=f"{Path(path).name}: read") if progress else None
    read = samples = 0

    def shown(at: int, found: int) -> None:
        nonlocal read, samples
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
            while (data := packed.read1(1 << 20)) and out.tell() <= MOST_BYTES:
                out.write(data)
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
        self._recorded = load(path, progress)
        self._unused = frozenset(
            f"{t.source}:{READINGS}" for t in self._recorded.tracks
            if used is not None and t.stamped and f"{t.source}:{READINGS}" not in used
        )  # fmt: skip
        self.size = Path(path).stat().st_size
        self.at = mark.offset if mark else 0
        if self.at > len(self._recorded):
            raise ValueError(f"{path}: shorter than when it was read ({self.at} samples)")
        self.ended = False

    def read(self) -> list[XdfRecording]:
        """Return itself, for `rows` to be taken from, as long as there are any."""
        self.ended = self.at >= len(self._recorded)
        return [] if self.ended else [self]

    def rows(self, names: Names) -> Rows:
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
        for s in pieces(len(track), _MOST_ROWS):
            values: Any = track.values.read(s.start, s.stop)
            finite = np.isfinite(values.reshape(-1, len(track.keys))).sum(axis=0)
            for key, n in zip(track.keys, finite.tolist(), strict=True):
                found[f"{track.source}:{key}"] += int(n)
    return found
