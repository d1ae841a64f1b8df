"""Files of the history: `FOLDER/ticks/RIG/2026-11-21.parquet`, likewise of each other view.

Names stand in place of numbers, as in the views of `sinks.history.views`. A day is one of UTC. A
file of the same name is replaced once the new one is complete.

State: `PAGE` rows, and of Parquet a row group.
"""

from __future__ import annotations

import csv
import importlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from math import floor, inf
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from configs.files import open_file, sync_folder
from configs.inert import inert
from operators.errors import ToolError
from ops.store.moment import shown
from sinks.history.back_end import BackEnd, Row
from sinks.history.tables import RUN, Table
from sinks.history.views import NAMED, VIEWED, columns_of, view_of
from sources.rows.names import is_rig

Form = Literal["parquet", "csv", "jsonl", "mcap"]
PAGE = 5_000
DAY_S = 86_400
_GROUP_ROWS = 131_072
Columns = list[Sequence[Any]]


class ExportError(ToolError):
    """An export that cannot be written."""


class _Source:
    """The store with its names.

    Parameters
    ----------
    store : BackEnd
    """

    def __init__(self, store: BackEnd) -> None:
        self.store = store
        self.names: dict[int, str] = dict(store.rows("SELECT id, text FROM name", limit_s=inf))
        run = ", ".join(column.name for column in RUN.columns)
        self.runs = {row[0]: row[1:] for row in store.rows(f"SELECT {run} FROM run", limit_s=inf)}

    def runs_by_rig(self, table: Table) -> dict[int, list[int]]:
        """Return the runs of each rig in the order of their starts."""
        found: dict[int, list[int]] = {}
        sql = f"SELECT DISTINCT run, rig FROM {table.name}"
        for run, rig in self.store.rows(sql, limit_s=inf):
            found.setdefault(rig, []).append(run)
        for runs in found.values():
            runs.sort(key=lambda run: (self.runs.get(run, (0.0, ""))[0], run))
        return found

    def first(self, table: Table, runs: list[int], rig: int, since: float) -> float | None:
        """Return the first time of a rig's rows at or after a time."""
        sql = (
            f"SELECT min({table.time}) FROM {table.name}"
            f" WHERE run = :run AND rig = :rig AND {table.time} >= :since"
        )
        found = [
            ts
            for run in runs
            for (ts,) in self.store.rows(sql, {"run": run, "rig": rig, "since": since}, inf)
            if ts is not None
        ]
        return min(found, default=None)

    def pages(
        self, table: Table, runs: list[int], rig: int, since: float, until: float
    ) -> Iterator[list[Row]]:
        """Yield the rows of a span, by run and time."""
        names = [column.name for column in table.columns]
        order = [table.time, *(n for n in table.key if n not in ("run", "rig", table.time))]
        places = [names.index(name) for name in order]
        key, marks = ", ".join(order), ", ".join(f":k_{name}" for name in order)
        begin = (
            f"SELECT {', '.join(names)} FROM {table.name} WHERE run = :run AND rig = :rig"
            f" AND {table.time} < :until AND "
        )
        end = f" ORDER BY {key} LIMIT {PAGE}"
        for run in runs:
            values: dict[str, Any] = {"run": run, "rig": rig, "since": since, "until": until}
            beyond = f"{table.time} >= :since"
            while rows := list(self.store.rows(begin + beyond + end, values, inf)):
                yield rows
                beyond = f"({key}) > ({marks})"
                values |= {f"k_{n}": rows[-1][p] for n, p in zip(order, places, strict=True)}

    def columns(self, table: Table, rows: list[Row]) -> Columns:
        """Return the columns of the view of some rows."""
        by_name = {
            column.name: values
            for column, values in zip(table.columns, zip(*rows, strict=True), strict=True)
        }
        found: Columns = []
        for column in columns_of(table):
            name = column.name
            if name in NAMED:
                found.append([self.names.get(number, "?") for number in by_name[name]])
            elif name in ("started", "version"):
                place = int(name == "version")
                found.append([self.runs.get(run, (None, None))[place] for run in by_name["run"]])
            elif name in by_name:
                found.append(by_name[name])
            else:
                of = name.removesuffix("_mean")
                pairs = zip(by_name[f"{of}_sum"], by_name[f"{of}_count"], strict=True)
                found.append([total / count if count else None for total, count in pairs])
        return found


