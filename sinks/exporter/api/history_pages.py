"""Pages of the history: rows of one rig in order of run and time, after the key of the last row.

Rows of a run are stored in this order, so that pages neither skip nor repeat rows while rows are
added. A page ends at its limit, at `MAX_BYTES`, or when its time is over; one without a row then
raises `QueryEndedError`.

The rows of one run are read in steps of about `MAX_BYTES`: memory does not grow with the limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from operators.errors import SourceError
from sinks.exporter.api.page_key import Key, key_of, text_of
from sinks.exporter.api.reader_pool import ReaderPool
from sinks.history.back_end import MAX_QUERY_S, BackEnd, QueryEndedError, Row
from sinks.history.tables import EVIDENCE, INDICATORS, MINUTE, SIGNAL, SYNC, TICK, Table

Kind: TypeAlias = Literal["ticks", "signals", "sync", "evidence", "minutes"]
MAX_ROWS, DEFAULT_ROWS = 10_000, 1_000
"""Rows a page."""
MAX_BYTES = 4 << 20
"""Bytes of rows a page."""
MAX_TEXT = 256 << 10
"""A longer JSON object in a row is left out (null), so that a row fits into a page."""
_FIRST_STEP, _STEP = 32, 500
_SINCE, _UNTIL = -1e300, 1e300


class Resource(NamedTuple):
    """How a table is shown.

    Attributes
    ----------
    table : Table
    names : dict of str to str
        Columns that are numbers of names, with the kind of their names.
    objects : tuple of str
        Columns that hold a JSON object.
    order : tuple of str
        Columns that order the rows of a run.
    values : dict of str to str
        Shown columns and their expressions.
    """

    table: Table
    names: dict[str, str]
    objects: tuple[str, ...]
    order: tuple[str, ...]
    values: dict[str, str]


def _resource(
    table: Table,
    order: str = "ts",
    names: dict[str, str] | None = None,
    objects: tuple[str, ...] = (),
    values: dict[str, str] | None = None,
) -> Resource:
    names = names or {}
    values = values or {}
    if not values:
        for column in table.columns[2:]:
            if column.name in objects:
                text = f"t.{column.name}"
                values[column.name] = (
                    f"CASE WHEN length({text}) <= {MAX_TEXT} THEN {text} ELSE 'null' END"
                )
            else:
                named = column.name in names
                values[column.name] = f"{column.name}.text" if named else f"t.{column.name}"
    return Resource(table, names, objects, tuple(order.split()), values)


def _minute_values() -> dict[str, str]:
    values = {
        "ts": "t.ts",
        "signal": "signal.text",
        "ticks": "t.ticks",
        "share_fused": "CASE WHEN t.ticks > 0 THEN CAST(t.fused AS double precision) / t.ticks END",
    }
    for name in ("value", *INDICATORS.split(), "sync_bound_s"):
        count = f"t.{name}_count"
        values[f"{name}_count"] = count
        values[f"{name}_mean"] = f"CASE WHEN {count} > 0 THEN t.{name}_sum / {count} END"
        values |= {f"{name}_{part}": f"t.{name}_{part}" for part in ("min", "max")}
    return values


RESOURCES: dict[Kind, Resource] = {
    "ticks": _resource(TICK),
    "signals": _resource(SIGNAL, "ts signal", {"signal": "signal"}, ("weights",)),
    "sync": _resource(SYNC, "ts channel why", {"channel": "channel"}),
    "evidence": _resource(EVIDENCE, "ts rule state", {"rule": "rule"}, ("facts",)),
    "minutes": _resource(MINUTE, "ts signal", {"signal": "signal"}, values=_minute_values()),
}
_RIG = "SELECT id FROM name WHERE kind = 'rig' AND text = :rig"
_RUNS = (
    "SELECT r.run, n.text FROM run AS r JOIN name AS n ON n.id = r.run WHERE r.run >= :first"
    " AND EXISTS (SELECT 1 FROM place AS p WHERE p.run = r.run AND p.rig = :rig) ORDER BY r.run"
)
_NEWEST = "SELECT ts, mode, live FROM tick WHERE run = :run AND rig = :rig ORDER BY ts DESC LIMIT 1"
_encode = msgspec.json.Encoder().encode


class UnknownRigError(SourceError, ValueError):
    """The history has no such rig."""


class HistoryPage(NamedTuple):
    """Rows as JSON, the key of the last one, and whether there are more now."""

    rows: list[bytes]
    after: str | None
    more: bool


class HistoryPages:
    """Pages of one store.

    Parameters
    ----------
    dsn : str
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, dsn: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.pool = ReaderPool(dsn)
        self._clock = clock

    def page(
        self,
        kind: Kind,
        rig: str,
        since: float | None = None,
        until: float | None = None,
        limit: int = DEFAULT_ROWS,
        after: str | None = None,
    ) -> HistoryPage:
        """Return a page.

        Parameters
        ----------
        kind : Kind
        rig : str
        since, until : float, optional
            Times of the rows, `until` excluded (s since the epoch).
        limit : int
            Largest number of rows.
        after : str, optional
            Key of the last row of the page before.

        Raises
        ------
        ValueError
            `after` is no key of this resource; `UnknownRigError` for a rig without rows.
        HistoryError, AwayError
            As `ReaderPool.reader`.
        QueryEndedError
            No row was found in time.
        """
        resource = RESOURCES[kind]
        types = {"integer": int, "real": float, "text": str}
        kinds = {column.name: types[column.type] for column in resource.table.columns}
        order = tuple(kinds[name] for name in resource.order)
        last = key_of(after, (str, int, *order)) if after is not None else None
        if last is not None and last[0] != kind:
            raise ValueError("after is the key of another resource")
        deadline = self._clock() + MAX_QUERY_S
        rows: list[bytes] = []
        key, size = last, 0
        try:
            with self.pool.reader() as store:
                for row_key, line in self._rows(
                    store, deadline, resource, kind, rig, since, until, limit + 1, last
                ):
                    if len(rows) == limit or size + len(line) + 1 > MAX_BYTES:
                        return HistoryPage(rows, _text(key), more=True)
                    rows.append(line)
                    key, size = row_key, size + len(line) + 1
        except QueryEndedError:
            if not rows:
                raise
            return HistoryPage(rows, _text(key), more=True)
        return HistoryPage(rows, _text(key), more=False)

    def rigs(self) -> list[dict[str, Any]]:
        """Return all rigs, each with its newest tick.

        Raises
        ------
        HistoryError, AwayError, QueryEndedError
        """
        deadline, found = self._clock() + MAX_QUERY_S, []
        with self.pool.reader() as store:
            query = self._query(store, deadline)
            for rig, text in query("SELECT id, text FROM name WHERE kind = 'rig' ORDER BY text"):
                newest: Row = (None, None, None)
                for run, _ in reversed(query(_RUNS, {"first": 0, "rig": rig})):
                    if ticks := query(_NEWEST, {"run": run, "rig": rig}):
                        newest = ticks[0]
                        break
                found.append(dict(zip(("rig", "ts", "mode", "live"), (text, *newest), strict=True)))
        return found

    def _query(self, store: BackEnd, deadline: float) -> Callable[..., list[Row]]:
        """Return a function that runs queries within the time that is left."""

        def query(sql: str, values: dict[str, Any] | None = None) -> list[Row]:
            left_s = deadline - self._clock()
            if left_s <= 0:
                raise QueryEndedError("the time of the request is over")
            return list(store.rows(sql, values, left_s))

        return query

    def _rows(
        self,
        store: BackEnd,
        deadline: float,
        resource: Resource,
        kind: str,
        rig: str,
        since: float | None,
        until: float | None,
        limit: int,
        last: Key | None,
    ) -> Iterator[tuple[Key, bytes]]:
        """Yield rows with their keys, at least `limit` if there are so many."""
        query = self._query(store, deadline)
        numbers = query(_RIG, {"rig": rig})
        if not numbers:
            raise UnknownRigError
        number, first = numbers[0][0], last[1] if last is not None else 0
        names = tuple(resource.values)
        step = _FIRST_STEP
        for run, run_text in query(_RUNS, {"first": first, "rig": number}):
            position = last[2:] if last is not None and run == last[1] else None
            span = {
                "run": run, "rig": number,
                "since": _SINCE if since is None else since,
                "until": _UNTIL if until is None else until,
            }  # fmt: skip
            while True:
                count = min(step, limit)
                values = span | {"limit": count}
                if position is not None:
                    places = (f"after_{name}" for name in resource.order)
                    values |= dict(zip(places, position, strict=True))
                    values["since"] = max(span["since"], position[0])
                found, size = query(_sql(resource, position is not None), values), 0
                for row in found:
                    shown, position = row[: len(names)], row[len(names) :]
                    known = {"run": run_text, "rig": rig, **dict(zip(names, shown, strict=True))}
                    for name in resource.objects:
                        known[name] = msgspec.Raw(known[name].encode())
                    line = _encode(known)
                    size += len(line)
                    yield (kind, run, *position), line
                limit -= len(found)
                if found:
                    step = min(max(MAX_BYTES * len(found) // size, 1), _STEP)
                if len(found) < count or limit <= 0:
                    break
            if limit <= 0:
                return


def _sql(resource: Resource, later: bool) -> str:
    """Return the statement of a step; a plus keeps an index by run and rig from being chosen.

    That index does not order the rows by time where another column of the key comes first.
    """
    table = resource.table
    plus = "" if table.key[2] == "ts" else "+"
    order = ", ".join(f"t.{name}" for name in resource.order)
    shown = ", ".join(f"{value} AS {name}" for name, value in resource.values.items())
    keys = ", ".join(f"t.{name} AS key_{name}" for name in resource.order)
    joins = "".join(f" JOIN name AS {n} ON {n}.id = t.{n}" for n in resource.names)
    places = ", ".join(f":after_{name}" for name in resource.order)
    tail = f" AND ({order}) > ({places})" if later else ""
    return (
        f"SELECT {shown}, {keys} FROM {table.name} AS t{joins}"
        f" WHERE {plus}t.run = :run AND {plus}t.rig = :rig AND t.ts >= :since AND t.ts < :until"
        f"{tail} ORDER BY {order} LIMIT :limit"
    )


def _text(key: Key | None) -> str | None:
    return None if key is None else text_of(key)
