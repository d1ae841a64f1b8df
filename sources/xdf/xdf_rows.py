"""The rows of all streams of an XDF file, in the order of host time.

The pages of the merge are determined once, by look-ahead in all streams; a page is sorted when its
rows are read.

State: the start of each page in each stream, one page. Cost: 0.05 us a sample once, 0.1 us a
number. Losses: non-finite numbers, texts over 1 MiB, names beyond the limit, and the given ones.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from configs.inert import inert
from operators.events import READING_KEY, Reject
from operators.limits import MAX_LINE
from operators.types import F64, I32, I64, Reason
from sources.rows.names import REJECT, Names
from sources.rows.rows import DecodedRows, no_notes
from sources.xdf.chunks import Span
from sources.xdf.streams import Placed, XdfStream

_MAX_ROWS = 65_536
_MIN_AHEAD = 1024
_SAMPLE = 256


class Recorded:
    """The merged rows of streams, in the order of host time.

    Parameters
    ----------
    path : str
        Name of the file in rejects.
    placed : Placed
        Streams and losses.
    damaged : list of Span
        Unreadable places of the file.
    """

    def __init__(self, path: str, placed: Placed, damaged: list[Span]) -> None:
        self._path, self.tracks = inert(path), placed.tracks
        self.remarks = [*(x.why for x in placed.lost), *placed.remarks]
        self._faults: list[tuple[str, Reason, str, bytes, int]] = [
            (x.source, x.reason, f"{self._path}:{x.source}[{x.first}]", x.why.encode(), x.events)
            for x in placed.lost
        ]
        self._faults += [
            (
                "?",
                "archive",
                f"{self._path}:{x.start}",
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
        """Return stream and position of each sample of a page."""
        if self._page is None or self._page[0] != k:
            begin, end = self._pages[k], self._pages[k + 1]
            some = np.flatnonzero(end > begin)
            due = [self.tracks[t].rx.read(int(begin[t]), int(end[t])) for t in some.tolist()]
            of = np.repeat(some, (end - begin)[some]).astype(np.int32)
            at = np.concatenate([np.arange(begin[t], end[t]) for t in some.tolist()])
            order = np.argsort(np.concatenate(due), kind="stable")
            self._page = k, of[order], at[order]
        return self._page[1], self._page[2]

    def rows(
        self, first: int, names: Names, unused: Collection[str] = ()
    ) -> tuple[DecodedRows, int]:
        """Return a bounded number of rows from a line on, and the next line.

        Clock readings in `unused` have no arrival.
        """
        if first >= self.samples:
            return self._lost(first, names), len(self)
        if names is not self._names:
            self._names, self._table = names, {}
        k = bisect_right(self._lines, first) - 1
        of, at = self._ordered(k)
        of, at = of[first - self._lines[k] :], at[first - self._lines[k] :]
        width = np.array([len(t.keys) for t in self.tracks], np.int64)[of]
        last = max(int(np.searchsorted(np.cumsum(width), _MAX_ROWS, "right")), 1)
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
            if track.stamped and f"{track.source}:{READING_KEY}" in unused:
                rx[mine] = np.nan
            values: Any = track.values.read(*span)
            if isinstance(values, list):
                notes = no_notes(n) if notes is None else notes
                notes[rows] = [x.decode("utf-8", "replace") for row in values for x in row]
            else:
                value[rows] = values.astype(np.float64).ravel()
        rows_ = DecodedRows(
            names=names,
            name=name,
            ts=ts[which],
            rx=rx[which],
            value=value,
            stamped=stamped[which],
            seq=np.full(n, -1),
            line=first + which,
            notes=notes,
        )
        return self._judged(rows_), first + last

    def _numbers(self, track: int, names: Names) -> I32:
        """Return the name numbers of a stream's channels."""
        if track not in self._table:
            of = self.tracks[track]
            self._table[track] = np.array([names[None, of.source, k] for k in of.keys], np.int32)
        return self._table[track]

    def _judged(self, rows: DecodedRows) -> DecodedRows:
        """Replace unusable rows by rejects; a text is a marker, also an empty one."""
        notes = rows.notes
        bad = rows.name == REJECT
        if notes is None:
            bad |= ~np.isfinite(rows.value)
            texts = None
        else:
            texts = np.array([isinstance(x, str) for x in notes], bool)
            bad |= ~np.isfinite(rows.value) & ~texts
        long: list[int] = []
        if notes is not None and texts is not None:
            long = [i for i in np.flatnonzero(texts).tolist() if len(notes[i]) > MAX_LINE]
        bad[long] = True
        if not bad.any():
            return rows
        notes = no_notes(len(rows)) if notes is None else notes
        for i in np.flatnonzero(bad).tolist():
            reason: Reason = "too_long" if i in long else "value"
            source = rows.names.channels[rows.name[i]][0] if rows.name[i] >= 0 else "?"
            sample = notes[i] if isinstance(notes[i], str) else f"ts={rows.ts[i]} {rows.value[i]}"
            where = f"{self._path}:{rows.line[i]}"
            notes[i] = Reject(0, reason, source, where, sample[:_SAMPLE].encode()[:_SAMPLE])
        for column in (rows.ts, rows.rx, rows.value):
            column[bad] = np.nan
        rows.name[bad] = REJECT
        rows.stamped[bad] = False
        return replace(rows, notes=notes)

    def _lost(self, first: int, names: Names) -> DecodedRows:
        """Return a reject for each loss and damaged place, from a line on."""
        faults = self._faults[first - self.samples :]
        n = len(faults)
        notes, nan = no_notes(n), np.full(n, np.nan)
        for i, (source, reason, where, sample, count) in enumerate(faults):
            notes[i] = Reject(0, reason, source, where, sample[:_SAMPLE], count)
        return DecodedRows(
            names=names,
            name=np.full(n, REJECT, np.int32),
            ts=nan,
            rx=nan,
            value=nan,
            stamped=np.zeros(n, np.bool_),
            seq=np.full(n, -1),
            line=first + np.arange(n),
            notes=notes,
        )


def _paged(tracks: list[XdfStream]) -> tuple[list[I64], list[int]]:
    """Return the start of each page in each stream, and its first line; both with their ends.

    A page ends at the earliest end of the look-ahead stretches of all streams. It holds all
    samples before that, by host time and then by stream.
    """
    size = np.array([len(t) for t in tracks], np.int64)
    at = np.zeros(len(tracks), np.int64)
    pages, lines = [at.copy()], [0]
    ahead = max(_MAX_ROWS // max(len(tracks), 1), _MIN_AHEAD)
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
