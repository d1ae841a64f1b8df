"""The follower: what it takes in, once; what it leaves; faults of database and files."""

from __future__ import annotations

import itertools
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinks.files import line_reader
from sinks.files.aside import set_aside
from sinks.files.progress import LATER, FilePlace, final_of, taken_of
from sinks.history import follower as module
from sinks.history.back_end import AwayError, HistoryError
from sinks.history.follower import Follower, FollowSettings, follow
from sinks.history.rebuild import rebuild
from sinks.history.sqlite_store import SqliteStore
from tests.support.history_run import HistoryRun, dead_line, tick_line


class Scene:
    """A folder with an output folder and a store."""

    def __init__(self, root: Path) -> None:
        self.out, self.path = root / "out", root / "history.sqlite"
        self.settings = FollowSettings(f"sqlite:{self.path}", (str(self.out),))

    def rows(self, sql: str) -> list[Any]:
        store = SqliteStore(self.path, read_only=True)
        try:
            return list(store.rows(sql))
        finally:
            store.close()

    def count(self, table: str = "tick") -> int:
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])


def drained(follower: Follower) -> None:
    while follower.step():
        pass


@pytest.fixture
def place(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture
def made(place: Scene) -> Iterator[Callable[..., Follower]]:
    followers: list[Follower] = []

    def make(**more: Any) -> Follower:
        followers.append(Follower(place.settings, **more))
        return followers[-1]

    yield make
    for each in followers:
        each.close()


def test_lines_are_taken_in_once_however_they_come(
    place: Scene, made: Callable[..., Follower]
) -> None:
    run = HistoryRun(place.out, limit=2_000)
    follower = made()
    for first in range(0, 60, 7):
        run.ticks(first, min(first + 7, 60))
        drained(follower)
        if first % 2:
            follower.close()
    assert run.files["fused"].segment > 3
    assert place.count() == place.count("signal") == 60
    assert place.rows("SELECT sum(ticks), count(*) FROM minute") == [(60, 2)]
    assert place.rows("SELECT lines FROM place") == [(60,)]
    assert place.rows("SELECT version, started FROM run") == [("1.0", 1000.0)]


def test_half_a_line_waits_for_its_end(place: Scene, made: Callable[..., Follower]) -> None:
    HistoryRun(place.out)
    line, counts, follower = tick_line(1000.0), [], made()
    with (place.out / "fused.jsonl").open("a") as file:
        for part in (line[:30], line[30:] + line[:9]):
            file.write(part)
            file.flush()
            follower.step()
            counts.append(place.count())
    assert counts == [0, 1]


def test_only_final_lines_are_taken_in(place: Scene, made: Callable[..., Follower]) -> None:
    run = HistoryRun(place.out, whole=False, limit=1_000)
    follower = made()
    run.ticks(0, 10)
    follower.step()
    assert place.count() == 0
    run.publish()
    run.ticks(10, 20)
    drained(follower)
    assert place.count() == 10
    run.publish()
    drained(follower)
    assert place.count() == 20


def test_two_runs_in_one_folder_never_mix(place: Scene, made: Callable[..., Follower]) -> None:
    follower = made()
    run = HistoryRun(place.out, "a")
    run.ticks(0, 10)
    follower.step()
    shutil.rmtree(place.out)
    HistoryRun(place.out, "b").ticks(0, 4)
    follower.step()
    found = place.rows(
        "SELECT text, count(*) FROM tick JOIN name ON name.id = run GROUP BY run ORDER BY text"
    )
    assert found == [("a", 10), ("b", 4)]


def test_lines_of_a_run_that_was_replaced_while_they_were_read_are_left(
    place: Scene, made: Callable[..., Follower], monkeypatch: pytest.MonkeyPatch
) -> None:
    HistoryRun(place.out, "a").ticks(0, 5)
    read = line_reader.chunks_of

    def replaced(*args: Any) -> Iterator[Any]:
        found = list(read(*args))
        if final_of(place.out).run == "a":  # type: ignore[union-attr]
            shutil.rmtree(place.out)
            HistoryRun(place.out, "b").ticks(0, 3)
        yield from found

    monkeypatch.setattr(module, "chunks_of", replaced)
    follower = made()
    follower.step()
    assert place.count() == 0
    follower.step()
    assert place.rows("SELECT DISTINCT text FROM tick JOIN name ON name.id = run") == [("b",)]


def test_what_a_new_run_sets_aside_is_taken_in_and_then_removed(
    place: Scene, made: Callable[..., Follower]
) -> None:
    run = HistoryRun(place.out, "a", whole=False, limit=1_500)
    run.ticks(0, 4)
    run.publish()
    follower = made()
    drained(follower)
    follower.report()
    run.ticks(4, 30)  # not published: the run was killed
    segments = run.files["fused"].segment
    set_aside(place.out, run.files["fused"].access)
    aside = place.out / LATER / "a"
    assert len(list(aside.glob("fused*.jsonl"))) in (segments, segments + 1)
    for path in place.out.glob("*.jsonl"):
        path.unlink()
    HistoryRun(place.out, "b").ticks(0, 3)
    drained(follower)
    assert place.count() == 33
    assert not (place.out / LATER).exists()
    assert place.rows("SELECT sum(ticks) FROM minute") == [(33,)]


def test_a_segment_removed_before_it_was_taken_in_is_passed_over(
    place: Scene, made: Callable[..., Follower]
) -> None:
    run = HistoryRun(place.out, limit=1_000)
    run.ticks(0, 20)
    follower = made()
    (place.out / "fused.jsonl").unlink()
    (place.out / "fused.000001.jsonl").unlink()
    drained(follower)
    found = place.rows("SELECT segment FROM place")[0][0]
    assert found == run.files["fused"].segment
    assert 0 < place.count() < 20


def test_a_file_cut_below_its_place_waits_until_it_has_passed_it(
    place: Scene, made: Callable[..., Follower]
) -> None:
    run = HistoryRun(place.out)
    run.ticks(0, 10)
    follower = made()
    follower.step()
    path = place.out / "fused.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]))
    follower.step()
    follower.report()
    assert taken_of(place.out).errors == {"cut": 1}  # type: ignore[union-attr]
    path.write_bytes(b"".join(lines) + tick_line(1005.0).encode())
    follower.step()
    assert place.count() == 11
    assert place.rows("SELECT sum(ticks) FROM minute") == [(11,)]


def test_a_bad_line_is_lost_counted_and_no_obstacle(
    place: Scene, made: Callable[..., Follower]
) -> None:
    run = HistoryRun(place.out)
    run.files["fused"].write(b'{"ts": 1e999}\n' + tick_line(1.0).encode())
    run.files["dead"].write(dead_line(1.0, 2**63).encode() + dead_line(2.0, 7).encode())
    follower = made()
    follower.step()
    follower.report()
    assert (place.count(), place.rows("SELECT count FROM dead")) == (1, [(7,)])
    taken = taken_of(place.out)
    assert taken is not None
    assert (taken.lost, taken.errors) == (2, {"line": 2})


def test_a_line_longer_than_any_is_lost_and_the_next_is_not(
    place: Scene, made: Callable[..., Follower], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_reader, "MAX_LINE", 1_000)
    run = HistoryRun(place.out)
    run.files["fused"].write(b'{"ts": "' + b"x" * 5_000 + b'"}\n' + tick_line(1.0).encode())
    follower = made()
    for _ in range(8):
        follower.step()
    assert place.count() == 1


@given(names=st.lists(st.text(min_size=1, max_size=255), min_size=1, max_size=4, unique=True))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_is_kept(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    place = Scene(tmp_path_factory.mktemp("names"))
    run = HistoryRun(place.out)
    for k, name in enumerate(names):
        line = tick_line(1000.0 + k).replace('"pulse"', json.dumps(name))
        run.files["fused"].write(line.encode())
    follower = Follower(place.settings)
    follower.step()
    follower.close()
    kept = [name for (name,) in place.rows("SELECT text FROM name WHERE kind = 'signal'")]
    assert sorted(kept) == sorted({name.replace("\0", "\\x00") for name in names})


def test_many_channels_have_numbers(place: Scene) -> None:
    store = SqliteStore(place.path)
    names = [f"osc_1:/{'c' * 240}/{k}" for k in range(65_536)]
    with store.transaction():
        first = store.numbers("channel", names)
    assert len(set(first.values())) == 65_536
    store.close()
    store = SqliteStore(place.path)
    assert store.numbers("channel", names) == first
    store.close()


def test_with_every_s_cuts_leave_the_newest_tick_of_a_span(
    place: Scene, made: Callable[..., Follower]
) -> None:
    place.settings = FollowSettings(place.settings.dsn, place.settings.folders, every_s=2.0)
    run = HistoryRun(place.out)
    follower = made()
    for first in range(0, 21, 3):
        run.ticks(first, first + 3)
        follower.step()
    assert [ts for (ts,) in place.rows("SELECT ts FROM tick")] == [
        1001.5, 1003.5, 1005.5, 1007.5, 1009.5, 1010.0,
    ]  # fmt: skip
    assert place.count("signal") == 6
    assert place.rows("SELECT sum(ticks) FROM minute") == [(21,)]


def test_a_locked_store_is_tried_again_and_nothing_is_lost(
    place: Scene, made: Callable[..., Follower], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinks.history.sqlite_store.BUSY_S", 0.01)
    monkeypatch.setattr(
        SqliteStore.__init__, "__kwdefaults__", {"read_only": False, "busy_s": 0.01}
    )
    run = HistoryRun(place.out)
    follower = made()
    follower.step()
    other = sqlite3.connect(place.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    run.ticks(0, 10)
    for _ in range(3):
        with pytest.raises(AwayError, match="locked") as caught:
            follower.step()
        follower.failed(caught.value)
    follower.report()
    taken = taken_of(place.out)
    assert taken is not None
    assert (taken.up, taken.errors["locked"]) == (False, 3)
    other.execute("ROLLBACK")
    other.close()
    follower.step()
    assert place.count() == 10


def test_a_reader_that_stays_holds_nothing_up(place: Scene, made: Callable[..., Follower]) -> None:
    run = HistoryRun(place.out)
    run.ticks(0, 5)
    follower = made()
    follower.step()
    reader = sqlite3.connect(place.path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM tick").fetchone() == (5,)
    run.ticks(5, 400)
    drained(follower)
    assert reader.execute("SELECT count(*) FROM tick").fetchone() == (5,)
    reader.close()
    assert place.count() == 400


def test_a_full_disk_is_tried_again_and_nothing_is_lost(
    place: Scene, made: Callable[..., Follower], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = HistoryRun(place.out)
    follower = made()
    follower.step()
    follower.close()
    prepare = SqliteStore._prepare

    def filled(store: SqliteStore) -> None:
        prepare(store)
        pages = store._pragma("page_count")
        store._pragma(f"max_page_count = {pages + 2}")

    monkeypatch.setattr(SqliteStore, "_prepare", filled)
    run.ticks(0, 2_000)
    for _ in range(2):
        with pytest.raises(AwayError, match="full") as caught:
            drained(follower)
        follower.failed(caught.value)
    assert place.count() == 0
    monkeypatch.undo()
    drained(follower)
    assert place.count() == 2_000
    assert place.rows("SELECT sum(ticks) FROM minute") == [(2_000,)]


def test_a_store_replaced_by_text_is_unusable_until_it_is_mended(
    place: Scene, made: Callable[..., Follower], capsys: pytest.CaptureFixture[str]
) -> None:
    run = HistoryRun(place.out)
    run.ticks(0, 5)
    follower = made()
    follower.step()
    follower.close()
    kept = place.path.rename(place.path.with_name("kept"))
    place.path.write_text("some text\n" * 200)
    run.ticks(5, 9)
    for _ in range(3):
        with pytest.raises(HistoryError) as caught:
            follower.step()
        follower.failed(caught.value)
    assert capsys.readouterr().err.count("\n") == 1
    kept.replace(place.path)
    follower.step()
    follower.succeeded()
    assert place.count() == 9
    assert "answers again" in capsys.readouterr().err


def test_two_followers_of_one_store_do_not_go_together(
    place: Scene, made: Callable[..., Follower]
) -> None:
    HistoryRun(place.out).ticks(0, 5)
    made().step()
    with pytest.raises(HistoryError, match="writes it"):
        made().step()
    assert place.count() == 5


def test_old_rows_go_by_the_newest_tick_in_steps(
    place: Scene, made: Callable[..., Follower], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_DELETED", 30)
    place.settings = FollowSettings(
        place.settings.dsn, place.settings.folders, keep_d=0.001, minutes_d=0.01
    )
    run = HistoryRun(place.out)
    run.ticks(0, 2_000)  # a thousand seconds
    follower = made(wall=lambda: 1e9)
    follower.step()
    counts = []
    while follower.prunes:
        follower.step()
        counts.append(place.count())
    steps = [before - after for before, after in itertools.pairwise(counts)]
    assert max(steps) == 30
    oldest = place.rows("SELECT min(ts) FROM tick")[0][0]
    assert oldest == pytest.approx(2000.0 - 86.4, abs=0.51)
    assert place.rows("SELECT min(ts) FROM minute")[0][0] == pytest.approx(2000 - 864, abs=60)


def test_a_clock_that_was_set_back_or_ahead_deletes_nothing(
    place: Scene, made: Callable[..., Follower]
) -> None:
    place.settings = FollowSettings(place.settings.dsn, place.settings.folders, keep_d=1.0)
    for wall in (5.0, 1e12):
        run = HistoryRun(place.out, f"r{wall:.0f}")
        run.ticks(0, 50)
        follower = made(wall=lambda wall=wall: wall)
        follower.step()
        while follower.prunes:
            follower.step()
        follower.close()
        shutil.rmtree(place.out)
    assert place.count() == 100


def test_a_follower_takes_in_the_rest_before_it_ends(
    place: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_STEP", 2_000)
    run = HistoryRun(place.out)
    run.ticks(0, 300)
    follow(place.settings, lambda seconds: True)
    assert place.count() == 300
    taken = taken_of(place.out)
    assert taken is not None
    assert taken.places == {
        "main": {"fused": FilePlace(0, (place.out / "fused.jsonl").stat().st_size, 300)}
    }
    assert taken.released == 1000.0 + 0.5 * 299 + 0.5
    assert taken.rows["tick"] == 300


def test_at_the_end_a_database_that_stays_away_is_given_up(
    place: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    HistoryRun(place.out).ticks(0, 5)
    place.path.mkdir()
    follow(place.settings, lambda seconds: True)
    taken = taken_of(place.out)
    assert taken is not None
    assert not taken.up
    assert "not a plain file" in taken.why


def test_a_store_is_made_anew_from_the_files(place: Scene) -> None:
    run = HistoryRun(place.out, limit=2_000)
    run.ticks(0, 40)
    place.path.write_text("damaged")
    rows = rebuild(place.settings)
    assert rows["tick"] == 40 == place.count()
    assert place.path.with_name("history.sqlite.before").read_text() == "damaged"
    assert not list(place.path.parent.glob("*.making*"))
    holder = Follower(place.settings)
    holder.step()
    with pytest.raises(HistoryError, match="writes it"):
        rebuild(place.settings)
    holder.close()
    assert place.count() == 40
