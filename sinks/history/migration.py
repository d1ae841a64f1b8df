"""Copies a store to an empty one of either kind.

Rows go in the order of their key, `PAGE` rows a transaction. The place that is reached is a part of
that transaction: a copy that was ended at any point goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import msgspec

from sinks.history.back_end import BackEnd, HistoryError, Row
from sinks.history.tables import META, NAME, PLACE, RUN, TABLES, Table

PAGE = 5_000
"""Rows in one transaction."""
STATE = "migration"
"""Key of `meta` in the target while the copy is not complete; its value is empty afterwards."""
_ORDER = (NAME, RUN, *(t for t in TABLES if t not in (META, NAME, RUN, PLACE)), PLACE)
Counts = dict[str, int]


class _State(msgspec.Struct):
    """The place that a copy has reached: the last key of a table.

    Attributes
    ----------
    counts : dict
        Rows of the source by table when the copy began.
    table : str
    after : list
        Empty before the first row.
    """

    counts: Counts
    table: str = _ORDER[0].name
    after: list[Any] = []


def migrate(
    source: BackEnd, target: BackEnd, copied: Callable[[str, int], None] = lambda name, rows: None
) -> Counts:
    """Copy all rows of a store, and compare the counts.

    Parameters
    ----------
    source, target : BackEnd
        Both are held until they are closed.
    copied : callable
        Takes the name of a table and the number of its rows after each table.

    Returns
    -------
    dict
        Rows by table.

    Raises
    ------
    HistoryError
        A follower holds one of them, the target has rows already, the source has changed since the
        copy began, or the counts differ at the end.
    AwayError
        A database is away; the next call goes on.
    """
    source.hold()
    target.hold()
    counts, state = _counts(source), state_of(target)
    if state is None:
        if filled := [name for name, rows in _counts(target).items() if rows]:
            raise HistoryError(f"the target has rows in {', '.join(filled)}; name an empty store")
        state = _State(counts)
    elif state.counts != counts:
        raise HistoryError("the source has changed since the copy began; name an empty store")
    tables = [table.name for table in _ORDER]
    for table in _ORDER[tables.index(state.table) :]:
        if state.table != table.name:
            state = _State(counts, table.name)
        for rows in _pages(source, table, state.after):
            state.after = [rows[-1][place] for place in _places(table)]
            with target.transaction():
                target.write(table, rows)
                target.write(META, [(STATE, msgspec.json.encode(state).decode())])
        copied(table.name, counts[table.name])
    arrived = _counts(target)
    if arrived != counts:
        differ = [f"{n} {arrived[n]:,} of {counts[n]:,}" for n in counts if arrived[n] != counts[n]]
        raise HistoryError(f"the counts differ after the copy: {', '.join(differ)}")
    target.write(META, [(STATE, "")])
    return counts


def state_of(store: BackEnd) -> _State | None:
    """Return the place of a copy into a store that is not complete; None without one."""
    for (text,) in store.rows("SELECT value FROM meta WHERE key = :key", {"key": STATE}, inf):
        return msgspec.json.decode(text, type=_State) if text else None
    return None


def _counts(store: BackEnd) -> Counts:
    found: Counts = {}
    for table in _ORDER:
        ((rows,),) = store.rows(f"SELECT count(*) FROM {table.name}", limit_s=inf)
        found[table.name] = int(rows)
    return found


def _places(table: Table) -> list[int]:
    names = [column.name for column in table.columns]
    return [names.index(name) for name in table.key]


def _pages(store: BackEnd, table: Table, after: list[Any]) -> Iterator[list[Row]]:
    """Yield the rows beyond a key, in the order of the key."""
    key = ", ".join(table.key)
    names = ", ".join(column.name for column in table.columns)
    while True:
        beyond, values = "", dict(zip("abcdefgh", after, strict=False))
        if after:
            beyond = f" WHERE ({key}) > ({', '.join(f':{name}' for name in values)})"
        sql = f"SELECT {names} FROM {table.name}{beyond} ORDER BY {key} LIMIT {PAGE}"
        rows = list(store.rows(sql, values, inf))
        if not rows:
            return
        yield rows
        after = [rows[-1][place] for place in _places(table)]
