"""The page of questions: all its code runs, and every way gives the same answer."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ops.fakes.postgres_server import PostgresServer
from ops.store.export import export
from sinks.history.back_end import BackEnd
from sinks.history.open_store import opened
from sinks.history.questions import ask, questions
from tests.support import skips
from tests.support.demo_history import fill

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "ops" / "docs" / "QUESTIONS.md").read_text("utf-8")
BLOCKS = re.findall(r"```(sql|python|sh)\n(.*?)```", PAGE, re.S)
SQL = [text for kind, text in BLOCKS if kind == "sql"]
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
ABSENT = [name for name in ("duckdb", "pandas", "pyarrow") if find_spec(name) is None]
needs_tables = pytest.mark.skipif(bool(ABSENT), reason=skips.reason(ABSENT, "tables"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with closing(_filled("sqlite:history/history.sqlite")) as store:
        export(store, Path("export"), "parquet")
    return tmp_path


def _filled(dsn: str) -> BackEnd:
    store = opened(dsn)
    fill(store)
    fill(store, rig="hall", run="second", version="2.1", started=1740000000.0)
    return store


def _plain(rows: Any) -> list[tuple[Any, ...]]:
    """Return rows with numbers that can be compared, null as None."""
    found = []
    for row in rows:
        cells = [x.item() if hasattr(x, "item") else x for x in row]
        cells = [None if isinstance(x, float) and math.isnan(x) else x for x in cells]
        found.append(tuple(float(x) if isinstance(x, int) else x for x in cells))
    return found


def _near(rows: list[tuple[Any, ...]]) -> list[Any]:
    return [
        tuple(pytest.approx(x, rel=1e-9) if isinstance(x, float) else x for x in row)
        for row in rows
    ]


class _Duck:
    """A store of DuckDB, as far as a question needs one."""

    def __init__(self, base: Any) -> None:
        self._base = base

    def rows(self, sql: str, values: dict[str, Any], limit_s: float) -> Iterator[Any]:
        dollars = re.sub(r":([a-z_]+)", r"$\1", re.sub(r"--.*", "", sql))
        return iter(self._base.execute(dollars, values).fetchall())


def test_the_page_has_a_section_for_each_question() -> None:
    assert re.findall(r"^## .* `(\w+)`$", PAGE, re.M) == [
        "not_fused", "worst_bound", "lag_and_skew", "clock_resets", "objectives", "rule_times",
        "lost_input", "two_rigs", "after_version",
    ]  # fmt: skip
    titles = re.findall(r"^## (.*\?) `(\w+)`$", PAGE, re.M)
    assert {name: title for title, name in titles} == {
        q.name: q.title for q in questions().values()
    }
    assert len(SQL) == len(PYTHON) - 2 == 10


def test_plain_sql_is_the_same_in_both_databases(any_dsn: str, tmp_path: Path) -> None:
    with closing(_filled(any_dsn)) as store:
        found = [_plain(store.rows(sql, limit_s=60.0)) for sql in SQL]
    with closing(_filled(f"sqlite:{tmp_path / 'other.sqlite'}")) as store:
        expected = [_plain(store.rows(sql, limit_s=60.0)) for sql in SQL]
    assert all(expected)
    assert found == [_near(rows) for rows in expected]


@needs_tables
def test_pandas_gives_the_answers_of_sql(place: Path) -> None:
    scope: dict[str, Any] = {}
    exec(PYTHON[1], scope)
    with closing(opened("sqlite:history/history.sqlite", read_only=True)) as store:
        for sql, code in zip(SQL, PYTHON[2:], strict=True):
            exec(code, scope)
            found = _plain(scope["answer"].itertuples(index=False))
            assert found == _near(_plain(store.rows(sql, limit_s=60.0))), code


@needs_tables
def test_duckdb_gives_the_answers_of_sql_and_of_the_shipped_statements(place: Path) -> None:
    scope: dict[str, Any] = {}
    exec(PYTHON[0], scope)
    base = scope["base"]
    more = {"two_rigs": {"rig": "studio", "other_rig": "hall"}, "after_version": {"version": "2.1"}}
    with closing(opened("sqlite:history/history.sqlite", read_only=True)) as store:
        for sql in SQL:
            assert _plain(base.execute(sql).fetchall()) == _near(
                _plain(store.rows(sql, limit_s=60.0))
            ), sql
        for name in questions():
            _, found = ask(_Duck(base), name, more.get(name))  # type: ignore[arg-type]
            _, expected = ask(store, name, more.get(name))
            assert _plain(found) == _near(_plain(expected)), name
    base.close()


def test_psql_and_sqlite3_take_the_shipped_statements(
    place: Path, postgres: PostgresServer
) -> None:
    dsn = postgres.new_database()
    with closing(_filled(dsn)) as store:
        _, expected = ask(store, "worst_bound")
    command = next(text for kind, text in BLOCKS if kind == "sh" and "psql" in text)
    psql, sqlite3 = re.split(r"\n(?=sqlite3)", command.strip())
    options = psql.replace('psql "$LUMEN_STORE_DSN" ', "").split()
    shutil.copytree(ROOT / "sinks" / "history" / "questions", place / "sinks/history/questions")
    options[-1] = str(ROOT / options[-1])
    postgres.place.chmod(0o755)
    printed = postgres.run("psql", "-X", "-A", "-t", *options, dsn)
    assert [line.split("|") for line in printed.splitlines()] == [
        [rig, f"{day:.0f}", repr(worst), f"{minute:.0f}"] for rig, day, worst, minute in expected
    ]
    if shutil.which("sqlite3"):
        done = subprocess.run(["sh", "-c", sqlite3], capture_output=True, text=True, check=True)
        assert [line.split("|")[0] for line in done.stdout.splitlines()] == ["hall", "studio"]
