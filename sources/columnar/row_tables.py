"""Rows of a recording as a table: the columns of a Parquet or Arrow file.

| column | content |
|---|---|
| `kind` | `event`, `marker`, `tick`, `status`, `control`, `command`; else by the content |
| `ts` | source time (s, or `ts_unit`); null without one; host time of a tick or command (s) |
| `rx` | arrival (s); null without one |
| `source`, `key` | the channel; of a status or control row the source; of a command the user |
| `value` | a number; of a status row 1: up, 0: down; of a tick the step of the wall clock (s) |
| `text` | text of a marker; of a control row the recorded loss, as JSON; a command |
| `seq` | sequence number; null without one |
| `rig` | null: the rig of the configuration |
| `element` | place in an array; its rows follow one another |
| `offset` | tapes only: place of the line in the tape (bytes) |

Pure: no file. Losses: none; a row without a meaning is a reject in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from arro3.core import Array, DataType, Field, RecordBatch, Schema

from operators.events import CommandRow, Reject, StreamStatus
from operators.limits import MAX_LINE, MAX_NAME_LENGTH, MAX_SAMPLE, MAX_STAMP_S
from operators.types import BRIDGE_COMMANDS, F64, I32, I64, Bool, Reason
from sources.columnar.buffers import indices, numbers, validity, with_nulls
from sources.columnar.plain_events import MAX_TABLE, plain_events
from sources.columnar.table_process import DICTIONARY, INTEGERS, NUMBERS, TEXTS
from sources.rows.names import REJECT, Names, is_rig, tick_of
from sources.rows.one_line import BROKEN, MAX_ELEMENTS, UnreadLine
from sources.rows.rows import DecodedRows, as_reject, no_notes
from sources.rows.written import LineDetails, unread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KINDS = ("event", "marker", "tick", "status", "control", "command")
EVENT, MARKER, TICK, STATUS, CONTROL, COMMAND = range(6)
_AT_TICKS = (TICK, STATUS, COMMAND)
ORDER = ("kind", "ts", "rx", "source", "key", "value", "text", "seq", "rig", "element")
_UTF8 = DataType.utf8()
_LOST = msgspec.json.Decoder(UnreadLine)


def schema(*, dictionaries: bool, offset: bool = False) -> Schema:
    """Return the schema of the tables that this program writes.

    Parameters
    ----------
    dictionaries : bool
        Names are dictionaries; an Arrow file would have one dictionary for all its batches.
    offset : bool
        With the column `offset`.
    """
    types = {
        **dict.fromkeys(NUMBERS, DataType.float64()),
        **dict.fromkeys(TEXTS, DICTIONARY if dictionaries else _UTF8),
        "text": _UTF8,
        "seq": DataType.int64(),
        "element": DataType.int32(),
        "offset": DataType.int64(),
    }
    order = (*ORDER, "offset") if offset else ORDER
    return Schema([Field(name, types[name], nullable=name != "kind") for name in order])


def batch_of(rows: DecodedRows, details: LineDetails, form: Schema) -> RecordBatch:
    """Return rows as a table.

    Parameters
    ----------
    rows : DecodedRows
        In a table of names whose first rig is that of rows without one.
    details : LineDetails
        Of these rows.
    form : Schema
        Of `schema`.
    """
    n, names = len(rows), rows.names
    event, control = rows.name >= 0, rows.name == REJECT
    notes = no_notes(n) if rows.notes is None else rows.notes
    kind = np.where(event, EVENT, np.where(control, CONTROL, TICK))
    source, key, rig = (np.full(n, -1) for _ in range(3))
    sources: dict[str, int] = {}
    texts: list[str] = []
    text = np.full(n, -1)
    value = np.where(event, rows.value, details.step)
    used = np.unique(rows.name[event]).tolist()
    table = np.full((len(names.channels), 1), -1)
    keys = [names.channels[i][1] for i in used]
    for i in used:
        table[i] = sources.setdefault(names.channels[i][0], len(sources))
    source[event] = table[rows.name[event], 0]
    key[event] = np.searchsorted(used, rows.name[event]) if used else -1
    rig[event] = names.rig_of()[rows.name[event]]
    rig[~event & ~control] = REJECT - 1 - rows.name[~event & ~control]
    for i in np.flatnonzero(notes != None).tolist():  # noqa: E711
        note = notes[i]
        if isinstance(note, str):
            kind[i], text[i] = MARKER, len(texts)
            texts.append(note)
            continue
        if isinstance(note, CommandRow):
            kind[i], value[i], text[i] = COMMAND, np.nan, len(texts)
            texts.append(note.command)
            source[i] = sources.setdefault(note.by, len(sources))
            continue
        if isinstance(note, StreamStatus):
            kind[i], value[i] = STATUS, note.up
        else:
            text[i] = len(texts)
            texts.append(msgspec.json.encode(unread(as_reject(note))).decode())
        source[i] = sources.setdefault(note.source, len(sources))
    has_rx = event & (rows.stamped | np.isnan(rows.ts))
    columns = {
        "kind": _taken(KINDS, kind),
        "ts": with_nulls(rows.ts, np.isnan(rows.ts)),
        "rx": with_nulls(rows.rx, ~has_rx),
        "source": _taken(list(sources), source),
        "key": _taken(keys, key),
        "value": with_nulls(value, np.isnan(value)),
        "text": _taken(texts, text),
        "seq": with_nulls(rows.seq.astype(np.int64), rows.seq == -1),
        "rig": _taken(names.rigs, rig if names.rigs[0] else np.where(rig == 0, -1, rig)),
        "element": with_nulls(details.place.astype(np.int32), details.place < 0),
        "offset": Array.from_numpy(rows.line.astype(np.int64)),
    }
    arrays = [columns[name] for name in form.names]
    cast = [a if a.type == t else a.cast(t) for a, t in zip(arrays, form.types, strict=True)]
    return RecordBatch.from_arrays(cast, schema=form)


def _taken(texts: Sequence[str], number: np.ndarray) -> Array:
    return Array(list(texts) or [""], _UTF8).take(indices(number))


def merged(parts: Sequence[tuple[DecodedRows, LineDetails]]) -> tuple[DecodedRows, LineDetails]:
    """Concatenate rows that share their table of names, and the details of their lines."""
    if len(parts) == 1:
        return parts[0]
    joined = [np.concatenate(columns) for columns in zip(*(d for _, d in parts), strict=True)]
    return DecodedRows.join([rows for rows, _ in parts]), LineDetails(*joined)


def why_not(form: Schema) -> str | None:
    """Return the reason why a table is no recording; None if it is one."""
    found = dict(zip(form.names, form.types, strict=True))
    if len(found) < len(form.names):
        return "two of its columns have the same name"
    for needed in (("ts", "rx"), ("source",), ("key",), ("value", "text")):
        if not any(name in found for name in needed):
            named = ", ".join(form.names[:16])
            return f"no column {' or '.join(needed)}; it has {named or 'none'}"
    for name, type_ in found.items():
        if name in TEXTS and not _is_text(type_):
            return f"column {name} is {_named(type_)}, expected texts"
        if name in NUMBERS and not (
            DataType.is_floating(type_) or DataType.is_integer(type_) or DataType.is_null(type_)
        ):
            return f"column {name} is {_named(type_)}, expected numbers"
        if name in INTEGERS and not (DataType.is_integer(type_) or DataType.is_null(type_)):
            return f"column {name} is {_named(type_)}, expected whole numbers"
    return None


def _named(type_: DataType) -> str:
    return str(type_).removeprefix("arro3.core.DataType<").strip().removesuffix(">")


def _is_text(type_: DataType) -> bool:
    if DataType.is_dictionary(type_):
        inner = type_.value_type
        return inner is not None and _is_text(inner)
    return bool(
        DataType.is_string(type_)
        or DataType.is_large_string(type_)
        or DataType.is_string_view(type_)
        or DataType.is_null(type_)
    )


@dataclass(slots=True)
class _Texts:
    """A column of texts: numbers into a list of distinct ones; -1 is null."""

    code: I64
    values: list[str]


class TableReader:
    """Reads tables of one file in their order; its state is the open array.

    Parameters
    ----------
    place : callable
        Return the place of a row in the file, for rejects.
    by_offset : bool
        A line is numbered by its column `offset`, else by its first row.
    """

    def __init__(self, place: Callable[[int], str], by_offset: bool = False) -> None:
        self._place, self._by_offset = place, by_offset
        self._next = 0
        self._line = 0

    def rows(
        self, batch: RecordBatch, first: int, names: Names, per_second: float = 1.0
    ) -> tuple[DecodedRows, LineDetails]:
        """Return the rows of a table.

        Parameters
        ----------
        batch : RecordBatch
        first : int
            Number of its first row in the file.
        names : Names
            Numbers the channels; new ones are entered.
        per_second : float
            Units of the source's stamps in a second.
        """
        n = batch.num_rows
        columns = {name: batch.column(name) for name in batch.schema.names}
        line = first + np.arange(n)
        if self._by_offset:
            line, _ = _integers(columns.get("offset"), n)
        if (rows := plain_events(columns, line, names, per_second)) is not None:
            self._line, self._next = int(line[-1]), 0
            return rows, LineDetails(np.full(n, -1), np.full(n, np.nan))
        has: dict[str, Bool] = {}
        number: dict[str, F64] = {}
        for title in NUMBERS:
            if title not in columns:
                has[title], number[title] = np.zeros(n, np.bool_), np.full(n, np.nan)
                continue
            column = columns[title].cast(DataType.float64())
            has[title] = validity(column)
            number[title] = numbers(column, has[title], np.float64, np.nan)
        kind, source, key, text, rig = (
            self._texts(columns.get(name), n) for name in ("kind", "source", "key", "text", "rig")
        )
        seq, wild_seq = _integers(columns.get("seq"), n)
        element, wild_element = _integers(columns.get("element"), n)
        which = _kinds(kind, has["value"], text.code >= 0)
        sent = (which == EVENT) | (which == MARKER)
        ts = number["ts"]
        if per_second != 1:
            np.divide(ts, per_second, out=ts, where=sent)
        rx = np.where(has["rx"], number["rx"], np.nan)
        # In an order of rising precedence: the first fault of a row is its reason.
        faults: list[tuple[Reason, Bool]] = [
            ("stamp", has["ts"] & ~(np.abs(ts) <= MAX_STAMP_S)),
            ("stamp", sent & has["rx"] & ~(np.abs(rx) <= MAX_STAMP_S)),
            ("value", (which == EVENT) & ~np.isfinite(number["value"])),
            ("schema", (which == EVENT) & ~has["value"]),
            ("schema", (which == MARKER) & (text.code < 0)),
            ("schema", sent & ~has["ts"] & ~has["rx"]),
            ("schema", np.isin(which, _AT_TICKS) & ~has["ts"]),
            ("schema", (which == STATUS) & ~np.isfinite(number["value"])),
            ("schema", wild_seq | wild_element | (which < 0)),
            ("schema", (element < -1) | (element >= MAX_ELEMENTS)),
        ]
        name = self._numbers(names, which, source, key, rig, element)
        faults.append(("schema", (name == REJECT) & (which != CONTROL)))
        line = self._lines(line, element)
        notes = no_notes(n) if (text.code >= 0).any() or (which >= STATUS).any() else None
        reasons: dict[int, Reason] = {}
        for reason, mask in faults:
            reasons |= dict.fromkeys(np.flatnonzero(mask).tolist(), reason)
        if notes is not None:
            self._notes(notes, which, source, text, number["value"], reasons)
        step = np.where(which == TICK, number["value"], np.nan)
        value = np.where(which == EVENT, number["value"], np.nan)
        bad = np.array(sorted(reasons), np.int64)
        if len(bad):
            notes = no_notes(n) if notes is None else notes
            for i in bad.tolist():
                notes[i] = self._reject(
                    reasons[i], first + i, batch.slice(i, 1), _text(source, i, MAX_NAME_LENGTH)
                )
        refused = which == CONTROL
        refused[bad] = True
        name[refused] = REJECT
        stamped = sent & has["ts"] & has["rx"] & ~refused
        ts = np.where(has["ts"] & ~refused, ts, np.nan)
        rx = np.where(sent & has["rx"], rx, ts)
        for column_ in (rx, value):
            column_[refused] = np.nan
        seq[~sent | refused] = -1
        rows = DecodedRows(
            names=names,
            name=name,
            ts=ts,
            rx=rx,
            value=value,
            stamped=stamped,
            seq=seq,
            line=line,
            notes=notes,
        )
        return rows, LineDetails(element, step)

    def _texts(self, column: Array | None, n: int) -> _Texts:
        from arro3.core import dictionary_dictionary, dictionary_indices

        if column is None or column.null_count == n:
            return _Texts(np.full(n, -1), [])
        if column.type != DICTIONARY:
            if DataType.is_null(column.type):
                return _Texts(np.full(n, -1), [])
            column = column.cast(_UTF8).cast(DICTIONARY)
        codes = dictionary_indices(column)
        code = numbers(codes, validity(codes), np.int32, -1).astype(np.int64)
        every = dictionary_dictionary(column)
        used = np.flatnonzero(np.bincount(code + 1, minlength=1)[1:])
        values = every.take(Array.from_numpy(used.astype(np.uint32))).to_pylist()
        # A dictionary may itself hold nulls, and one text twice.
        new = np.full(len(every) + 1, -1)
        new[used] = [-1 if value is None else i for i, value in enumerate(values)]
        return _Texts(new[code], ["" if value is None else value for value in values])

    def _numbers(
        self, names: Names, which: I64, source: _Texts, key: _Texts, rig: _Texts, element: I64
    ) -> I32:
        """Return the number of each row's channel or tick; `REJECT` for invalid names."""
        sent = (which == EVENT) | (which == MARKER)
        # combination = ((rig n_source + source) n_key + key) n_place + place, each from 0: null
        place = np.clip(element, -1, MAX_ELEMENTS) + 1
        sizes = len(source.values) + 1, len(key.values) + 1, int(place.max(initial=0)) + 1
        mixed = (rig.code + 1) * sizes[0] + source.code + 1
        mixed = (mixed * sizes[1] + key.code + 1) * sizes[2] + place
        mixed[~sent] = 0
        total = (len(rig.values) + 1) * sizes[0] * sizes[1] * sizes[2]
        if total <= MAX_TABLE:
            found = np.flatnonzero(np.bincount(mixed, minlength=1))
            lookup = np.zeros(int(found[-1]) + 1 if len(found) else 1, np.int64)
            lookup[found] = np.arange(len(found))
            of = lookup[mixed]
        else:
            found, of = np.unique(mixed, return_inverse=True)
        table = np.full(max(len(found), 1), REJECT, np.int32)
        for i, combination in enumerate(found.tolist()):
            rest, at = divmod(combination, sizes[2])
            rest, k = divmod(rest, sizes[1])
            r, s = divmod(rest, sizes[0])
            if s and k:
                owner = (rig.values[r - 1] if r else None, source.values[s - 1], key.values[k - 1])
                table[i] = _number(names, owner, at - 1)
        name: I32 = table[of]
        for i in np.flatnonzero(np.isin(which, _AT_TICKS)).tolist():
            own = rig.values[rig.code[i]] if rig.code[i] >= 0 else None
            name[i] = tick_of(names.rig(own)) if own is None or is_rig(own) else REJECT
        return name

    def _lines(self, line: I64, element: I64) -> I64:
        """Return the line of each row: rows of an array share that of their first one.

        A row continues the array of the row before it if its place is the next one.
        """
        before = np.concatenate(([self._next - 1], element[:-1]))
        goes_on = (element > 0) & (element == before + 1) & (element < MAX_ELEMENTS)
        start = np.where(goes_on, -1, np.arange(len(line)))
        first = np.maximum.accumulate(start)
        own = np.where(first < 0, self._line, line[np.maximum(first, 0)])
        if len(own):
            self._line, self._next = int(own[-1]), int(element[-1]) + 1
        return own

    def _notes(
        self,
        notes: np.ndarray,
        which: I64,
        source: _Texts,
        text: _Texts,
        value: F64,
        reasons: dict[int, Reason],
    ) -> None:
        """Enter markers, changes of streams, commands and losses; add the reasons of others."""
        for i in np.flatnonzero(which == MARKER).tolist():
            content = _text(text, i)
            if content is not None and len(content) > MAX_LINE:
                reasons[i] = "too_long"
            notes[i] = content
        for i in np.flatnonzero(which == STATUS).tolist():
            own = _text(source, i)
            if own is None or len(own) > MAX_NAME_LENGTH:
                reasons[i] = "schema"
            else:
                notes[i] = StreamStatus(0, own, bool(value[i] != 0))
        for i in np.flatnonzero(which == COMMAND).tolist():
            command = next((c for c in BRIDGE_COMMANDS if c == _text(text, i)), None)
            by = _text(source, i) or ""
            if command is None or len(by) > MAX_NAME_LENGTH:
                reasons[i] = "schema"
            else:
                notes[i] = CommandRow(0, command, by)
        for i in np.flatnonzero(which == CONTROL).tolist():
            try:
                lost = _LOST.decode(_text(text, i) or "")
            except BROKEN:
                reasons[i] = "schema"
                continue
            notes[i] = Reject(0, lost.reason, lost.source, lost.where, lost.sample, lost.count)

    def _reject(self, reason: Reason, row: int, one: RecordBatch, source: str | None) -> Reject:
        content = {}
        for name in one.schema.names:
            value = one.column(name).to_pylist()[0]
            content[name] = value[:MAX_SAMPLE] if isinstance(value, str) else value
        sample = msgspec.json.encode(content)[:MAX_SAMPLE]
        return Reject(0, reason, "?" if source is None else source, self._place(row), sample)


