"""`lumen convert`: one recording as JSON lines, Parquet, Arrow, MCAP or CSV.

The rows stay the same: a replay of either file writes the same results. Lines that could not be
used become rows with their first place and sample, so that dead letters stay the same as well.
"""

from __future__ import annotations

import argparse
import errno
import gzip
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, get_args

import numpy as np
from backports import zstd

from configs.files import open_file, sync_folder
from configs.inert import inert
from configs.inputs import MCAP, PACKED, TimeUnit, is_delimited
from operators.errors import SourceError
from operators.limits import MAX_NAME_LENGTH
from ops.text.table import table
from sources.delimited.event_table import event_table
from sources.opening import open_recording, reader_at
from sources.recordings.recording import COLUMNAR, NEEDS_EXTRA, ColumnPiece, Piece, is_xdf
from sources.replay.recording_reader import rows_of
from sources.rows.names import REJECT, Names, is_rig
from sources.rows.rows import DecodedRows, as_reject
from sources.rows.written import LineDetails, details_of, lines_of_rows

_FORMS = (".ndjson", ".csv")
_PACKING = (*COLUMNAR, MCAP)
"""Forms with packing of their own."""
Part = tuple[DecodedRows, LineDetails]
Change = Callable[[Callable[[], Iterator[Part]]], Iterator[Part]]


class ConvertError(SourceError):
    """A recording that cannot be converted: one line with the reason."""

    def lines(self) -> list[str]:
        """Return the line."""
        return [f"lumen convert: {self}"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen convert`."""
    parser.add_argument("input", metavar="IN", help="a recording, packed or not, or a tape")
    parser.add_argument(
        "output",
        metavar="OUT",
        help="a new file: .ndjson or .csv (also .gz, .zst), .parquet, .arrow or .mcap",
    )
    parser.add_argument("--rig", metavar="NAME", help="rig of events without one; default: none")
    parser.add_argument(
        "--unit",
        choices=get_args(TimeUnit),
        help="of source stamps in IN, which are written in seconds; default: s",
    )


def main(args: argparse.Namespace) -> int:
    """Convert, and print the numbers of rows."""
    counts = convert(args.input, Path(args.output), args.rig, args.unit)
    rows = [(kind, f"{n:,}") for kind, n in counts.items() if n]
    size = Path(args.output).stat().st_size
    print(table(("rows", "count"), rows) if rows else "No row.")
    print(f"\n{inert(args.output)}  {size / 1000:.0f} kB")
    return 0


def convert(
    source: str,
    target: Path,
    rig: str | None = None,
    unit: TimeUnit | None = None,
    change: Change | None = None,
) -> dict[str, int]:
    """Write a recording in the form that the target's name ends with.

    Parameters
    ----------
    source : str
    target : Path
        A new file; it appears once it is complete.
    rig : str, optional
        Of events without one.
    unit : {'s', 'ms', 'us', 'ns'}, optional
        Of source stamps.
    change : callable, optional
        Takes the begin of a reading of the recording, and yields the rows to be written.

    Returns
    -------
    dict
        Number of rows by kind.

    Raises
    ------
    ConvertError
        Either file cannot be used, with the reason.
    """
    plain = str(target).lower()
    packed = next((ending for ending in PACKED if plain.endswith(ending)), "")
    form = Path(plain.removesuffix(packed)).suffix
    if form not in (*_FORMS, *_PACKING) or (packed and form in _PACKING):
        expected = ", ".join((*_FORMS, *_PACKING))
        raise ConvertError(f"{inert(str(target))}: expected a name that ends in {expected}")
    if rig is not None and not is_rig(rig):
        raise ConvertError(
            f"--rig {inert(rig)}: expected 1 to {MAX_NAME_LENGTH} bytes, no slash, no first point"
        )
    if os.path.lexists(target):
        raise ConvertError(f"{inert(str(target))}: exists already; choose another name")
    counts = dict.fromkeys(("events", "markers", "ticks", "not used"), 0)
    draft = target.with_name(target.name + ".tmp")
    try:
        reading = partial(parts_of, source, rig or "", unit)
        parts = _counted(change(reading) if change else reading(), counts)
        draft.unlink(missing_ok=True)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with open_file(draft, flags) as raw:
                with _packer(raw, packed) as file:
                    _written(parts, form, file, str(target))
                os.fsync(raw.fileno())
            if os.path.lexists(target):
                raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(target.parent)
    except OSError as error:
        named = error.filename or source
        why = error.strerror or str(error)
        raise ConvertError(f"{inert(str(named))}: {why}") from None
    except ValueError as error:
        raise ConvertError(inert(str(error))) from None
    return counts


def _packer(raw: IO[bytes], packed: str) -> IO[bytes]:
    if packed == ".gz":
        return gzip.GzipFile(fileobj=raw, mode="wb", mtime=0)  # type: ignore[return-value]
    if packed == ".zst":
        return zstd.ZstdFile(raw, "w")  # type: ignore[return-value]
    return io.BufferedWriter(os.fdopen(os.dup(raw.fileno()), "wb", buffering=0))


def parts_of(path: str, rig: str = "", unit: TimeUnit | None = None) -> Iterator[Part]:
    """Yield the rows of a recording in whole lines.

    Raises
    ------
    OSError, ValueError
        The recording cannot be read.
    """
    if is_xdf(path):
        raise ValueError(f"{path}: an XDF file; its clocks are corrected as a whole, in a replay")
    names = Names(rig)
    wide = is_delimited(path) and event_table(path) is None
    reader = reader_at(path, unit=unit)
    with closing(open_recording(path, unit=unit)) as recording:
        while not recording.ended:
            names = names.rotated()
            for piece in recording.read():
                if isinstance(piece, ColumnPiece):
                    yield piece.rows_and_details(names, reader.per_second)
                    continue
                assert isinstance(piece, Piece)
                for rows in rows_of(piece, reader, names):
                    if wide:  # the cells of a line are no array
                        nothing = np.full(len(rows), -1), np.full(len(rows), np.nan)
                        yield rows, LineDetails(*nothing)
                    else:
                        yield rows, details_of(rows, piece.data, piece.offset)


def _counted(parts: Iterable[Part], counts: dict[str, int]) -> Iterator[Part]:
    for rows, details in parts:
        texts = 0
        if rows.notes is not None:
            texts = sum(isinstance(note, str) for note in rows.notes)
            for note in rows.notes[rows.name == REJECT]:
                counts["not used"] += as_reject(note).count
        counts["markers"] += texts
        counts["events"] += int((rows.name >= 0).sum()) - texts
        counts["ticks"] += int((rows.name < REJECT).sum())
        yield rows, details


def _written(parts: Iterator[Part], form: str, file: IO[bytes], target: str) -> None:
    if form == ".ndjson":
        for rows, details in parts:
            file.write(lines_of_rows(rows, details))
        return
    if form == MCAP:
        try:
            from sources.mcap import mcap_writer  # an extra
        except ImportError:
            raise ValueError(f"{target}: needs the extra: lumen-fusion[mcap]") from None
        mcap_writer.write(file, (lines_of_rows(rows, details) for rows, details in parts))
        return
    try:
        from sources.columnar import columnar_csv, columnar_writer  # an extra
    except ImportError:
        raise ValueError(f"{target}: {NEEDS_EXTRA}") from None
    if form == ".csv":
        columnar_csv.write(file, parts)
    else:
        columnar_writer.write(file, parts, "arrow" if form == ".arrow" else "parquet")
