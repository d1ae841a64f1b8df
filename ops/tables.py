"""Delimited files of `lumen replay`: their dialects, as sentences and as YAML."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from configs.schema import Columns, TimeUnit, is_delimited
from sources.dialect import LOOK, Dialect, find
from sources.tape import head

_LONGEST_S = 1e8
"""Three years: times below are no dates."""


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
        Of times.

    Raises
    ------
    SystemExit
        Code 2, after a line for each file that cannot be read, or when none has the column.
    """
    found: dict[Path, Dialect] = {}
    refused: list[str] = []
    missed: list[str] = []
    for file in files:
        if not (is_delimited(str(file)) and file.is_file()):
            continue
        try:
            start = head(str(file), LOOK)
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
    since_1970 = {file: abs(table.first) >= _LONGEST_S for file, table in found.items()}
    if len(set(since_1970.values())) > 1:
        a, b = (next(f for f, x in since_1970.items() if x is kind) for kind in (False, True))
        refused.append(f"{a} counts its time from an origin of its own, {b} since 1970: they have"
                       " no time in common; replay one of them")  # fmt: skip
    if refused:
        print(*(f"lumen: {line}" for line in refused), sep="\n", file=sys.stderr)
        raise SystemExit(2)
    return found


def _columns(path: str, start: bytes) -> tuple[str, ...]:
    """Return the names of a file's columns, whichever of them is the time."""
    return find(path, start, Columns(ts=None), None, any_time=True).names


def of_time(table: Dialect | None, unit: TimeUnit | None) -> str:
    """Return the part of a stream's flow mapping that names its time column and unit."""
    if table is None:
        return f", ts_unit: {unit}" if unit else ""
    named = f", columns: {{ts: {json.dumps(table.names[table.time], ensure_ascii=False)}}}"
    return named if table.dated else f"{named}, ts_unit: {table.unit}"


def remarks(found: Mapping[Path, Dialect]) -> list[str]:
    """Return a line for each delimited file: how it is read."""
    return [f"{file}: {table.report()}." for file, table in found.items()]
