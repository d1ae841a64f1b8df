"""Copies of a store: any kind to any kind, ended at any point, into stores that do not fit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
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

def copied(name, rows):
    print(name, flush=True)
    if name == sys.argv[3]:
        time.sleep(600)

with closing(opened(sys.argv[1])) as old, closing(opened(sys.argv[2], unfinished=True)) as new:
    migration.migrate(old, new, copied)
print("done", flush=True)
"""


def test_kills_lose_and_double_nothing(source: str, any_dsn: str) -> None:
    command = [sys.executable, "-c", CODE, source, any_dsn]
    for last in ("name", "tick", "signal", "sync", "minute"):
        with subprocess.Popen(
            [*command, last], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert f"{last}\n" in iter(process.stdout.readline, "")
            process.kill()
    done = subprocess.run([*command, "none"], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.endswith(b"done\n")
    with closing(opened(source)) as first, closing(opened(any_dsn)) as second:
        assert _rows(second) == _rows(first)


def test_a_server_that_crashes_between_pages_loses_and_doubles_nothing(
    source: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "PAGE", 300)
    target = postgres.new_database()

    def crash(name: str, rows: int) -> None:
        if name == "tick":
            postgres.stop("immediate")

    try:
        with (
            closing(opened(source)) as old,
            closing(opened(target, unfinished=True)) as new,
            pytest.raises(AwayError),
        ):
            migrate(old, new, crash)
    finally:
        postgres.start()
    _copy(source, target)
    with closing(opened(source)) as first, closing(opened(target)) as second:
        assert _rows(second) == _rows(first)


def test_a_target_with_rows_is_refused(source: str, any_dsn: str) -> None:
    with closing(opened(any_dsn)) as store:
        store.write(TICK, [(1, 2, 3.0, 4.0, "fused", 1, *(None,) * 7)])
    with pytest.raises(HistoryError, match="the target has rows in tick; name an empty store"):
        _copy(source, any_dsn)


def test_a_source_that_changed_meanwhile_is_refused(
    source: str, any_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(opened(any_dsn)) as store, monkeypatch.context() as patched:
        _ends_after(patched, type(store), 1)
        with pytest.raises(AwayError):
            _copy(source, any_dsn)
    with closing(opened(source)) as store:
        fill(store, run="third")
    with pytest.raises(HistoryError, match="the source has changed since the copy began"):
        _copy(source, any_dsn)


def test_a_store_that_is_written_or_the_same_is_refused(source: str, any_dsn: str) -> None:
    with closing(opened(source)) as held:
        held.hold()
        with pytest.raises(HistoryError, match=f"process {os.getpid()} writes it"):
            _copy(source, any_dsn)
    with pytest.raises(HistoryError, match=f"process {os.getpid()} writes it"):
        _copy(source, source)


def test_counts_that_differ_are_named(
    source: str, any_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(opened(any_dsn)) as store:
        kind: Any = type(store)
    write = kind.write

    def losing(self: BackEnd, table: Any, rows: Any) -> None:
        write(self, table, rows[1:] if table is TICK else rows)

    monkeypatch.setattr(kind, "write", losing)
    with pytest.raises(
        HistoryError, match=r"the counts differ after the copy: tick 1,797 of 1,798"
    ):
        _copy(source, any_dsn)


def test_the_command_copies_and_prints_no_password(
    source: str, any_dsn: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUMEN_STORE_DSN", any_dsn)
    assert lumen.main(["store", "init"]) == 0
    assert lumen.main(["store", "migrate", "--store", source]) == 0
    printed = capsys.readouterr()
    assert "tick             1,798" in printed.out
    assert "rows, counts equal: " in printed.out
    assert not any(text in printed.out + printed.err for text in (PASSWORD, ESCAPED))
    monkeypatch.delenv("LUMEN_STORE_DSN")
    with pytest.raises(SystemExit) as ended:
        lumen.main(["store", "migrate", "--store", source])
    assert ended.value.code == 2
    assert "the target is missing: give --to, or set $LUMEN_STORE_DSN" in capsys.readouterr().err


def test_no_store_is_made_in_place_of_a_source(
    tmp_path: Path, any_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone.sqlite"
    with pytest.raises(SystemExit):
        lumen.main(["store", "migrate", "--store", f"sqlite:{gone}", "--to", any_dsn])
    assert "there is no store yet" in capsys.readouterr().err
    assert not gone.exists()
