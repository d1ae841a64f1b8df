"""The process that decodes a Parquet or Arrow file: `python -m ... PATH ROW BATCH_ROWS`.

The library is safe, but it ends its process for some damaged pages, and may ask for any amount of
memory. So it decodes here, under a limit of memory, and writes tables to standard output as a
stream of Arrow. The file is standard input. The reason of a failure is a line on standard error.

Cost: 50 ms of CPU a file and a copy of the tables. State: `BATCH_ROWS` rows, a page a column.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator

from arro3 import io as arrow_io
from arro3.core import DataType, Field, RecordBatch, RecordBatchReader, Schema

from sources.columnar.parquet_file import ParquetFile

TEXTS = ("kind", "source", "key", "text", "rig")
NUMBERS = ("ts", "rx", "value")
INTEGERS = ("seq", "element", "offset")
COLUMNS = frozenset((*TEXTS, *NUMBERS, *INTEGERS))
DICTIONARY = DataType.dictionary(DataType.int32(), DataType.utf8())
REASON = "lumen: "
"""Begins the line of a reason."""
MAX_MEMORY = 768 << 20
"""Address space of the process (bytes)."""


def main(path: str, row: int, batch_rows: int) -> int:
    """Write the tables of the file on standard input, from a row on."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    except (ImportError, ValueError, OSError):
        pass  # no limit on this system
    raw = os.fdopen(os.dup(0), "rb", buffering=0)
    failed: list[Exception] = []
    try:
        if path.lower().endswith(".parquet"):
            parquet = ParquetFile(raw, raw.seek(0, 2), COLUMNS)
            parquet.hint = hint(arrow_io.read_parquet(parquet.view(None)).schema)
            tables = _of_parquet(parquet, row, batch_rows)
            form = arrow_io.read_parquet(parquet.view(None)).schema
        else:
            reader = arrow_io.read_ipc(raw)
            form = reader.schema
            tables = _from(reader, row, batch_rows)
        with os.fdopen(os.dup(1), "wb", buffering=0) as out:
            arrow_io.write_ipc_stream(_guarded(form, tables, failed), out, compression=None)
    except Exception as error:  # the library raises bare exceptions, and hides those of `tables`
        reason = failed[0] if failed else error
        print(f"{REASON}{' '.join(str(reason).split())[:500]}", file=sys.stderr)
        return 3
    return 0


def _guarded(
    form: Schema, tables: Iterator[RecordBatch], failed: list[Exception]
) -> RecordBatchReader:
    """Return a stream of tables; the reason of its failure is entered in `failed`."""

    def kept() -> Iterator[RecordBatch]:
        try:
            yield from tables
        except Exception as error:
            failed.append(error)
            raise

    return RecordBatchReader.from_batches(form, kept())


def _of_parquet(parquet: ParquetFile, row: int, batch_rows: int) -> Iterator[RecordBatch]:
    for number, group in enumerate(parquet.groups):
        if group.count and group.first + group.count > row:
            parquet.check(number)
            reader = arrow_io.read_parquet(parquet.view(number), batch_size=batch_rows)
            yield from _from(reader, max(row - group.first, 0), batch_rows)


def _from(reader: RecordBatchReader, row: int, batch_rows: int) -> Iterator[RecordBatch]:
    """Yield the tables from a row on, of a bounded number of rows."""
    first = 0
    for batch in reader:
        count = batch.num_rows
        if row <= first and count <= batch_rows:
            yield batch  # a slice is copied
        else:
            for at in range(max(row - first, 0), count, batch_rows):
                yield batch.slice(at, min(batch_rows, count - at))
        first += count


def hint(form: Schema) -> bytes:
    """Return the library's note on the types of columns, with texts as dictionaries."""
    fields = []
    for name, type_ in zip(form.names, form.types, strict=True):
        is_text = DataType.is_string(type_) or DataType.is_large_string(type_)
        own = DICTIONARY if name in TEXTS and is_text else type_
        fields.append(Field(name, own, nullable=True))
    file = io.BytesIO()
    arrow_io.write_parquet(RecordBatchReader.from_batches(Schema(fields), ()), file)
    data = file.getvalue()
    return ParquetFile(io.BytesIO(data), len(data), ()).note(b"ARROW:schema")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