def _number(names: Names, owner: tuple[str | None, str, str], place: int) -> int:
    rig, source, key = owner
    if place < 0:
        return names[owner]
    end = f"[{place}]"
    # The limit is that of the array's own key.
    if len(source) > MAX_NAME_LENGTH or len(key) - len(end) > MAX_NAME_LENGTH:
        return REJECT
    if not key.endswith(end) or not (rig is None or is_rig(rig)):
        return REJECT
    return names.add(owner)


def _kinds(kind: _Texts, has_value: Bool, has_text: Bool) -> I64:
    """Return the kind of each row by number; -1: unknown."""
    by_content = np.where(has_text & ~has_value, MARKER, EVENT)
    known = [KINDS.index(text) if text in KINDS else -1 for text in kind.values]
    table = np.array([*known, -1], np.int64)
    return np.where(kind.code < 0, by_content, table[kind.code])


def _integers(column: Array | None, n: int) -> tuple[I64, Bool]:
    """Return whole numbers, -1 for null, and the mask of those beyond 64 bits."""
    if column is None or column.null_count == n or DataType.is_null(column.type):
        return np.full(n, -1), np.zeros(n, np.bool_)
    cast = column.cast(DataType.int64())  # null beyond its range
    valid = validity(cast)
    wild = (
        np.zeros(n, np.bool_)
        if cast.null_count == column.null_count
        else (validity(column) & ~valid)
    )
    return numbers(cast, valid, np.int64, -1), wild


def _text(texts: _Texts, i: int, most: int | None = None) -> str | None:
    code = int(texts.code[i])
    return texts.values[code][:most] if code >= 0 else None
