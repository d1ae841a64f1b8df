"""Writer of Parquet and Arrow files: rows as tables, a bounded number at once.

A Parquet file has row groups of `GROUP_ROWS` rows, packed by zstd. Names are dictionaries, numbers
are not: few of them repeat. An Arrow file has plain texts, since its format has one dictionary for
all record batches.

State: a row group, packed (about 4 MB), or a record batch. Cost: 0.5 us a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Literal, TypeAlias

from arro3.core import RecordBatch, RecordBatchReader, Schema
from arro3.io import write_ipc, write_parquet

from sources.columnar.row_tables import batch_of, merged, schema
from sources.columnar.table_process import NUMBERS
from sources.rows.rows import DecodedRows
from sources.rows.written import LineDetails

if TYPE_CHECKING:
    from arro3.io._parquet import ParquetColumnPath, ParquetEncoding

Parts: TypeAlias = Iterable[tuple[DecodedRows, LineDetails]]
GROUP_ROWS = 131_072
BATCH_ROWS = 65_536
_ENCODINGS: dict[ParquetColumnPath, ParquetEncoding] = {
    **dict.fromkeys(NUMBERS, "byte_stream_split"),
    "seq": "delta_binary_packed",
    "offset": "delta_binary_packed",
    "text": "plain",
}


def write(
    file: IO[bytes], parts: Parts, form: Literal["parquet", "arrow"], *, offset: bool = False
) -> None:
    """Write rows.

    Parameters
    ----------
    file : binary file
    parts : iterable of (DecodedRows, LineDetails)
        Whole lines; in tables of names whose first rig is "" or that of lines without one.
    form : {'parquet', 'arrow'}
    offset : bool
        With the place of each line.

    Raises
    ------
    OSError, ValueError
        Of `parts`; or the file cannot be written.
    """
    errors: list[BaseException] = []
    reader = tables(parts, schema(dictionaries=form == "parquet", offset=offset), errors)
    try:
        if form == "arrow":
            write_ipc(reader, file, compression=None)
        else:
            write_parquet(
                reader,
                file,
                compression="zstd(1)",
                max_row_group_size=GROUP_ROWS,
                data_page_row_count_limit=GROUP_ROWS,
                column_dictionary_enabled=dict.fromkeys(_ENCODINGS, False),
                column_encoding=_ENCODINGS,
            )
    except Exception as error:
        # The library replaces an error of the rows by one of its own.
        raise (errors[0] if errors else OSError(f"cannot write: {error}")) from None


def tables(parts: Parts, form: Schema, errors: list[BaseException]) -> RecordBatchReader:
    """Return rows as a stream of tables; an error of `parts` is entered in `errors`."""
    return RecordBatchReader.from_batches(form, _tables(parts, form, errors))


def _tables(parts: Parts, form: Schema, errors: list[BaseException]) -> Iterator[RecordBatch]:
    try:
        for part in _pieces(parts):
            yield batch_of(*part, form)
    except Exception as error:
        errors.append(error)
        raise


def _pieces(parts: Parts) -> Iterator[tuple[DecodedRows, LineDetails]]:
    """Yield parts of about `BATCH_ROWS` rows in one table of names."""
    pending: list[tuple[DecodedRows, LineDetails]] = []
    count = 0
    for rows, details in parts:
        if pending and (rows.names is not pending[0][0].names or count >= BATCH_ROWS):
            yield merged(pending)
            pending, count = [], 0
        if len(rows):
            pending.append((rows, details))
            count += len(rows)
    if pending:
        yield merged(pending)
