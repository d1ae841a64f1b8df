"""Exports of the history: a file for each view, rig and day, with the rows of the views."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from mcap.reader import make_reader

from ops import __main__ as lumen
from ops.store import export as exporting
from ops.store.export import ExportError, export
from ops.store.moment import moment, shown
from sinks.history.back_end import BackEnd
from sinks.history.open_store import opened
from sinks.history.tables import TICK
from sinks.history.views import VIEWED, columns_of, view_of
from tests.support.demo_history import fill

ALL = {"ticks": 899, "signals": 899, "syncs": 173, "evidences": 4, "bridges": 0, "deads": 5,
       "minutes": 4}  # fmt: skip
DAY = 1729987200.0


@pytest.fixture
def store(any_dsn: str) -> Iterator[BackEnd]:
    one = opened(any_dsn)
    fill(one)
    fill(one, rig="hall", run="second", version="2.1", started=1740000000.0)
    yield one
    one.close()


def _read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
    if path.suffix == ".jsonl":
        return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    if path.suffix == ".mcap":
        with path.open("rb") as file:
            messages = list(make_reader(file).iter_messages(log_time_order=False))
        assert {channel.topic for _, channel, _ in messages} == {f"/{path.parts[-3]}"}
        return [msgspec.json.decode(message.data) for _, _, message in messages]
    from arro3.io import read_parquet

    table = read_parquet(path).read_all()
    columns = {name: table[name].to_pylist() if hasattr(table[name], "to_pylist") else
               [x.as_py() for x in table[name]] for name in table.column_names}  # fmt: skip
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl", "mcap"])
def test_files_have_the_rows_of_the_views(
    store: BackEnd, form: exporting.Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "PAGE", 100)
    folder = tmp_path / "export"
    assert export(store, folder, form) == {name: 2 * rows for name, rows in ALL.items()}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    assert files == {
        f"{view}/{rig}/2024-10-27.{form}"
        for view, rows in ALL.items()
        if rows
        for rig in ("studio", "hall")
    }
    for table in VIEWED:
        view, names = view_of(table), [column.name for column in columns_of(table)]
        if not ALL[view]:
            continue
        rows = _read(folder / view / "studio" / f"2024-10-27.{form}")
        sql = f"SELECT {', '.join(names)} FROM {view} WHERE rig = 'studio'"
        expected = sorted(map(repr, store.rows(sql, limit_s=60.0)))
        if form == "csv":
            types = {column.name: column.type for column in columns_of(table)}
            rows = [{n: _value(types[n], text) for n, text in row.items()} for row in rows]
        assert [list(row) for row in rows] == [names] * ALL[view]
        assert sorted(repr(tuple(row.values())) for row in rows) == expected
        times = [row["ts"] for row in rows]
        assert times == sorted(times)


def _value(kind: str, text: str) -> Any:
    if text == "" and kind != "text":
        return None
    if kind == "text":
        return text or None
    return int(text) if kind == "integer" else float(text)


def test_a_day_is_one_of_utc_and_a_span_is_cut_there(store: BackEnd, tmp_path: Path) -> None:
    run, rig = store.numbers("run", ["third"])["third"], store.numbers("rig", ["attic"])["attic"]
    days = (0.0, 86_399.999, 86_400.0, 50 * 86_400.0, 1e18)
    store.write(TICK, [(run, rig, ts, ts, "fused", 1, *(None,) * 7) for ts in days])
    export(store, tmp_path / "all", "jsonl")
    found = {p.stem: len(_read(p)) for p in (tmp_path / "all" / "ticks" / "attic").iterdir()}
    assert found == {"1970-01-01": 2, "1970-01-02": 1, "1970-02-20": 1, "1e+18": 1}
    assert export(store, tmp_path / "part", "jsonl", 86_399.5, 86_400.5)["ticks"] == 2
    assert export(store, tmp_path / "none", "jsonl", 5e8, 6e8)["ticks"] == 0
    assert not (tmp_path / "none").exists()


def test_an_export_replaces_and_leaves_no_draft(store: BackEnd, tmp_path: Path) -> None:
    export(store, tmp_path, "csv", DAY, DAY + 86_400)
    path = tmp_path / "ticks" / "studio" / "2024-10-27.csv"
    first = path.read_bytes()
    path.write_text("other")
    export(store, tmp_path, "csv")
    assert path.read_bytes() == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_file_that_cannot_be_written_keeps_the_former_one(
    store: BackEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(store, tmp_path, "jsonl")
    path = tmp_path / "ticks" / "studio" / "2024-10-27.jsonl"
    first = path.read_bytes()

    def full(path: Path, *_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "_as_json", full)
    with pytest.raises(ExportError, match="No space left on device"):
        export(store, tmp_path, "jsonl")
    assert path.read_bytes() == first
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_rig_whose_name_is_a_path_is_refused(store: BackEnd, tmp_path: Path) -> None:
    run, rig = store.numbers("run", ["x"])["x"], store.numbers("rig", ["../../x"])["../../x"]
    store.write(TICK, [(run, rig, 1.0, 1.0, "fused", 1, *(None,) * 7)])
    with pytest.raises(ExportError, match="is no name of a folder"):
        export(store, tmp_path / "a", "jsonl")


def test_without_the_extra_the_command_is_named(
    store: BackEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "arro3.io", None)
    with pytest.raises(ExportError, match=r"pip install 'lumen-fusion\[columnar\]'"):
        export(store, tmp_path, "parquet")


def test_the_commands_print_what_they_wrote_and_found(
    any_dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(opened(any_dsn)) as store:
        fill(store)
    given = ["--store", any_dsn, "--from", "2024-10-27", "--to", "2024-10-28T00:00"]
    assert lumen.main(["store", "export", str(tmp_path / "x"), "--format", "csv", *given]) == 0
    printed = capsys.readouterr().out
    assert "ticks        899" in printed
    assert "6 files in " in printed
    assert lumen.main(["store", "ask", "rule_times", *given]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Which rule fired, and how long?\n")
    assert "2024-10-27T03:34:24.600Z" in printed
    assert lumen.main(["store", "ask", "clock_resets", "--json", *given]) == 0
    (row,) = capsys.readouterr().out.splitlines()
    assert msgspec.json.decode(row)["resets"] == 1
    assert lumen.main(["store", "ask"]) == 0
    assert "not_fused" in capsys.readouterr().out
    assert lumen.main(["store", "ask", "lost_input", *given[:2], "--rig", "gone"]) == 0
    assert capsys.readouterr().out.endswith("No row.\n")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["export", "x", "--from", "2024-10-28", "--to", "2024-10-27"], "is after --to"),
        (["ask", "worst_bound", "--from", "2", "--to", "1"], "is after --to"),
        (["ask", "worst_bound", "--from", "yesterday"], "'yesterday' is no time, expected 2026"),
        (["ask", "worst_bound", "--from", "nan"], "'nan' is no time"),
        (["ask", "gone"], "no question 'gone', expected one of"),
        (["ask", "two_rigs", "--rig", "a"], "needs other_rig"),
        (["export", "x", "--format", "xls"], "invalid choice"),
    ],
)
def test_wrong_calls_end_with_2(
    any_dsn: str, arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    opened(any_dsn).close()
    with pytest.raises(SystemExit) as ended:
        lumen.main(["store", *arguments, "--store", any_dsn])
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


def test_times_are_of_utc_without_a_zone() -> None:
    assert moment("2024-10-27") == DAY == moment("2024-10-27T01:00+01:00") == moment(str(DAY))
    assert shown(DAY + 0.25) == "2024-10-27T00:00:00.250Z"
    assert shown(DAY) == "2024-10-27T00:00:00Z"
