"""Tables that hold plain events only: numbers with all their times, without texts and arrays.

Most tables of a recording are of this kind. Their rows need no verdict one by one: a few sums and
extremes show that none of them is refused. Any other table is read by `TableReader`, which agrees.

Cost: 20 ns a row. State, losses: none.
"""

from __future__ import annotations

import numpy as np
from arro3.core import Array, DataType, dictionary_dictionary, dictionary_indices

from operators.limits import MAX_STAMP_S
from operators.types import F64, I64
from sources.columnar.table_process import DICTIONARY
from sources.rows.names import REJECT, Names
from sources.rows.rows import DecodedRows

MAX_TABLE = 1 << 18
"""Size of a table of combinations of names; above it they are sorted."""
_FLOAT, _INTEGER = DataType.float64(), DataType.int64()


class _Codes:
    """A column of names without nulls: numbers into a dictionary."""

    def __init__(self, column: Array) -> None:
        self.code = dictionary_indices(column).to_numpy()
        self._every = dictionary_dictionary(column)
        self.size = len(self._every)

    def texts(self) -> dict[int, str | None]:
        """Return the used texts by their numbers."""
        used = np.flatnonzero(np.bincount(self.code))
        found = self._every.take(Array.from_numpy(used.astype(np.uint32))).to_pylist()
        return dict(zip(used.tolist(), found, strict=True))


def plain_events(
    columns: dict[str, Array], line: I64, names: Names, per_second: float
) -> DecodedRows | None:
    """Return the rows of a table; None if it has anything beside plain events.

    Parameters
    ----------
    columns : dict
        Of one length, by name.
    line : int64 (n,)
        Number of the line of each row.
    names : Names
        Numbers the channels; new ones are entered.
    per_second : float
        Units of the source's stamps in a second.
    """
    n = len(line)
    if not n or any(not _is_void(columns.get(name), n) for name in ("text", "element")):
        return None
    kind = columns.get("kind")
    if kind is not None and (not _is_full(kind, DICTIONARY) or not _is_all(kind, "event")):
        return None
    ts, value = _numbers(columns.get("ts")), _numbers(columns.get("value"))
    if ts is None or value is None or not np.isfinite(value.sum()):
        return None
    if per_second != 1:
        ts /= per_second
    rx, stamped = ts.copy(), False
    if not _is_void(columns.get("rx"), n):
        own = _numbers(columns.get("rx"))
        if own is None or not _is_time(own):
            return None
        rx, stamped = own, True
    if not _is_time(ts):
        return None
    seq = np.full(n, -1)
    if not _is_void(columns.get("seq"), n):
        if not _is_full(columns["seq"], _INTEGER):
            return None
        seq = np.array(columns["seq"].to_numpy())
    name = _channels(columns, n, names)
    if name is None:
        return None
    return DecodedRows(
        names=names,
        name=name,
        ts=ts,
        rx=rx,
        value=value,
        stamped=np.full(n, stamped),
        seq=seq,
        line=line,
    )


def _is_void(column: Array | None, n: int) -> bool:
    return column is None or column.null_count == n or DataType.is_null(column.type)


def _is_full(column: Array | None, form: DataType) -> bool:
    return column is not None and column.type == form and not column.null_count


def _is_all(column: Array, text: str) -> bool:
    return set(_Codes(column).texts().values()) == {text}


def _is_time(seconds: F64) -> bool:
    return bool(seconds.min() >= -MAX_STAMP_S and seconds.max() <= MAX_STAMP_S)


def _numbers(column: Array | None) -> F64 | None:
    """Return a copy of a column of float64 without nulls."""
    return np.array(column.to_numpy()) if column is not None and _is_full(column, _FLOAT) else None


def _channels(columns: dict[str, Array], n: int, names: Names) -> np.ndarray | None:
    """Return the number of each row's channel; None if a name is missing or refused."""
    source, key, rig = (columns.get(name) for name in ("source", "key", "rig"))
    given = [source, key] if _is_void(rig, n) else [source, key, rig]
    if any(not _is_full(column, DICTIONARY) for column in given):
        return None
    parts = [_Codes(column) for column in given if column is not None]
    sizes = [part.size for part in parts]
    if int(np.prod(sizes, dtype=float)) > MAX_TABLE:
        return None
    mixed = parts[0].code.astype(np.int64)
    for part in parts[1:]:
        mixed *= part.size
        mixed += part.code
    texts = [part.texts() for part in parts]
    table = np.full(int(np.prod(sizes)), REJECT, np.int32)
    for combination in np.flatnonzero(np.bincount(mixed)).tolist():
        codes, rest = [], combination
        for size in reversed(sizes):
            rest, code = divmod(rest, size)
            codes.append(code)
        found = [own[code] for own, code in zip(texts, reversed(codes), strict=True)]
        if any(text is None for text in found):
            return None
        name = names[(found[2] if len(found) > 2 else None, str(found[0]), str(found[1]))]
        if name == REJECT:
            return None
        table[combination] = name
    return table[mixed]
