"""Delimited text with one event a row: its columns, found in a header or named by a configuration.

A header with `ts` or `rx`, `source`, `key`, and `value` or `text` has the columns of a Parquet
recording (`columnar/row_tables.py`), as `lumen convert` writes them. `columns: {ts, key, value}`
names those of other files; without a column `source`, the source is the name of the file.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from configs.inputs import Columns, StampUnit, is_delimited, stem
from operators.limits import MAX_LINE
from sources.delimited.dates import date_of
from sources.delimited.dialect import LOOK, PER_SECOND, Dialect, find, is_number
from sources.recordings.recording import Recording

_COLUMNS = ("kind", "source", "key", "value", "text", "seq", "rig", "element")
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class EventTable:
    """The columns of a table of events.

    Attributes
    ----------
    dialect : Dialect
    place : dict
        Index of each column; -1: the table has none.
    source : str
        Of rows without one.
    """

    dialect: Dialect
    place: dict[str, int]
    source: str

    def report(self) -> str:
        """Return the format as a sentence."""
        front, _, _ = self.dialect.report().rpartition(", ")
        return f"{front}, an event a row"

    def number(self, cell: str) -> float:
        """Return the number in a cell; NaN for another cell."""
        point = self.dialect.point
        if not is_number(cell, point):
            return NAN
        return float(cell.replace(",", ".") if point == "," else cell)

    def seconds(self, cell: str, *, arrival: bool = False) -> float:
        """Return the time in a cell (s); NaN for another cell."""
        if date := date_of(cell):
            return date.seconds
        unit = self.dialect.arrival_unit if arrival else self.dialect.unit
        return self.number(cell) / PER_SECOND[unit]


def event_table(
    path: str, columns: Columns | None = None, unit: StampUnit | None = None
) -> EventTable | None:
    """Return the columns of a file of events; None for another file.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It has no such column; the message names the remedy.
    """
    if not is_delimited(path) or (columns is not None and columns.key is None and columns.values):
        return None
    return table_in(path, raw_head(path, LOOK), columns, unit)


def table_in(
    path: str, head: bytes, columns: Columns | None = None, unit: StampUnit | None = None
) -> EventTable | None:
    """Return the columns, as `event_table`, from the first bytes of a file."""
    columns = columns or Columns()
    titles = _titles(head)
    own = {"source", "key"} <= titles and titles & {"ts", "rx"} and titles & {"value", "text"}
    if columns.key is None and not own:
        return None
    named = {name: name for name in _COLUMNS if own and name in titles}
    if columns.key is not None and columns.value is not None:
        named |= {"key": columns.key, "value": columns.value}
    ts, rx = columns.ts, columns.rx
    if own:
        ts = ts or ("ts" if "ts" in titles else "rx")
        rx = rx or ("rx" if "rx" in titles else None)
    dialect = find(path, head, Columns(ts=ts, rx=rx, values=list(named.values())), unit)
    place = dict.fromkeys(_COLUMNS, -1)
    place |= {name: dialect.names.index(title) for name, title in named.items()}
    place["rx"] = -1 if dialect.arrival is None else dialect.arrival
    place["ts"] = dialect.time if dialect.time != place["rx"] else -1
    return EventTable(dialect, place, stem(path))


def raw_head(path: str, size: int) -> bytes:
    """Return the first bytes of a delimited file, unpacked."""
    recording, parts, length = Recording(path), [], 0
    try:
        while length < size and not recording.ended:
            for piece in recording.read():
                if piece.fault == "too_long" and not length:
                    raise ValueError(f"{path}: its first line has more than {MAX_LINE >> 20} MiB")
                parts.append(piece.data)
                length += len(piece.data)
    finally:
        recording.close()
    return b"".join(parts)[:size]


def _titles(head: bytes) -> set[str]:
    """Return the cells of the first line, for any delimiter."""
    line = head[:LOOK].removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0]
    text = line.decode(errors="replace").rstrip("\r")
    found: set[str] = set()
    for delimiter in (",", ";", "\t"):
        try:
            row = next(csv.reader(io.StringIO(text), delimiter=delimiter), [])
        except csv.Error:
            continue
        if len(row) > 1:
            found |= {cell.strip() for cell in row}
    return found
