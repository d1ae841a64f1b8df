"""An XDF file (LabRecorder, Lab Streaming Layer) as rows of a recording.

A stream is a source, each of its channels a channel. `ts` is the raw stamp. LabRecorder asks each
stream's host for its clock every few seconds, to and fro, and writes the answers down: readings
of host - source at a source time (`two_way`). What has been read so of a clock says more than any
one-way arrival could, and the file has no arrivals: `rx` is the raw stamp plus the offset that the
readings of the whole file give it; of a stream with a nominal rate the jitter of the stamps
themselves is taken out too (`even`). These rows bear no evidence of their own (`stamped` is
False). The readings do: each is a row of the channel `clock_offset` of its source, stamped, from
which `drift` works out what it reports of the clock, where the configuration uses that channel.
A stream without readings keeps its stamps: its clock is taken to be the recorder's.

Rows come in the order of `rx`. `line` numbers samples in that order. The host axis is the
recorder's clock; its epoch is that of the file, as a rule the start of the machine.

pyxdf reads a file whole, so that one of more than `MOST_BYTES` is refused.

State: the file's samples as they stand there, and 24 bytes a sample. Cost: pyxdf's, about 3 us a
sample, and 0.1 us a number. Losses: damaged places (`archive`), stamps and numbers that are none.
"""

from __future__ import annotations

import importlib.util
import io
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from operators.records import F64, Reason, Reject
from sources.chunks import Span, Whole, survey
from sources.line import MAX_LINE
from sources.names import REJECT, Names
from sources.recording import Mark
from sources.rows import Rows, no_notes
from sources.tracks import Track, is_stamp, tracks

MOST_BYTES = 1 << 30
_MOST_ROWS = 65_536
_SAMPLE = 256


class Recorded:
    """The rows of tracks, in the order of host time.

    Parameters
    ----------
    path : str
        How the file is called in rejects.
    tracks : list of Track
    damaged : list of Span
        Places of the file that could not be read.
    """

    def __init__(self, path: str, tracks: list[Track], damaged: list[Span]) -> None:
        self._path, self.tracks, self._damaged = path, tracks, damaged
        size = [len(t.ts) for t in tracks]
        of = np.repeat(np.arange(len(tracks), dtype=np.int32), size)
        at = np.concatenate([np.arange(n) for n in size]) if size else np.empty(0, np.int64)
        due = np.concatenate([_filled(t.rx) for t in tracks]) if size else np.empty(0)
        order = np.argsort(due, kind="stable")
        self._of, self._at = of[order], at[order]
        self._width = np.array([len(t.keys) for t in tracks], np.int64)
        self._names: Names | None = None
        self._table: list[Any] = []
        self.samples = len(order)

    def __len__(self) -> int:
        return self.samples + len(self._damaged)

    def rows(self, first: int, names: Names) -> tuple[Rows, int]:
        """Return the rows from a line on, not too many, and the line after them."""
        if first >= self.samples:
            return self._faults(first, names), len(self)
        if names is not self._names:
            self._names = names
            self._table = [np.array([names[None, t.source, k] for k in t.keys], np.int32)
                           for t in self.tracks]  # fmt: skip
        of = self._of[first : first + _MOST_ROWS]
        ends = np.cumsum(self._width[of])
        last = max(int(np.searchsorted(ends, _MOST_ROWS, "right")), 1)
        of, at = of[:last], self._at[first : first + last]
        width = self._width[of]
        which = np.repeat(np.arange(last), width)
        n = len(which)
        name, value = np.empty(n, np.int32), np.empty(n)
        ts, rx, stamped = np.empty(last), np.empty(last), np.zeros(last, bool)
        notes = no_notes(n)
        for k in np.unique(of).tolist():
            track, mine = self.tracks[k], of == k
            mask = mine[which]
            name[mask] = np.tile(self._table[k], int(mine.sum()))
            ts[mine], rx[mine] = track.ts[at[mine]], track.rx[at[mine]]
            stamped[mine] = track.stamped
            if isinstance(track.values, list):
                notes[mask] = [text for i in at[mine].tolist() for text in track.values[i]]
                value[mask] = np.nan
            else:
                value[mask] = track.values[at[mine]].astype(np.float64).ravel()
        rows = Rows(
            names=names, name=name, ts=ts[which], rx=rx[which], value=value,
            stamped=stamped[which], seq=np.full(n, -1), line=first + which, notes=notes,
        )  # fmt: skip
        return self._judged(rows), first + last

    def _judged(self, rows: Rows) -> Rows:
        """Make rejects of what cannot be used; leave notes away where there are none."""
        notes = rows.notes
        assert notes is not None
        text = np.array([isinstance(x, str) for x in notes], bool) if notes.any() else None
        stamp = ~(is_stamp(rows.ts) & is_stamp(rows.rx))
        number = ~np.isfinite(rows.value)
        if text is not None:
            number &= ~text
        bad = stamp | number | (rows.name == REJECT)
        long = [] if text is None else [i for i in np.flatnonzero(text).tolist()
                                        if len(notes[i]) > MAX_LINE]  # fmt: skip
        bad[long] = True
        for i in np.flatnonzero(bad).tolist():
            reason: Reason = "stamp" if stamp[i] else "too_long" if i in long else "value"
            source = rows.names.pairs[rows.name[i]][0] if rows.name[i] >= 0 else "?"
            said = notes[i] if isinstance(notes[i], str) else f"ts={rows.ts[i]} {rows.value[i]}"
            notes[i] = Reject(0, reason, source, f"{self._path}:{rows.line[i]}",
                              said[:_SAMPLE].encode()[:_SAMPLE])  # fmt: skip
        for column in (rows.ts, rows.rx, rows.value):
            column[bad] = np.nan
        rows.name[bad] = REJECT
        rows.stamped[bad] = False
        return replace(rows, notes=None) if text is None and not bad.any() else rows

    def _faults(self, first: int, names: Names) -> Rows:
        """Return a reject for each damaged place, from a line on."""
        spans = self._damaged[first - self.samples :]
        n = len(spans)
        notes, nan = no_notes(n), np.full(n, np.nan)
        for i, span in enumerate(spans):
            said = f"{span.stop - span.start} bytes cannot be read".encode()
            notes[i] = Reject(0, "archive", "?", f"{self._path}:{span.start}", said)
        return Rows(
            names=names, name=np.full(n, REJECT, np.int32), ts=nan, rx=nan, value=nan,
            stamped=np.zeros(n, np.bool_), seq=np.full(n, -1),
            line=first + np.arange(n), notes=notes,
        )  # fmt: skip


