"""The table of rows as CSV, one row a line, nulls as empty cells; read again by `lumen convert`.

Lost: a marker without a text is read as null, and so is a dead letter (`schema`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from arro3 import io as arrow_io
from arro3.core import RecordBatch

from configs.inert import inert
from sources.columnar.columnar_writer import Parts, tables
from sources.columnar.row_tables import TableReader, schema
from sources.rows.names import Names
from sources.rows.rows import DecodedRows
from sources.rows.written import LineDetails


def write(file: IO[bytes], parts: Parts) -> None:
    """Write rows, as `columnar_writer.write`."""
    errors: list[BaseException] = []
    try:
        arrow_io.write_csv(tables(parts, schema(dictionaries=False), errors), file, header=True)
    except Exception as error:  # the library raises bare exceptions, and hides those of `parts`
        raise (errors[0] if errors else OSError(f"cannot write: {error}")) from None


def read(path: str, names: Names, per_second: float) -> Iterator[tuple[DecodedRows, LineDetails]]:
    """Yield rows and the details of their lines.

    Raises
    ------
    OSError, ValueError
        The file cannot be read; a cell is not of its column's type.
    """
    reader = TableReader(lambda row: f"{inert(path)}:[{row}]")
    first = 0
    with Path(path).open("rb") as file:
        for batch in _batches(file, path):
            names = names.rotated()
            yield reader.rows(batch, first, names, per_second)
            first += batch.num_rows


def _batches(file: IO[bytes], path: str) -> Iterator[RecordBatch]:
    try:
        yield from arrow_io.read_csv(file, schema(dictionaries=False), has_header=True)
    except Exception as error:  # the library raises bare exceptions
        raise ValueError(f"{path}: {error}") from None
