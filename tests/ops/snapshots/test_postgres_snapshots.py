"""Snapshots of a history in PostgreSQL: one archive, checked, and put back in one transaction."""

import pytest

from ops.__main__ import main
from ops.fakes.postgres_server import ESCAPED, PASSWORD
from ops.snapshots import postgres_copy
from ops.snapshots.snapshot_folder import digest_of
from sinks.history.open_store import opened
from sinks.snapshots.listing import listed
from tests.support.json_lines import json_lines
from tests.support.snapshot_scene import add_ticks


def count(dsn, table="tick"):
    store = opened(dsn, read_only=True)
    try:
        return next(iter(store.rows(f"SELECT count(*) FROM {table}")))[0]
    finally:
        store.close()


def add(dsn, first, last):
    store = opened(dsn)
    store.numbers("rig", ["a\tb\\", "ü"])
    add_ticks(store, first, last)
    store.close()


def lumen(folder, dsn, *arguments):
    try:
        return main([*map(str, arguments), "--store", dsn, "--dir", str(folder)])
    except SystemExit as end:
        return int(end.code or 0)


@pytest.fixture
def dsn(postgres):
    address = postgres.new_database()
    add(address, 0, 100)
    return address


def test_a_snapshot_is_put_back_and_the_old_tables_stay(dsn, tmp_path, capsys):
    assert lumen(tmp_path, dsn, "snapshot") == 0
    add(dsn, 100, 150)
    assert count(dsn) == 150
    assert lumen(tmp_path, dsn, "restore", "newest") == 0
    assert (count(dsn), count(dsn, "public_before.tick")) == (100, 150)
    add(dsn, 100, 120)  # the numbers of names go on
    assert count(dsn) == 120
    assert lumen(tmp_path, dsn, "restore", "newest") == 0
    assert count(dsn) == 100
    shown = "".join(capsys.readouterr()) + (tmp_path / "audit.jsonl").read_text()
    assert PASSWORD not in shown
    assert ESCAPED not in shown
    commands = [line["command"] for line in json_lines(tmp_path / "audit.jsonl")]
    assert commands == ["snapshot", "restore", "restore"]
    (found,) = listed(tmp_path)
    assert found.name.endswith(".dump")
    assert found.checked
    assert (tmp_path / found.name).stat().st_mode & 0o777 == 0o600


def test_rows_that_are_written_meanwhile_are_not_in_it(dsn, tmp_path, monkeypatch):
    run = postgres_copy.Session.run

    def written(self, name, *arguments, **more):
        if name == "pg_dump":
            add(dsn, 100, 300)
        run(self, name, *arguments, **more)

    monkeypatch.setattr(postgres_copy.Session, "run", written)
    assert lumen(tmp_path, dsn, "snapshot") == 0
    archive = tmp_path / listed(tmp_path)[0].name
    assert postgres_copy.content_of(archive)[0]["tick"] == 100


def test_a_follower_that_holds_the_store_is_named(dsn, tmp_path, capsys):
    assert lumen(tmp_path, dsn, "snapshot") == 0
    store = opened(dsn)
    store.hold()
    assert lumen(tmp_path, dsn, "restore", "newest") == 2
    assert "writes it; end that process first" in capsys.readouterr().err
    store.close()


def test_a_cut_archive_changes_nothing(dsn, tmp_path, capsys, monkeypatch):
    assert lumen(tmp_path, dsn, "snapshot") == 0
    add(dsn, 100, 150)
    whole = postgres_copy.content_of

    def more(archive):
        counts, meta = whole(archive)
        return counts | {"tick": counts["tick"] + 1}, meta

    monkeypatch.setattr(postgres_copy, "content_of", more)
    assert lumen(tmp_path, dsn, "restore", "newest") == 1
    assert "other numbers of rows in tick" in capsys.readouterr().err
    assert count(dsn) == 150


def test_a_damaged_archive_is_refused(dsn, tmp_path, capsys):
    assert lumen(tmp_path, dsn, "snapshot") == 0
    path = tmp_path / listed(tmp_path)[0].name
    data = bytearray(path.read_bytes())
    path.write_bytes(data[: len(data) // 2])
    assert lumen(tmp_path, dsn, "restore", "newest") == 1
    assert "damaged: its SHA-256" in capsys.readouterr().err
    path.with_name(path.name + ".sha256").write_text(f"{digest_of(path)}  {path.name}\n")
    assert lumen(tmp_path, dsn, "restore", "newest") == 1
    assert "damaged: " in capsys.readouterr().err
    assert count(dsn) == 100


def test_a_server_that_is_away_is_one_line(dsn, tmp_path, capsys):
    away = dsn.replace(dsn.rpartition(":")[2], "1/none")
    assert lumen(tmp_path, away, "snapshot") in (1, 2)
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert ESCAPED not in error
    assert listed(tmp_path) == []


def test_a_drill_has_a_database_of_its_own_and_drops_it(dsn, postgres, tmp_path, capsys):
    assert lumen(tmp_path, dsn, "snapshot") == 0
    add(dsn, 100, 150)
    assert lumen(tmp_path, dsn, "drill") == 0
    line = json_lines(tmp_path / "audit.jsonl")[-1]
    assert (line["command"], line["result"]) == ("drill", "ok")
    assert list(line["parts"]) == ["restore", "open", "questions"]
    assert count(dsn) == 150
    assert "lumen_drill" not in postgres.psql("SELECT datname FROM pg_database")
    assert PASSWORD not in "".join(capsys.readouterr())
