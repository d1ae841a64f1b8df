"""Delimited files of `lumen replay`: their dialects, as sentences and as YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from configs.inert import quoted
from configs.inputs import Columns, TimeUnit, is_delimited
from sources.delimited.dialect import LOOK, Dialect, find, is_number
from sources.delimited.event_table import event_table, raw_head
from sources.opening import head, reader_at
from sources.recordings.recording import is_xdf
from sources.replay import RecordingsError
from sources.rows.names import Names

_MIN_COUNT = 8
"""Texts needed for a remark on a channel."""
_MIN_DATE_S = 1e8
"""Smallest time that counts as a date since 1970 (three years)."""


def dialects(
    files: Sequence[Path], time: str | None = None, unit: TimeUnit | None = None
) -> dict[Path, Dialect]:
    """Return the dialect of each delimited file.

    Parameters
    ----------
    files : sequence of Path
    time : str, optional
        Name of the time column, in the files that have it.
    unit : {'s', 'ms', 'us', 'ns'}, optional
        Unit of the times.

    Raises
    ------
    RecordingsError
        With a line for each unreadable file, or no file has the column.
    """
    found: dict[Path, Dialect] = {}
    refused: list[str] = []
    missed: list[str] = []
    for file in files:
        if not (is_delimited(str(file)) and file.is_file()):
            continue
        try:
            if event_table(str(file)) is not None:
                continue
            start = raw_head(str(file), LOOK)
            columns = Columns(ts=time)
            if time is not None and time not in _columns(str(file), start):
                columns = Columns()
                missed.append(str(file))
            found[file] = find(str(file), start, columns, unit)
        except (OSError, ValueError) as error:
            refused.append(str(error))
    if time is not None and len(missed) == len(found) + len(refused):
        where = f": {', '.join(missed)}" if missed else ""
        refused = [*refused, f"--time {time}: no delimited file has a column of that name{where}"]
    since_1970 = {file: abs(table.first) >= _MIN_DATE_S for file, table in found.items()}
    if len(set(since_1970.values())) > 1:
        a, b = (next(f for f, x in since_1970.items() if x is kind) for kind in (False, True))
        refused.append(
            f"{a} has times from an origin of its own, {b} since 1970: they have"
            " no time in common; replay one of them"
        )
    if refused:
        raise RecordingsError(refused)
    return found


def _columns(path: str, start: bytes) -> tuple[str, ...]:
    """Return the names of the columns of a file."""
    return find(path, start, Columns(ts=None), None, any_time=True).names


def of_time(table: Dialect | None, unit: TimeUnit | None) -> str:
    """Return the keys of a stream that name its time column and unit, as YAML."""
    if table is None:
        return f", ts_unit: {unit}" if unit else ""
    named = f", columns: {{ts: {quoted(table.names[table.time])}}}"
    return named if table.dated else f"{named}, ts_unit: {table.unit}"


def remarks(files: Sequence[Path], found: Mapping[Path, Dialect]) -> list[str]:
    """Return remarks on files before their replay, a line each.

    A delimited file has a line on its dialect. A channel of other files whose texts are numbers
    with a decimal comma has a line on their use as markers.
    """
    lines = [f"{file}: {table.report()}." for file, table in found.items()]
    for file in files:
        if file.is_file() and file not in found and not is_xdf(str(file)):
            lines += [
                f"{file}: the texts of {channel} look like numbers ({text!r}) but are markers and"
                " not fused; write them as numbers, with a point and without quotes."
                for channel, text in _quoted_numbers(file).items()
            ]
    return lines


def _quoted_numbers(file: Path) -> dict[str, str]:
    """Return the channels whose first texts are all numbers, each with an example."""
    rows = reader_at(str(file)).decode(head(str(file), LOOK), 0, Names("studio"))
    texts: dict[str, list[str]] = {}
    if rows.notes is not None:
        for name, note in zip(rows.name.tolist(), rows.notes.tolist(), strict=True):
            if name >= 0 and isinstance(note, str):
                texts.setdefault(":".join(rows.names.channels[name]), []).append(note.strip())
    return {
        channel: found[0]
        for channel, found in texts.items()
        if len(found) >= _MIN_COUNT and all(is_number(x, ",") or is_number(x, ".") for x in found)
    }
