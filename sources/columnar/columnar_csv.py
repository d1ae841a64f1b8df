"""The table of rows as CSV, one row a line, nulls as empty cells (`delimited/event_table.py`)."""

from __future__ import annotations

from typing import IO

from arro3 import io as arrow_io

from sources.columnar.columnar_writer import Parts, tables
from sources.columnar.row_tables import schema


def write(file: IO[bytes], parts: Parts) -> None:
    """Write rows, as `columnar_writer.write`."""
    errors: list[BaseException] = []
    try:
        arrow_io.write_csv(tables(parts, schema(dictionaries=False), errors), file, header=True)
    except Exception as error:  # the library raises bare exceptions, and hides those of `parts`
        raise (errors[0] if errors else OSError(f"cannot write: {error}")) from None
