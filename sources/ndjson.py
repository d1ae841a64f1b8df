"""Decoder of JSON lines into columns; a bad line costs that line only.

Pure: the input is bytes and their offset in the file. Three readers follow one another, each for
the lines that the one before cannot read. They agree on every line that two of them can read.
Lines of a known layout are read as columns (`rows/columns.py`), the others as one block by the
typed parser. Lines that it refuses are read one by one, part by part, to find the reason
(`rows/one_line.py`). Nothing raises on data.

The block parser reads values, not lines: it accepts two objects on a line, and one torn over two
lines. Lines that begin with `{` and end with `}` cannot be torn in a way that still parses. If
there are as many values as lines, no line holds two.

Cost: about 0.3 us an event with a known layout, 0.1 us compiled, 0.5 us else; 0.1 us an element of
an array of numbers (`rows/number_arrays.py`).
State: at most 24 layouts, 192 compiled.
Losses: none; an unusable line is a reject in its place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from msgspec.json import Decoder as JsonDecoder

from configs.inert import inert
from operators import native
from operators.events import CommandRow, Event, Reject, StreamStatus
from operators.limits import MAX_LINE, MAX_SAMPLE, MAX_STAMP_S
from operators.types import F64, I32, I64, Bool, Reason
from sources.rows.columns import PADDING, SLOTS, Layout, Text, learn, read_numbers, survey
from sources.rows.names import REJECT, Names
from sources.rows.number_arrays import ArrayReader
from sources.rows.one_line import (
    BROKEN,
    MAX_SHALLOW,
    NAN,
    Row,
    is_sound,
    read_line,
)
from sources.rows.rows import DecodedRows, no_notes

_CHUNK = 512 << 10
"""Bytes decoded at once: their columns stay in the cache of the processor."""
_MIN_COUNT = 48
"""Lines of a chunk below which columns are slower than the parser."""
_MAX_LAYOUTS, _MAX_COMPILED = 24, 192
"""Layouts that are tried; the compiled form tries one in a few nanoseconds."""
_MAX_POOR_CHUNKS = 6
_PAUSE_CHUNKS = 64
"""After so many chunks of mostly unknown layouts, layouts are not tried for so many."""

_PARSER = JsonDecoder(Event)
_owner = attrgetter("rig", "source", "key")


class _Lines(NamedTuple):
    """Offsets of the first byte of each line in its chunk, and of its newline."""

    start: I64
    stop: I64


@dataclass(slots=True)
class _Table:
    """One row a line, filled by the two fast readers."""

    name: I32
    ts: F64
    value: F64
    rx: F64
    seq: I64
    own_time: Bool

    @classmethod
    def empty(cls, n: int) -> _Table:
        """Return rows without values."""
        return cls(
            name=np.full(n, REJECT, np.int32),
            ts=np.full(n, NAN),
            value=np.full(n, NAN),
            rx=np.full(n, NAN),
            seq=_unnumbered(n),
            own_time=np.ones(n, np.bool_),
        )

    def clear(self, lines: Bool) -> None:
        self.name[lines] = REJECT
        self.ts[lines] = self.value[lines] = self.rx[lines] = NAN
        self.seq[lines] = -1
        self.own_time[lines] = True


class Decoder:
    """Decodes the lines of one file; its state affects the speed only.

    Parameters
    ----------
    file : str
        Name of the file in rejects.
    per_second : float
        Units of the source's stamps in a second.
    """

    torn: Reason = "json"
    """Reason of the reject of an incomplete last line."""

    def __init__(self, file: str, per_second: float = 1.0) -> None:
        self.file = inert(file)
        self._per_second = per_second
        self._layouts: list[Layout] = []
        self._most = _MAX_LAYOUTS if native.kernels is None else _MAX_COMPILED
        self._poor = 0
        self._pause = 0

    def decode(self, block: bytes, base: int, names: Names) -> DecodedRows:
        """Decode whole lines.

        Parameters
        ----------
        block : bytes
            Ends with a newline, except at the end of a file.
        base : int
            Byte offset of the block in the file.
        names : Names
            Numbers the channels; new ones are entered.
        """
        if base == 0 and block.startswith(b"\xef\xbb\xbf"):
            block = b"   " + block[3:]
        if not block.endswith(b"\n"):
            block += b"\n"
        size = -(-len(block) // -(-len(block) // _CHUNK))  # even parts of at most a chunk
        parts, i = [], 0
        while i < len(block):
            j = block.find(b"\n", min(i + size, len(block)) - 1) + 1
            parts.append(self._chunk(block[i:j], base + i, names))
            i = j
        return DecodedRows.join(parts)

    def reject(self, row: Row, offset: int, line: bytes) -> Reject:
        """Return the reject of a line, or of a part of one."""
        assert row.reason is not None
        where = f"{self.file}:{offset}"
        return Reject(0, row.reason, row.source, where, line[:MAX_SAMPLE], row.events)

    def _chunk(self, chunk: bytes, base: int, names: Names) -> DecodedRows:
        if chunk.isspace():
            chunk = b"\n"
        if native.kernels is not None and self._pause == 0 and self._layouts:
            lines, table = self._fit_compiled(native.kernels, chunk, names)
            todo = np.flatnonzero(table.name == REJECT)
        else:
            text = survey(chunk)
            lines = _Lines(text.start - PADDING, text.stop - PADDING)
            table = _Table.empty(len(lines.start))
            todo = np.arange(len(lines.start))
            if len(todo) >= _MIN_COUNT and self._pause == 0 and self._layouts:
                todo = self._fit(text, table, names)
        if len(todo):
            self._parse(chunk, lines, todo, table, names)
            if len(lines.start) >= _MIN_COUNT:
                self._adapt(chunk, lines, todo, table)
        if self._per_second != 1:
            np.divide(table.ts, self._per_second, out=table.ts, where=table.own_time)
        fine = np.abs(table.ts) <= MAX_STAMP_S  # False for NaN
        fine &= ~(np.abs(table.rx) > MAX_STAMP_S)
        fine &= table.name != REJECT
        fine &= lines.stop - lines.start <= MAX_LINE
        if not table.own_time.all():
            np.copyto(table.rx, table.ts, where=~table.own_time & np.isnan(table.rx))
            table.ts[~table.own_time] = NAN
        stamped = ~(np.isnan(table.rx) | np.isnan(table.ts))
        rows = DecodedRows(
            names=names,
            name=table.name,
            ts=table.ts,
            rx=table.rx,
            value=table.value,
            stamped=stamped,
            seq=table.seq,
            line=lines.start + base,
        )
        if not fine.all():
            rows = self._mend(chunk, rows, np.flatnonzero(~fine), lines)
        np.copyto(rows.rx, rows.ts, where=np.isnan(rows.rx))
        return rows

    def _fit(self, text: Text, table: _Table, names: Names) -> I64:
        """Read the lines of known layouts; return the others."""
        todo = np.arange(len(text.start))
        good = np.ones(len(todo), np.bool_)
        hits = []
        found: list[list[tuple[I64, I64]]] = [[] for _ in SLOTS]
        for layout in self._layouts:
            lines, spans = layout.fit(text, todo)
            hits.append(len(lines))
            if not len(lines):
                continue
            table.name[lines] = names[layout.owner]
            table.own_time[lines] = layout.own_time
            for slot, span in zip(layout.slots, spans, strict=True):
                if slot < 0:
                    good[lines] &= read_numbers(text, span)[1]
                else:
                    found[slot].append((lines, span))
            todo = todo[table.name[todo] == REJECT]
            if not len(todo):
                break
        for column, parts in zip((table.ts, table.value, table.rx, table.seq), found, strict=True):
            if parts:
                lines = np.concatenate([x for x, _ in parts])
                numbers, fine = read_numbers(text, np.concatenate([x for _, x in parts], axis=1))
                if not fine.all():
                    good[lines[~fine]] = False
                    lines, numbers = lines[fine], numbers[fine]
                column[lines] = numbers
        if not good.all():
            table.clear(~good)
        hits += [0] * (len(self._layouts) - len(hits))
        self._sort(hits)
        return np.flatnonzero(table.name == REJECT)

    def _fit_compiled(
        self, kernels: native.Kernels, chunk: bytes, names: Names
    ) -> tuple[_Lines, _Table]:
        """Find the lines, and read those of known layouts as `_fit` does, by the extension."""
        room = chunk.count(b"\n")
        start, stop = np.empty(room, np.int64), np.empty(room, np.int64)
        which, columns = np.empty(room, np.int32), np.full((len(SLOTS), room), NAN)
        layouts = tuple(layout.text for layout in self._layouts)
        n = kernels.fit(chunk, layouts, start, stop, which, columns)
        which, (ts, value, rx, seq) = which[:n], columns[:, :n]
        hits = np.bincount(which + 1, minlength=len(layouts) + 1)[1:].tolist()
        names_of = (
            names[x.owner] if k else REJECT for x, k in zip(self._layouts, hits, strict=True)
        )
        # The last entry, of index -1, is that of lines without a layout.
        name = np.array([*names_of, REJECT], np.int32)
        own_time = np.array([*(x.own_time for x in self._layouts), True])
        numbered = any(SLOTS.index("seq") in x.slots for x in self._layouts)
        table = _Table(
            name=name[which],
            ts=ts,
            value=value,
            rx=rx,
            seq=np.where(np.isnan(seq), -1, seq).astype(np.int64) if numbered else _unnumbered(n),
            own_time=own_time[which],
        )
        self._sort(hits)
        return _Lines(start[:n], stop[:n]), table

    def _sort(self, hits: list[int]) -> None:
        """Sort the layouts, most lines first."""
        order = sorted(range(len(hits)), key=lambda i: -hits[i])
        self._layouts = [self._layouts[i] for i in order]

    def _parse(self, chunk: bytes, text: _Lines, todo: I64, table: _Table, names: Names) -> None:
        """Read lines by the typed parser; the lines that it refuses stay rejects."""
        at = todo[_could_be_events(chunk, text, todo)]
        every = len(at) == chunk.count(b"\n")
        lines = [] if every else _cut(chunk, text, at)
        try:
            events = _PARSER.decode_lines(chunk if every else b"\n".join(lines))
        except BROKEN:
            events = []
        if len(events) != len(at):
            read = [_try(line) for line in (_cut(chunk, text, at) if every else lines)]
            at = at[[event is not None for event in read]]
            events = [event for event in read if event is not None]
        n = len(events)
        if not n:
            return
        table.name[at] = np.fromiter(map(names.__getitem__, map(_owner, events)), np.int32, n)
        table.ts[at] = [e.ts for e in events]
        table.value[at] = [e.value for e in events]
        metas = [e.meta for e in events]
        if metas.count(None) < n:
            table.rx[at] = np.array([m and m.rx for m in metas], np.float64)
            table.own_time[at] = [m is None or m.own_time is not False for m in metas]
            seqs = [-1 if m is None or m.seq is None else m.seq for m in metas]
            try:
                table.seq[at] = seqs
            except OverflowError:
                fits = [-(2**63) <= s < 2**63 for s in seqs]
                table.name[at[~np.array(fits)]] = REJECT
                table.seq[at] = [s if fit else -1 for s, fit in zip(seqs, fits, strict=True)]

    def _adapt(self, chunk: bytes, text: _Lines, todo: I64, table: _Table) -> None:
        """Learn the layouts of parsed lines, or pause after too many unknown ones."""
        if self._pause:
            self._pause -= 1
            return
        n = len(text.start)
        self._poor = self._poor + 1 if len(todo) > n / 2 else 0
        if self._poor > _MAX_POOR_CHUNKS:
            self._poor, self._pause, self._layouts = 0, _PAUSE_CHUNKS, []
            return
        parsed = todo[table.name[todo] != REJECT]
        if len(parsed) < _MIN_COUNT // 2:
            return
        known = {(x.pieces, x.points) for x in self._layouts}
        _, first = np.unique(table.name[parsed], return_index=True)
        for line in _cut(chunk, text, parsed[first[: self._most]]):
            layout = learn(line, _PARSER)
            if layout and (layout.pieces, layout.points) not in known:
                self._layouts = [layout, *self._layouts[: self._most - 1]]

    def _mend(self, chunk: bytes, rows: DecodedRows, bad: I64, text: _Lines) -> DecodedRows:
        """Read the bad lines of a chunk one by one, and replace their rows."""
        counts = np.ones(len(rows), np.int64)
        odd: list[Row] = []
        notes: list[str | Reject | StreamStatus | CommandRow | None] = []
        arrays, is_array = ArrayReader(rows.names, self._per_second), np.zeros(len(rows), np.bool_)
        lines = _cut(chunk, text, bad)
        for i, offset, line in zip(bad.tolist(), rows.line[bad].tolist(), lines, strict=True):
            if arrays.read(line):
                is_array[i] = True
                continue
            read = read_line(line, rows.names, self._per_second)
            counts[i] = len(read)
            odd += read
            notes += [
                row.note or (self.reject(row, offset, line) if row.reason else row.text)
                for row in read
            ]
        found = arrays.rows()
        if found is not None:
            counts[is_array] = found.counts
        which = np.repeat(np.arange(len(rows)), counts)
        mended = rows.take(which)
        if found is not None:
            at = np.flatnonzero(is_array[which])
            for name in ("name", "ts", "value", "rx", "seq"):
                getattr(mended, name)[at] = getattr(found, name)
            mended.stamped[at] = ~(np.isnan(found.rx) | np.isnan(found.ts))
        is_odd = np.zeros(len(rows), np.bool_)
        is_odd[bad] = ~is_array[bad]
        at = np.flatnonzero(is_odd[which])
        if not len(at):
            return mended
        mended.name[at] = [row.name for row in odd]
        mended.ts[at] = [row.ts for row in odd]
        mended.value[at] = [row.value for row in odd]
        mended.rx[at] = [row.rx for row in odd]
        mended.seq[at] = [row.seq for row in odd]
        mended.stamped[at] = ~(np.isnan(mended.rx[at]) | np.isnan(mended.ts[at]))
        if not any(note is not None for note in notes):
            return mended
        every = no_notes(len(mended))
        for place, note in zip(at.tolist(), notes, strict=True):
            every[place] = note
        return replace(mended, notes=every)


def _unnumbered(n: int) -> I64:
    return np.full(n, -1, np.int64)


def _cut(chunk: bytes, text: _Lines, lines: I64) -> list[bytes]:
    """Return lines of a chunk without their newlines."""
    starts, stops = text.start[lines].tolist(), text.stop[lines].tolist()
    return [chunk[a:b] for a, b in zip(starts, stops, strict=True)]


def _could_be_events(chunk: bytes, text: _Lines, lines: I64) -> Bool:
    """Whether each line is a valid text from `{` to `}`."""
    bytes_ = np.frombuffer(chunk, np.uint8)
    start, stop = text.start[lines], text.stop[lines]
    last = stop - 1
    last -= bytes_[last] == 13
    could: Bool = (bytes_[start] == 123) & (bytes_[last] == 125)
    size = stop - start
    doubtful = size > MAX_SHALLOW
    if not chunk.isascii():
        doubtful[:] = True
    if doubtful.any():
        doubtful &= could
        sound = [len(x) <= MAX_LINE and is_sound(x) for x in _cut(chunk, text, lines[doubtful])]
        could[doubtful] = sound
    return could


def _try(line: bytes) -> Event | None:
    try:
        return _PARSER.decode(line)
    except BROKEN:
        return None
