"""Copies of a store: any kind to any kind, ended at any point, into stores that do not fit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ops import __main__ as lumen
from ops.fakes.postgres_server import ESCAPED, PASSWORD, PostgresServer
from sinks.history import migration
from sinks.history.back_end import AwayError, BackEnd, HistoryError
from sinks.history.migration import migrate
from sinks.history.open_store import opened
from sinks.history.tables import META, TABLES, TICK
from tests.support.demo_history import fill
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]


def _rows(store: BackEnd) -> dict[str, list[Any]]:
    found = {}
    for table in TABLES:
        names = ", ".join(column.name for column in table.columns)
        sql = f"SELECT {names} FROM {table.name} ORDER BY {', '.join(table.key)}"
        if table is not META:
            found[table.name] = sorted(store.rows(sql, limit_s=60.0))
    return found


@pytest.fixture
def source(tmp_path: Path) -> Iterator[str]:
    """The address of a store with two rigs."""
    dsn = f"sqlite:{tmp_path / 'source.sqlite'}"
    with closing(opened(dsn)) as store:
        fill(store)
        fill(store, rig="hall", run="second", version="2.1", started=1740000000.0)
    yield dsn


def _copy(source: str, target: str) -> dict[str, int]:
    with closing(opened(source)) as old, closing(opened(target, unfinished=True)) as new:
        return migrate(old, new)


def test_each_kind_is_copied_to_each(source: str, any_dsn: str, tmp_path: Path) -> None:
    counts = _copy(source, any_dsn)
    back = f"sqlite:{tmp_path / 'back.sqlite'}"
    assert _copy(any_dsn, back) == counts
    assert counts["tick"] == 2 * 899
    with closing(opened(source)) as first, closing(opened(any_dsn)) as second:
        expected = _rows(first)
        assert _rows(second) == expected
        assert second.numbers("rig", ["studio"]) == first.numbers("rig", ["studio"])
        assert second.numbers("rig", ["new"])["new"] not in {row[0] for row in expected["name"]}
    with closing(opened(back)) as third:
        assert _rows(third) == expected


@pytest.mark.parametrize("page", [1, 5, 22])
def test_a_copy_that_was_ended_goes_on(
    source: str, any_dsn: str, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "PAGE", 100)
    with closing(opened(any_dsn)) as store:
        kind = type(store)
    with monkeypatch.context() as patched:
        _ends_after(patched, kind, page)
        with pytest.raises(AwayError, match="ended"):
            _copy(source, any_dsn)
    with pytest.raises(HistoryError, match="the copy into this store is not complete") as caught:
        opened(any_dsn, read_only=True)
    assert PASSWORD not in str(caught.value)
    assert ESCAPED not in str(caught.value)
    _copy(source, any_dsn)
    with closing(opened(source)) as first, closing(opened(any_dsn)) as second:
        assert _rows(second) == _rows(first)


def _ends_after(patched: pytest.MonkeyPatch, kind: Any, pages: int) -> None:
    """Let a back end write `pages` pages, and lose its database within the next."""
    write, left = kind.write, [pages]

    def ending(self: BackEnd, table: Any, rows: Any) -> None:
        if table is META and rows[0][0] == migration.STATE:
            left[0] -= 1
            if left[0] < 0:
                raise AwayError("ended")
        write(self, table, rows)

    patched.setattr(kind, "write", ending)


CODE = """
import sys, time
from contextlib import closing
from sinks.history import migration
from sinks.history.open_store import opened
migration.PAGE = 20
with closing(opened(sys.argv[1])) as old, closing(opened(sys.argv[2], unfinished=True)) as new:
    migration.migrate(old, new, lambda name, rows: print(name, flush=True))
print("done", flush=True)
"""


def test_kills_lose_and_double_nothing(source: str, any_dsn: str) -> None:
    for delay in (0.0, 0.05, 0.2, 0.0):
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, source, any_dsn], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired) if delay else _nothing():
            process.wait(delay or None) if delay else None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert line in (b"name\n", b"run\n", b"tick\n", b"")
    done = subprocess.run(
        [sys.executable, "-c", CODE, source, any_dsn], cwd=ROOT, capture_output=True, check=True
    )
    assert done.stdout.endswith(b"done\n")
    with closing(opened(source)) as first, closing(opened(any_dsn)) as second:
        assert _rows(second) == _rows(first)
