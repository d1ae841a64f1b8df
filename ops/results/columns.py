"""Results of a run as numpy columns, and as tables of pandas, polars or Parquet.

A column is called after its field; nested fields are joined with dots:
`signals.pulse.value`, `signals.pulse.weights.osc_1:/pulse`, `indicators.coherence`,
`facts.entropy_ratio`. Numbers are float64, with NaN for null; counts are int64 and flags bool
while none is null. Text is an object array of str, with None for null; a list of texts is one text,
joined with `; `.

Cost: about 20 us a tick. Memory: 8 bytes a number; a text is stored once for all equal ones.
"""

from __future__ import annotations

import importlib
import math
from array import array
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
from numpy.typing import NDArray

from ops.results.folder import rigs, run_json
from ops.results.lines import (
    BridgeLine,
    EvidenceLine,
    LineReader,
    MarkerPart,
    SampleLine,
    SyncLine,
    TickLine,
    Timed,
    UnusedLine,
)

TABLES: dict[str, type[Timed]] = {
    "fused": TickLine,
    "sync": SyncLine,
    "evidence": EvidenceLine,
    "dead": UnusedLine,
    "markers": MarkerPart,
    "bridge": BridgeLine,
    "aligned": SampleLine,
}
"""Files of a rig, and the type of their lines."""
ColumnKind = Literal["number", "count", "flag", "text"]


