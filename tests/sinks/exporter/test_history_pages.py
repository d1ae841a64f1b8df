import math

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinks.exporter.api import history_pages
from sinks.exporter.api.history_pages import (
    MAX_BYTES,
    MAX_TEXT,
    RESOURCES,
    HistoryPages,
    UnknownRigError,
)
from sinks.exporter.api.page_key import key_of, text_of
from sinks.history.back_end import HistoryError, QueryEndedError
from tests.support.stored import WEIGHTS, History

KINDS = list(RESOURCES)


@pytest.fixture
def history(any_dsn):
    made = History(any_dsn)
    yield made
    made.store.close()


@pytest.fixture
def pages(history):
    made = HistoryPages(history.dsn)
    yield made
    made.pool.close()


def rows_of(page):
    return [msgspec.json.decode(row) for row in page.rows]


def all_pages(pages, kind, limit, between=lambda: None, **given):
    """Return the rows of all pages."""
    page = pages.page(kind, "r", limit=limit, **given)
    found = rows_of(page)
    while page.more:
        assert len(page.rows) == limit
        between()
        page = pages.page(kind, "r", limit=limit, after=page.after, **given)
        found += rows_of(page)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [1, 7, 50])
def test_pages_hold_every_row_once_in_order(history, pages, kind, limit):
    history.add(0, 300)
    history.add(0, 300, rig="other")
    history.add(300, 250, run="second")
    whole = pages.page(kind, "r", limit=10_000)
    assert not whole.more
    found = all_pages(pages, kind, limit)
    assert found == rows_of(whole)
    assert {row["rig"] for row in found} == {"r"}
    keys = [(row["run"], row["ts"]) for row in found]
    assert keys == sorted(keys)
    assert {row["run"] for row in found} == {"first", "second"}


@pytest.mark.parametrize("kind", ["ticks", "signals", "sync", "evidence"])
def test_rows_that_are_added_are_neither_skipped_nor_repeated(history, pages, kind):
    history.add(0, 100, each=5)
    done = iter(range(100, 400, 20))

    def more():
        history.add(next(done, 400), 20, each=5)
        history.add(0, 40, rig="other", each=5)

    found = all_pages(pages, kind, 9, more)
    again = rows_of(pages.page(kind, "r", limit=10_000))
    assert found == again[: len(found)]
    assert len(found) > 30


def test_a_page_after_the_last_row_waits_for_new_rows(history, pages):
    history.add(0, 10)
    page = pages.page("ticks", "r")
    empty = pages.page("ticks", "r", after=page.after)
    assert (empty.rows, empty.after, empty.more) == ([], page.after, False)
    history.add(10, 3)
    assert [row["ts"] for row in rows_of(pages.page("ticks", "r", after=empty.after))] == [
        2.0, 2.2, 2.4
    ]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    kind=st.sampled_from(KINDS),
    limit=st.integers(1, 60),
    span=st.tuples(st.integers(-5, 130), st.integers(-5, 130)).map(sorted),
)
def test_any_span_in_any_pages_is_that_of_all_rows(stored, kind, limit, span):
    since, until = span
    pages, every = stored
    expected = [row for row in every[kind] if since <= row["ts"] < until]
    assert all_pages(pages, kind, limit, since=since, until=until) == expected


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    history = History(tmp_path_factory.mktemp("stored") / "history.sqlite")
    history.add(0, 200, each=10)
    history.add(200, 400, run="second", each=10)
    pages = HistoryPages(history.dsn)
    yield pages, {kind: rows_of(pages.page(kind, "r", limit=10_000)) for kind in KINDS}
    pages.pool.close()
    history.store.close()


def test_rows_have_the_values_of_the_store(history, pages):
    history.add(0, 1)
    row = rows_of(pages.page("signals", "r"))[0]
    assert row == {
        "run": "first", "rig": "r", "ts": 0.0, "signal": "pulse", "value": 0.0, "sd": 0.1,
        "systematic_sd": None, "mode": "fused", "live": 2, "weights": msgspec.json.decode(WEIGHTS),
    }  # fmt: skip
    assert rows_of(pages.page("evidence", "r"))[0]["facts"] == {"pulse": 1.5, "live": None}
    history.add(1, 299)
    minute = rows_of(pages.page("minutes", "r"))[0]
    assert (minute["ticks"], minute["share_fused"], minute["value_count"]) == (300, 1.0, 300)
    assert minute["value_mean"] == pytest.approx(299 / 2 / 5 / 3)
    assert (minute["coherence_count"], minute["coherence_mean"]) == (0, None)