def export(
    store: BackEnd,
    folder: Path,
    form: Form,
    since: float = -inf,
    until: float = inf,
    written: Callable[[Path, int], None] = lambda path, rows: None,
) -> dict[str, int]:
    """Write the rows of a span of time, a file for each view, rig and day.

    Parameters
    ----------
    store : BackEnd
    folder : Path
        Is made if it is not there.
    form : {'parquet', 'csv', 'jsonl', 'mcap'}
    since, until : float
        First time, and the one after the last (s since the epoch).
    written : callable
        Takes each new file and its number of rows.

    Returns
    -------
    dict
        Rows by view.

    Raises
    ------
    ExportError
        A file cannot be written.
    AwayError, HistoryError
        Of the store.
    """
    write = _writer(form)
    source, counts = _Source(store), dict.fromkeys(map(view_of, VIEWED), 0)
    for table in VIEWED:
        for rig, runs in source.runs_by_rig(table).items():
            name = source.names.get(rig, "")
            if not is_rig(name):
                raise ExportError(f"rig '{inert(name)}' is no name of a folder")
            at = source.first(table, runs, rig, max(since, -1e300))
            while at is not None and at < until:
                day = floor(at / DAY_S) * DAY_S
                end = min(day + DAY_S, until)
                path = folder / view_of(table) / name / f"{shown(day)[:10]}.{form}"
                pages = source.pages(table, runs, rig, max(day, since), end)
                rows = _file(path, write, table, (source.columns(table, page) for page in pages))
                counts[view_of(table)] += rows
                written(path, rows)
                at = source.first(table, runs, rig, day + DAY_S)
    return counts


_Write = Callable[[IO[bytes], Table, Iterator[Columns]], None]


def _writer(form: Form) -> _Write:
    if form == "csv":
        return _as_csv
    if form == "jsonl":
        return _as_json
    package, extra, write = (
        ("mcap.writer", "mcap", _as_mcap)
        if form == "mcap"
        else ("arro3.io", "columnar", _as_parquet)
    )
    try:
        importlib.import_module(package)
    except ImportError:
        raise ExportError(f"{form} needs pip install 'lumen-fusion[{extra}]'") from None
    return write


def _file(path: Path, write: _Write, table: Table, pages: Iterator[Columns]) -> int:
    """Write one file, complete under its name or not at all; return its number of rows."""
    rows = 0

    def counted() -> Iterator[Columns]:
        nonlocal rows
        for page in pages:
            rows += len(page[0])
            yield page

    draft = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        try:
            with open_file(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as raw:
                with io.BufferedWriter(os.fdopen(os.dup(raw.fileno()), "wb", 0)) as file:
                    write(file, table, counted())
                os.fsync(raw.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        why = error.strerror or str(error)
        raise ExportError(f"{inert(str(error.filename or path))}: {why}") from None
    return rows


def _as_csv(file: IO[bytes], table: Table, pages: Iterator[Columns]) -> None:
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([column.name for column in columns_of(table)])
    for page in pages:
        lines.writerows(zip(*page, strict=True))
    text.detach()


def _as_json(file: IO[bytes], table: Table, pages: Iterator[Columns]) -> None:
    names, encode = _names(table), msgspec.json.encode
    for page in pages:
        lines = (encode(dict(zip(names, row, strict=True))) for row in zip(*page, strict=True))
        file.write(b"".join(chain.from_iterable((line, b"\n") for line in lines)))


def _as_mcap(file: IO[bytes], table: Table, pages: Iterator[Columns]) -> None:
    """Write each row as a JSON message of the topic `/VIEW`, at its own time."""
    from mcap.writer import CompressionType, Writer

    names, encode = _names(table), msgspec.json.encode
    at = names.index(table.time)
    writer = Writer(file, compression=CompressionType.ZSTD)
    writer.start(profile="lumen-fusion", library="lumen-fusion")
    schema = writer.register_schema("lumen.history", "jsonschema", b'{"type":"object"}')
    channel = writer.register_channel(f"/{view_of(table)}", "json", schema)
    for page in pages:
        for row in zip(*page, strict=True):
            time_ns = max(round(row[at] * 1e9), 0)
            writer.add_message(
                channel, time_ns, encode(dict(zip(names, row, strict=True))), time_ns
            )
    writer.finish()  # type: ignore[no-untyped-call]


def _names(table: Table) -> list[str]:
    return [column.name for column in columns_of(table)]


def _as_parquet(file: IO[bytes], table: Table, pages: Iterator[Columns]) -> None:
    from arro3.core import Array, DataType, Field, RecordBatch, RecordBatchReader, Schema
    from arro3.io import write_parquet

    kinds = {"integer": DataType.int64(), "real": DataType.float64(), "text": DataType.utf8()}
    columns = columns_of(table)
    types = [kinds[column.type] for column in columns]
    form = Schema(
        [Field(c.name, kind, nullable=c.null) for c, kind in zip(columns, types, strict=True)]
    )
    errors: list[BaseException] = []

    def batches() -> Iterable[RecordBatch]:
        try:
            for page in pages:
                arrays = [Array(list(v), kind) for v, kind in zip(page, types, strict=True)]
                yield RecordBatch.from_arrays(arrays, schema=form)
        except BaseException as error:
            errors.append(error)
            raise

    reader = RecordBatchReader.from_batches(form, batches())
    try:
        write_parquet(reader, file, compression="zstd(1)", max_row_group_size=_GROUP_ROWS)
    except Exception as error:
        # The library replaces an error of the rows by one of its own.
        raise (errors[0] if errors else OSError(f"cannot write: {error}")) from None