class TableColumns(Mapping[str, NDArray[Any]]):
    """One table: arrays of equal length by column name, in the order of the file's fields.

    Examples
    --------
    >>> table = Columns({"ts": np.array([0.0, 0.2]), "live": np.array([2, 2])})
    >>> table["ts"]
    array([0. , 0.2])
    >>> list(table), len(table["live"])
    (['ts', 'live'], 2)
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self._columns = dict(columns)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"Columns({self.rows} rows: {', '.join(self)})"

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self._columns.values()), ()))

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame`.

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        return _package("pandas", "to_pandas").DataFrame(self._columns)

    def to_polars(self) -> Any:
        """Return a `polars.DataFrame`, with nulls in place of NaN.

        Raises
        ------
        ImportError
            polars is not installed.
        """
        polars = _package("polars", "to_polars")
        series = []
        for name, column in self.items():
            if column.dtype == object:
                series.append(polars.Series(name, column.tolist(), dtype=polars.String))
            else:
                series.append(polars.Series(name, column, nan_to_null=True))
        return polars.DataFrame(series)

    def to_parquet(self, path: str | Path) -> None:
        """Write a Parquet file, with nulls in place of NaN.

        Parameters
        ----------
        path : str or Path
            The file; an existing one is replaced.

        Raises
        ------
        ImportError
            Neither pyarrow nor polars is installed.
        """
        try:
            arrow = importlib.import_module("pyarrow")
        except ImportError:
            _package("polars", "to_parquet", "pyarrow")
            self.to_polars().write_parquet(path)
            return
        text = arrow.string()
        arrays = {
            name: arrow.array(column, text if column.dtype == object else None, from_pandas=True)
            for name, column in self.items()
        }
        importlib.import_module("pyarrow.parquet").write_table(arrow.table(arrays), path)


class RigColumns:
    """The tables of one rig; each is read at its first use.

    Attributes
    ----------
    name : str
    folder : Path
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self._reader = LineReader(folder)

    @property
    def unread(self) -> int:
        """Lines that could not be decoded in the tables read so far, such as a torn last one."""
        return self._reader.unread

    @cached_property
    def fused(self) -> TableColumns:
        """Ticks: value, sd and weights of each signal, and the indicators."""
        return self._table("fused")

    @cached_property
    def sync(self) -> TableColumns:
        """Reports of each channel: clock, lag, unit and counts."""
        return self._table("sync")

    @cached_property
    def evidence(self) -> TableColumns:
        """Rules that fired or were resolved."""
        return self._table("evidence")

    @cached_property
    def dead(self) -> TableColumns:
        """Dead letters by stage, reason and source."""
        return self._table("dead")

    @cached_property
    def markers(self) -> TableColumns:
        """Markers on the host time axis."""
        return self._table("markers")

    @cached_property
    def bridge(self) -> TableColumns:
        """Ticks of the bridge's clock and changes of its state; no rows without a bridge."""
        return self._table("bridge")

    @cached_property
    def aligned(self) -> TableColumns:
        """Used samples on the host time axis; no rows without `output.aligned`."""
        return self._table("aligned")

    def tables(self) -> dict[str, TableColumns]:
        """Return all tables by the name of their file."""
        return {name: getattr(self, name) for name in TABLES}

    def to_pandas(self) -> dict[str, Any]:
        """Return a `pandas.DataFrame` of each table."""
        return {name: table.to_pandas() for name, table in self.tables().items()}

    def to_polars(self) -> dict[str, Any]:
        """Return a `polars.DataFrame` of each table."""
        return {name: table.to_polars() for name, table in self.tables().items()}

    def to_parquet(self, folder: str | Path) -> None:
        """Write each table as `<name>.parquet` into a folder, created if absent."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, table in self.tables().items():
            table.to_parquet(Path(folder, f"{name}.parquet"))

    def _table(self, stem: str) -> TableColumns:
        kind = TABLES[stem]
        found: dict[str, _Column] = {}
        for name, field in _fields(kind).items():
            if field is not None:
                found[name] = _Column(field)
        rows = 0
        for line in self._reader.lines(stem, kind):
            for name, field, value in _leaves(line):
                column = found.get(name) or found.setdefault(name, _Column(field))
                column.put(rows, value)
            rows += 1
        return TableColumns({name: column.array(rows) for name, column in found.items()})


class RunColumns:
    """The results of one run.

    Attributes
    ----------
    folder : Path
    run : dict
        Content of `run.json`; empty for a run without a readable one.
    rigs : dict of RigColumns
        By name, in the order of their folders.

    Notes
    -----
    `fused`, `sync`, `evidence`, `dead`, `markers`, `bridge` and `aligned` are those of the only
    rig. With several rigs they raise ValueError: use `rigs[name].fused`.
    """

    def __init__(self, folder: Path, run: dict[str, Any], found: Mapping[str, RigColumns]) -> None:
        self.folder, self.run, self.rigs = folder, run, dict(found)

    @property
    def fused(self) -> TableColumns:
        """Ticks of the only rig."""
        return self._only.fused

    @property
    def sync(self) -> TableColumns:
        """Sync reports of the only rig."""
        return self._only.sync

    @property
    def evidence(self) -> TableColumns:
        """Evidence of the only rig."""
        return self._only.evidence

    @property
    def dead(self) -> TableColumns:
        """Dead letters of the only rig."""
        return self._only.dead

    @property
    def markers(self) -> TableColumns:
        """Markers of the only rig."""
        return self._only.markers

    @property
    def bridge(self) -> TableColumns:
        """Ticks of the bridge's clock of the only rig."""
        return self._only.bridge

    @property
    def aligned(self) -> TableColumns:
        """Used samples of the only rig."""
        return self._only.aligned

    def to_pandas(self) -> dict[str, Any]:
        """Return a `pandas.DataFrame` of each table of the only rig."""
        return self._only.to_pandas()

    def to_polars(self) -> dict[str, Any]:
        """Return a `polars.DataFrame` of each table of the only rig."""
        return self._only.to_polars()

    def to_parquet(self, folder: str | Path) -> None:
        """Write `<table>.parquet`, or `<rig>/<table>.parquet` of several rigs, into a folder."""
        for name, rig in self.rigs.items():
            rig.to_parquet(Path(folder, name) if len(self.rigs) > 1 else folder)

    @property
    def _only(self) -> RigColumns:
        if len(self.rigs) > 1:
            raise ValueError(
                f"{self.folder} has {len(self.rigs)} rigs ({', '.join(self.rigs)}): choose one,"
                f" for instance .rigs[{next(iter(self.rigs))!r}].fused"
            )
        return next(iter(self.rigs.values()))