def _filled(stamps: F64) -> F64:
    """Return stamps with those that are none as the one before, the first as early as can be."""
    fine = is_stamp(stamps)
    last = np.maximum.accumulate(np.where(fine, np.arange(len(stamps)), -1))
    return np.where(last >= 0, stamps[np.maximum(last, 0)], -math.inf)


def load(path: str) -> Recorded:
    """Read a file.

    Raises
    ------
    OSError
        It cannot be opened.
    ValueError
        It is packed or too large, or pyxdf is not installed.
    """
    if not path.lower().endswith(".xdf"):
        raise ValueError(f"{path}: a packed XDF file cannot be read; unpack it first")
    if importlib.util.find_spec("pyxdf") is None:
        raise ValueError(f"{path}: XDF files need pyxdf: pip install 'lumen-fusion[xdf]'")
    try:
        size = Path(path).stat().st_size
    except FileNotFoundError:
        raise FileNotFoundError(f"recording not found: {path}") from None
    if size > MOST_BYTES:
        raise ValueError(f"{path}: {size / 2**30:.1f} GiB, and no more than"
                         f" {MOST_BYTES >> 30} GiB of an XDF file can be read")  # fmt: skip
    with Path(path).open("rb") as file:
        good, bad = survey(file, size)
    try:
        streams = _streams(path, good)
    except Exception:  # of pyxdf, on what no one has foreseen: bad data never stops the flow
        return Recorded(path, [], [Span(0, size)])
    return Recorded(path, tracks(streams), bad)


def _streams(path: str, good: list[Span]) -> list[dict[str, Any]]:
    """Return what pyxdf makes of the good parts of a file."""
    import pyxdf

    if not good:
        return []
    with io.BufferedReader(Whole(path, good), 1 << 16) as file:
        streams, _ = pyxdf.load_xdf(
            file, synchronize_clocks=False, dejitter_timestamps=False, verbose=False
        )
    return list(streams)


class XdfRecording:
    """An XDF file read from a mark on, as `Recording` reads lines.

    Parameters
    ----------
    path : str
    follow : bool
        Not possible.
    mark : Mark, optional
        Its offset is a line.

    Raises
    ------
    OSError, ValueError
        As `load`; or the file is shorter than the mark says.
    """

    before = 0
    idle = False

    def __init__(self, path: str, follow: bool = False, mark: Mark | None = None) -> None:
        if follow:
            raise ValueError(f"{path}: an XDF file cannot be followed")
        self.path, self.follow = path, bool(follow)
        self._recorded = load(path)
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
        """Return what comes next, and go on behind it."""
        rows, self.at = self._recorded.rows(self.at, names)
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
        self._recorded = Recorded(self.path, [], [])


def channels(path: str) -> Counter[str]:
    """Return how many numbers each channel has."""
    recorded, found = load(path), Counter[str]()
    for track in recorded.tracks:
        if not isinstance(track.values, list):
            for k, key in enumerate(track.keys):
                numbers = int(np.isfinite(track.values[:, k].astype(np.float64)).sum())
                found[f"{track.source}:{key}"] += numbers
    return found
