"""Views of the tables, with texts in place of the numbers of names.

Each is named like its table with an s: `ticks`, `signals`, `syncs`, `evidences`, `bridges`,
`deads`, `minutes`. Each row has its run, the version of the program that made it, when the run
started, and its rig. `minutes` has means beside the sums. PostgreSQL adds a column `ts_at` of type
`timestamptz` for `ts`, and likewise for the other times.
"""

from __future__ import annotations

from collections.abc import Iterator

from sinks.history.tables import BRIDGE, DEAD, EVIDENCE, MINUTE, SIGNAL, SYNC, TICK, Column, Table

VIEWED = (TICK, SIGNAL, SYNC, EVIDENCE, BRIDGE, DEAD, MINUTE)
"""Tables with a view."""
NAMED = ("run", "rig", "signal", "channel", "rule")
"""Columns that hold numbers of names."""
_TIMES = ("ts", "released", "since", "reset_at", "known")


def view_of(table: Table) -> str:
    """Return the name of a table's view."""
    return f"{table.name}s"


def columns_of(table: Table) -> list[Column]:
    """Return the columns of a table's view, without those that PostgreSQL adds."""
    columns: list[Column] = []
    for column in table.columns:
        columns.append(Column(column.name, "text") if column.name in NAMED else column)
        if column.name == "run":
            columns.append(Column("version", "text", null=True))
            columns.append(Column("started", "real", null=True))
        if table is MINUTE and column.name.endswith("_sum"):
            columns.append(Column(column.name.replace("_sum", "_mean"), "real", null=True))
    return columns


def views(time: str) -> list[str]:
    """Return the statements that create the views.

    Parameters
    ----------
    time : str
        Expression of a time, with `{}` for seconds since the epoch; only `{}` adds no column.
    """
    return [
        f"CREATE VIEW {view_of(table)} AS SELECT {', '.join(_selected(table, time))}"
        f" FROM {table.name}{''.join(_joined(table))}"
        for table in VIEWED
    ]


def _selected(table: Table, time: str) -> Iterator[str]:
    here = {column.name for column in table.columns}
    for column in columns_of(table):
        name = column.name
        if name in NAMED:
            yield f"{name}_name.text AS {name}"
        elif name in ("version", "started"):
            yield f"run.{name} AS {name}"
        elif name in here:
            yield f"{table.name}.{name} AS {name}"
        else:
            of = name.removesuffix("_mean")
            yield f"{table.name}.{of}_sum / {table.name}.{of}_count AS {name}"
    if time != "{}":
        yield from (
            f"{time.format(f'{table.name}.{name}')} AS {name}_at" for name in _TIMES if name in here
        )


def _joined(table: Table) -> Iterator[str]:
    for column in table.columns:
        if (name := column.name) in NAMED:
            yield f" JOIN name AS {name}_name ON {name}_name.id = {table.name}.{name}"
    yield f" LEFT JOIN run ON run.run = {table.name}.run"