def open_run(folder: str | Path) -> RunColumns:
    """Open the results of a run; the run may be active, killed or rotated.

    Parameters
    ----------
    folder : str or Path
        `output.dir` of the run.

    Returns
    -------
    RunColumns

    Raises
    ------
    FileNotFoundError
        The folder has no `fused.jsonl`, neither itself nor in a subfolder.
    """
    folder = Path(folder)
    found = rigs(folder)
    if not found:
        raise FileNotFoundError(f"{folder}: no results of a run, expected fused.jsonl")
    run: dict[str, Any] = {}
    with suppress(msgspec.DecodeError, OSError):
        run = run_json(folder)
    named = {}
    for results in found:
        name = results.folder.name
        if results.folder == folder:
            name = next((tick.rig for tick in results.ticks() if tick.rig), "") or name
        named[name] = RigColumns(results.folder, name)
    return RunColumns(folder, run, named)


class _Column:
    """Values of one column, row by row; rows without a value are null."""

    def __init__(self, kind: ColumnKind) -> None:
        self.kind = kind
        self._numbers = array("d")
        self._texts: list[str | None] = []
        self._known: dict[str, str] = {}

    def put(self, row: int, value: Any) -> None:
        """Set the value of a row; rows ascend."""
        self._pad(row)
        if self.kind == "text":
            self._texts.append(None if value is None else self._known.setdefault(value, value))
        else:
            self._numbers.append(math.nan if value is None else value)

    def array(self, rows: int) -> NDArray[Any]:
        """Return the column, filled up to `rows`."""
        self._pad(rows)
        if self.kind == "text":
            texts = np.empty(rows, dtype=object)
            texts[:] = self._texts
            return texts
        numbers = np.array(self._numbers)
        if self.kind == "number" or not np.isfinite(numbers).all():
            return numbers
        return numbers.astype(np.int64 if self.kind == "count" else np.bool_)

    def _pad(self, rows: int) -> None:
        if self.kind == "text":
            self._texts.extend([None] * (rows - len(self._texts)))
        else:
            self._numbers.extend([math.nan] * (rows - len(self._numbers)))


@cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, ColumnKind | None]:
    """Return the fields of a line's type with the kind of their column; None if nested."""
    kinds: dict[type, ColumnKind] = {float: "number", int: "count", bool: "flag", str: "text"}
    hints = get_type_hints(kind)
    found: dict[str, ColumnKind | None] = {}
    for name in kind.__struct_fields__:
        hint = hints[name]
        nested = get_origin(hint) is dict
        # Of `float | None` and `list[str]` alike, the first argument is the type of a value.
        found[name] = None if nested else kinds[(get_args(hint) or (hint,))[0]]
    return found


def _leaves(line: msgspec.Struct, prefix: str = "") -> Iterator[tuple[str, ColumnKind, Any]]:
    """Yield each scalar below a line as (dotted name, kind of its column, value)."""
    for name, field in _fields(type(line)).items():
        value = getattr(line, name)
        if field is not None:
            yield prefix + name, field, "; ".join(value) if isinstance(value, list) else value
            continue
        for key, part in value.items():
            if isinstance(part, msgspec.Struct):
                yield from _leaves(part, f"{prefix}{name}.{key}.")
            else:
                yield f"{prefix}{name}.{key}", "number", part


def _package(name: str, method: str, alternative: str = "") -> ModuleType:
    """Return an optional package."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        needed = f"{alternative} or {name}" if alternative else name
        raise ImportError(
            f"{method}() needs {needed}: pip install {alternative or name}", name=name
        ) from error