def test_a_page_is_bounded_in_bytes_and_wide_rows_are_cut(tmp_path):
    wide = msgspec.json.encode({f"osc:{i:0250}": 0.001 for i in range(950)}).decode()
    assert MAX_TEXT - 20_000 < len(wide) < MAX_TEXT
    history = History(tmp_path / "wide.sqlite", wide)
    history.add(0, 30)
    pages = HistoryPages(history.dsn)
    page = pages.page("signals", "r", limit=60)
    assert page.more
    assert MAX_BYTES / 2 < sum(len(row) + 1 for row in page.rows) <= MAX_BYTES
    found = rows_of(page)
    while page.more:
        page = pages.page("signals", "r", limit=60, after=page.after)
        found += rows_of(page)
    assert len(found) == 60
    assert all(len(row["weights"]) == 950 for row in found)
    history.store.close()
    beyond = History(tmp_path / "beyond.sqlite", wide + " " * MAX_TEXT)
    beyond.add(0, 1)
    assert [row["weights"] for row in rows_of(HistoryPages(beyond.dsn).page("signals", "r"))] == [
        None, None
    ]  # fmt: skip
    beyond.store.close()


def test_a_query_beyond_its_time_gives_what_it_has_or_ends(history, monkeypatch):
    monkeypatch.setattr(history_pages, "_STEP", 10)
    monkeypatch.setattr(history_pages, "_FIRST_STEP", 10)
    history.add(0, 100)
    now = iter([0.0, *[0.1] * 4, *[3.0] * 90])
    late = iter([0.0, *[3.0] * 90])
    made = [HistoryPages(history.dsn, lambda: next(now)), HistoryPages(history.dsn),
            HistoryPages(history.dsn, lambda: next(late))]  # fmt: skip
    page = made[0].page("ticks", "r")
    assert (len(page.rows), page.more) == (20, True)
    assert len(made[1].page("ticks", "r", after=page.after).rows) == 80
    with pytest.raises(QueryEndedError):
        made[2].page("ticks", "r")
    for pages in made:
        pages.pool.close()


def test_a_slow_query_is_ended_and_the_connection_goes_on(history, pages, monkeypatch):
    history.add(0, 5)
    monkeypatch.setattr(history_pages, "MAX_QUERY_S", 0.05)
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    )
    monkeypatch.setattr(history_pages, "_RIG", endless)
    with pytest.raises(QueryEndedError):
        pages.page("ticks", "r")
    monkeypatch.undo()
    assert len(pages.page("ticks", "r").rows) == 5


def test_a_file_that_was_replaced_is_opened_again(tmp_path):
    history = History(tmp_path / "history.sqlite")
    pages = HistoryPages(history.dsn)
    history.add(0, 3)
    assert len(pages.page("ticks", "r").rows) == 3
    new = History(tmp_path / "new.sqlite")
    new.add(0, 7)
    new.store.close()
    history.store.close()
    for ending in ("-wal", "-shm"):
        (tmp_path / f"history.sqlite{ending}").unlink(missing_ok=True)
    (tmp_path / "new.sqlite").replace(tmp_path / "history.sqlite")
    assert len(pages.page("ticks", "r").rows) == 7
    (tmp_path / "history.sqlite").unlink()
    with pytest.raises(HistoryError):
        pages.page("ticks", "r")


def test_an_unknown_rig_is_reported(history, pages):
    history.add(0, 3)
    with pytest.raises(UnknownRigError):
        pages.page("ticks", "R")


def test_rigs_have_their_newest_tick(history, pages):
    history.add(0, 10)
    history.add(0, 20, rig="other", run="second")
    history.add(50, 10, run="third")
    assert pages.rigs() == [
        {"rig": "other", "ts": 3.8, "mode": "fused", "live": 2},
        {"rig": "r", "ts": 11.8, "mode": "fused", "live": 2},
    ]


@given(st.tuples(st.text(), st.integers(-(2**63) + 1, 2**63 - 1), st.floats(allow_nan=False)))
def test_a_key_is_its_text(key):
    kinds = (str, int, float)
    if math.isinf(key[2]) or any(0xD800 <= ord(c) <= 0xDFFF for c in key[0]) or len(key[0]) > 200:
        return
    text = text_of(key)
    assert text.isascii()
    assert text.replace("-", "").replace("_", "").isalnum()
    assert key_of(text, kinds) == key


@given(st.one_of(st.text(), st.binary().map(lambda b: text_of((b.hex(), 1))), st.just("W10")))
def test_any_other_text_is_refused_as_a_key(text):
    with pytest.raises(ValueError, match="after has to be the key"):
        key_of(text, (str, int, float))


@pytest.mark.parametrize(
    "key", [("ticks", 1, "x"), ("ticks", 1.5, 1.0), ("ticks", 2**63, 1.0), ("ticks", "1", 1.0)]
)
def test_a_key_of_wrong_types_is_refused(key):
    with pytest.raises(ValueError, match="after has to be the key"):
        key_of(text_of(key), (str, int, float))


def test_a_key_of_another_resource_is_refused(history, pages):
    history.add(0, 3)
    after = pages.page("signals", "r").after
    with pytest.raises(ValueError, match="after"):
        pages.page("minutes", "r", after=after)
