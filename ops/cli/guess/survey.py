"""The channels of a recording, as described by the file.

An XDF file is read in full; its headers give type, nominal rate, format, labels and units of each
stream. Of a file of lines the first part is read; keys or column titles are the labels.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from configs.inputs import Columns, TimeUnit, is_delimited
from operators.events import Reject
from ops.cli.guess.agreement import CommonGrid
from sources.delimited.dialect import Dialect
from sources.opening import open_recording, reader_at
from sources.recordings.recording import Piece, is_xdf
from sources.recordings.remarks import comma, is_comma_number, wide
from sources.recordings.spool import SpoolColumn, pieces
from sources.rows.names import Names
from sources.rows.rows import DecodedRows
from sources.rows.written import lines_of_rows
from sources.xdf import xdf
from sources.xdf.stream_columns import EXACT
from sources.xdf.streams import XdfStream

MAX_READ, MAX_READ_TABLE = 1 << 23, 1 << 26
"""Bytes read of a recording of events, and of a delimited file, whose columns are kept for the
run."""
MIN_COUNT = 8
"""A sampled channel has more numbers than this."""
MAX_CODES, MIN_HZ = 32, 2.0
"""An irregular stream is held if it has at most so many distinct whole numbers, or a lower rate."""
_MAX_ROWS = 1 << 16
_TITLE = re.compile(r"(.+?)\s*[\[(]([^\[\]()]+)[\])]")


@dataclass(frozen=True, slots=True)
class RecordedChannel:
    """A channel of numbers.

    Attributes
    ----------
    name : str
        `<source>:<key>`.
    count : int
        Number of its numbers.
    label : str
        Label in the file; empty for a generated name.
    type, unit : str
        Type and unit in the file; empty if absent.
    held : str
        Reason to assume a held channel; empty for a sampled one.
    guessed : str
        Reason to assume a sampled channel, if the file leaves this open.
    """

    name: str
    count: int
    label: str = ""
    type: str = ""
    unit: str = ""
    held: str = ""
    guessed: str = ""

    @property
    def source(self) -> str:
        """Its source."""
        return self.name.partition(":")[0]

    @property
    def key(self) -> str:
        """Its key."""
        return self.name.partition(":")[2]


Fill = Callable[[CommonGrid, frozenset[str]], None]
"""Adds the numbers of some channels to a grid."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Content of one recording.

    Attributes
    ----------
    channels : list of RecordedChannel
    why : str or None
        Reason for the absence of a fusible channel.
    remarks : list of str
        Misinterpreted values, a sentence each.
    spans : dict
        First and last time (s) of each source.
    fill : callable
    """

    channels: list[RecordedChannel] = field(default_factory=list)
    why: str | None = None
    remarks: list[str] = field(default_factory=list)
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    fill: Fill = lambda grid, wanted: None


def survey(file: Path, table: Dialect | None = None, unit: TimeUnit | None = None) -> Survey:
    """Return the content of a recording.

    Parameters
    ----------
    file : Path
    table : Dialect, optional
        Dialect of a delimited file.
    unit : {'s', 'ms', 'us', 'ns'}, optional
        Unit of source stamps.

    Raises
    ------
    OSError, ValueError
        The file cannot be opened.
    """
    return _of_streams(file) if is_xdf(str(file)) else _of_lines(file, table, unit)


def _of_streams(file: Path) -> Survey:
    recorded = xdf.load(str(file), progress=True)
    counts = xdf.channels(str(file))
    channels, spans = [], {}
    for track in recorded.tracks:
        if len(track):
            ends = track.rx.read(0, 1)[0], track.rx.read(len(track) - 1, len(track))[0]
            if not track.stamped:
                spans[track.source] = float(ends[0]), float(ends[1])
        channels += list(_of_track(track, counts))

    def fill(grid: CommonGrid, wanted: frozenset[str]) -> None:
        for track in recorded.tracks:
            names = [f"{track.source}:{key}" for key in track.keys]
            some = [i for i, name in enumerate(names) if name in wanted]
            if not some or not isinstance(track.values, SpoolColumn):
                continue
            for s in pieces(len(track), _MAX_ROWS):
                time = track.rx.read(s.start, s.stop)
                values = track.values.read(s.start, s.stop).reshape(len(time), -1)
                for i in some:
                    grid.add(names[i], time, values[:, i].astype(np.float64))

    why = xdf.why_not(str(file), recorded, MIN_COUNT)
    return Survey(channels, why, [], spans, fill)


def _of_track(track: XdfStream, counts: Counter[str]) -> Iterator[RecordedChannel]:
    header = track.header
    if header is None:
        for key in track.keys:
            name = f"{track.source}:{key}"
            yield RecordedChannel(name, counts[name], held="readings of a clock")
        return
    if not header.size:
        return
    labels = [*header.labels, *[""] * len(track.keys)]
    units = [*header.units, *[""] * len(track.keys)]
    held, guessed = _pace(track) if header.rate_hz == 0 and len(track) else ([], [])
    for i, key in enumerate(track.keys):
        name = f"{track.source}:{key}"
        label = key if labels[i].strip() else ""
        yield RecordedChannel(
            name,
            counts[name],
            label,
            header.kind.strip(),
            units[i].strip(),
            held[i] if held else "",
            guessed[i] if guessed else "",
        )


def _pace(track: XdfStream) -> tuple[list[str], list[str]]:
    """Return the reasons to assume held or sampled channels in a stream without a nominal rate."""
    assert track.header is not None
    n = min(len(track), _MAX_ROWS)
    time = track.rx.read(0, n)
    values = track.values.read(0, n)
    assert isinstance(values, np.ndarray)
    span = float(time[-1] - time[0])
    hz = (n - 1) / span if span > 0 else 0.0
    held, guessed = [], []
    for column in values.reshape(n, -1).T.astype(np.float64):
        levels = np.unique(column[np.isfinite(column)])
        codes = len(levels) <= MAX_CODES and bool((levels == np.rint(levels)).all())
        why = f"nominal_srate 0, {track.header.form}, {len(levels)} different values"
        slow = hz < MIN_HZ or track.header.form.startswith("int")
        held.append(why if codes or slow else "")
        guessed.append("" if codes or slow else f"nominal_srate 0, but {hz:.3g} values a second")
    return held, guessed


def _of_lines(file: Path, table: Dialect | None, unit: TimeUnit | None) -> Survey:
    names = Names("studio")
    found, start = Survey(), b""
    counts, beyond, first = Counter[str](), Counter[str](), None
    commas: dict[str, tuple[int, str]] = {}
    for block, rows in _blocks(file, table, unit, names):
        if first is None:
            start, first = block, rows
        channels = [":".join(pair) for pair in names.channels]
        numbers = np.isfinite(rows.value) & (rows.name >= 0)
        name, time = rows.name[numbers], rows.rx[numbers]
        wide_ones = name[np.abs(rows.value[numbers]) > EXACT]
        for i in np.unique(name).tolist():
            own = time[(name == i) & np.isfinite(time)]
            counts[channels[i]] += int((name == i).sum())
            beyond[channels[i]] += int((wide_ones == i).sum())
            if len(own):
                source = names.channels[i][0]
                low, high = found.spans.get(source, (np.inf, -np.inf))
                found.spans[source] = min(low, float(own.min())), max(high, float(own.max()))
        _commas(rows, channels, commas)
    if first is None:
        return Survey(why=f"{file}: empty: it holds no line")
    found.remarks.extend(wide(channel, n) for channel, n in beyond.items() if n)
    found.remarks.extend(comma(channel, n, sample) for channel, (n, sample) in commas.items())
    of_meta = {} if table else units(start)
    for channel, count in counts.items():
        label, given = titled(channel.partition(":")[2], table)
        measured = of_meta.get(channel) or of_meta.get(channel.partition("[")[0]) or given
        found.channels.append(RecordedChannel(channel, count, label, "", measured))

    def fill(grid: CommonGrid, wanted: frozenset[str]) -> None:
        for _, rows in _blocks(file, table, unit, names):
            for i in np.unique(rows.name[rows.name >= 0]).tolist():
                channel = ":".join(names.channels[i])
                if channel in wanted:
                    own = rows.name == i
                    grid.add(channel, rows.rx[own], rows.value[own])

    why = None if found.channels else _no_numbers(file, first, start)
    return Survey(found.channels, why, found.remarks, found.spans, fill)


def _blocks(
    file: Path, table: Dialect | None, unit: TimeUnit | None, names: Names
) -> Iterator[tuple[bytes, DecodedRows]]:
    """Yield the first blocks of a recording of lines, and their rows as in a run."""
    columns = Columns(ts=table.names[table.time]) if table else None
    given = None if table and table.dated else table.unit if table else unit
    reader = reader_at(str(file), columns, given, keep=True)
    recording = open_recording(str(file))
    left = MAX_READ_TABLE if table else MAX_READ
    try:
        while left > 0 and not recording.ended:
            for piece in recording.read():
                if not isinstance(piece, Piece):
                    rows = reader.rows(piece, names)
                    lines = lines_of_rows(rows)
                    left -= len(lines)
                    yield lines, rows
                    continue
                left -= len(piece.data)
                if piece.data and piece.fault != "too_long":
                    rows = reader.decode(piece.data, piece.offset, names)
                    yield piece.data, reader.scaled(rows)
    finally:
        recording.close()


def titled(key: str, table: Dialect | None) -> tuple[str, str]:
    """Return the label of a key (empty if generated), and the unit in the title of a column."""
    if table is None:
        return key, ""
    made_up = not table.header or re.fullmatch(r"column_[0-9]+", key)
    found = _TITLE.fullmatch(key)
    label, unit = (found[1], found[2]) if found else (key, "")
    return "" if made_up else label, unit


def _commas(rows: DecodedRows, channels: list[str], found: dict[str, tuple[int, str]]) -> None:
    """Count the texts with a decimal comma by channel; keep an example of each."""
    if rows.notes is None:
        return
    for name, note in zip(rows.name.tolist(), rows.notes.tolist(), strict=True):
        if name >= 0 and isinstance(note, str) and is_comma_number(note):
            count, sample = found.get(channels[name], (0, note))
            found[channels[name]] = count + 1, sample


def _no_numbers(file: Path, rows: DecodedRows, whole: bytes) -> str:
    """Return the reason for the absence of numbers in a recording of lines."""
    rejects = [x for x in ([] if rows.notes is None else rows.notes) if isinstance(x, Reject)]
    texts = sum(isinstance(x, str) for x in ([] if rows.notes is None else rows.notes))
    if texts:
        return (
            f"{file}: markers only ({texts:,} texts): nothing to fuse;"
            " give a recording with numbers too"
        )
    if rejects and len(rejects) == len(rows):
        expected = "lines of cells" if is_delimited(str(file)) else "one JSON object a line"
        return (
            f"{file}: no line is an event ({rejects[0].reason}); it begins with"
            f" {whole[:16]!r}; expected {expected}"
        )
    return f"{file}: no event among its first lines"


class _Unit(msgspec.Struct):
    unit: str | None = None


class _NamedColumns(msgspec.Struct):
    source: str
    key: str
    meta: _Unit | None = None


def units(start: bytes) -> dict[str, str]:
    """Return the units named in the first bytes of a recording, by channel."""
    found: dict[str, str] = {}
    if b'"unit"' not in start:
        return found
    decoder = msgspec.json.Decoder(_NamedColumns)
    for line in start[: 1 << 20].splitlines():
        try:
            event = decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if event.meta and event.meta.unit:
            found.setdefault(f"{event.source}:{event.key}", event.meta.unit)
    return found


def span_of(surveys: Sequence[Survey]) -> tuple[float, float]:
    """Return the time range (s) of the comparison: the overlap of all sources, else their union."""
    spans = [span for found in surveys for span in found.spans.values()]
    if not spans:
        return 0.0, 0.0
    first, last = max(a for a, _ in spans), min(b for _, b in spans)
    return (first, last) if last > first else (min(a for a, _ in spans), max(b for _, b in spans))
