"""The shipped questions have the expected answers on the demo's output."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from configs.thresholds import OBJECTIVES
from sinks.history.back_end import BackEnd
from sinks.history.open_store import opened
from sinks.history.questions import QuestionError, ask, questions
from tests.golden import shipped
from tests.support.demo_history import fill

DAY, WEEK, MINUTE = 1729987200.0, 1729468800.0, 1729999980.0
OTHER = {"ure:ure_coherence_level", "ure:ure_harmony_index", "ure:ure_phase_diff_mean",
         "ure:ure_residual_entropy_last"}  # fmt: skip


@pytest.fixture
def store(any_dsn: str) -> Iterator[BackEnd]:
    one = opened(any_dsn)
    fill(one)
    fill(one, rig="hall", run="second", version="2.1", started=1740000000.0)
    yield one
    one.close()


def _near(rows: list[tuple[Any, ...]]) -> list[Any]:
    return [
        tuple(pytest.approx(x, rel=1e-12) if isinstance(x, float) else x for x in row)
        for row in rows
    ]


def test_when_it_was_not_fused_and_why(store: BackEnd) -> None:
    _, rows = ask(store, "not_fused", {"rig": "studio"})
    spells = sorted({row[:5] for row in rows})
    assert spells == _near(
        [
            ("studio", 1730000000.2, 1730000021.4, 107, "ure_only"),
            ("studio", 1730000112.4, 1730000134.0, 109, "ure_only"),
            ("studio", 1730000150.2, 1730000162.0, 60, "sensors_only"),
        ]
    )
    lines = shipped.stored("demo")["fused"]
    assert sum(spell[3] for spell in spells) == sum(line["mode"] != "fused" for line in lines)
    why = [{(c, s) for _, t, _, _, _, c, s in rows if t == spell[1]} for spell in spells]
    sensors = {"midi_1:cc/1/1", "osc_1:/body/pulse", "osc_2:/wrist/pulse"}
    assert why == [
        {(channel, "acquiring") for channel in sensors | OTHER},
        {("osc_1:/body/pulse", "stale"), ("osc_2:/wrist/pulse", "stale")},
        {("ure:pulse", "stale")},
    ]


def test_the_worst_bound_of_a_day(store: BackEnd) -> None:
    worst = max(line["sync_bound_s"] or 0 for line in shipped.stored("demo")["fused"])
    _, rows = ask(store, "worst_bound")
    assert rows == [(rig, DAY, worst, MINUTE) for rig in ("hall", "studio")]


def test_how_lag_and_skew_moved(store: BackEnd) -> None:
    _, rows = ask(store, "lag_and_skew", {"rig": "studio"})
    found = {row[1]: row[2:] for row in rows}
    lines = [line for line in shipped.stored("demo")["sync"] if line["why"] == "hop"]
    for channel, (day, reports, lag, least, greatest, skew, _, _) in found.items():
        mine = [x for x in lines if x["channel"] == channel]
        lags = [x["lag_s"] for x in mine if x["lag_s"] is not None]
        skews = [x["skew_ppm"] for x in mine if x["skew_ppm"] is not None]
        assert (day, reports) == (DAY, max(len(lags), len(skews)))
        assert skew == pytest.approx(sum(skews) / len(skews), rel=1e-9)
        if lags:
            assert lag == pytest.approx(sum(lags) / len(lags), rel=1e-9)
            assert (least, greatest) == (min(lags), max(lags))
    assert found.keys() == {x["channel"] for x in lines}
    assert found["osc_1:/body/pulse"][2] == pytest.approx(0.1785332876733628, rel=1e-9)


def test_clock_resets_of_a_week(store: BackEnd) -> None:
    _, rows = ask(store, "clock_resets")
    assert rows == [(rig, "osc_1:/body/pulse", WEEK, 1) for rig in ("hall", "studio")]
    assert (WEEK / 86400 + 3) % 7 == 0  # the epoch was a Thursday


def test_the_share_of_ticks_within_each_objective(store: BackEnd) -> None:
    _, rows = ask(store, "objectives", {"rig": "studio"})
    assert rows == _near(
        [
            ("studio", "phase", 897, 777, 777 / 897, OBJECTIVES["phase"], 2),
            ("studio", "residual", 897, 282, 282 / 897, OBJECTIVES["residual"], 2),
            ("studio", "sync", 625, 625, 1, OBJECTIVES["sync"], 274),
        ]
    )
    lines = shipped.stored("demo")["fused"]
    phases = [x for line in lines if (x := line["indicators"]["phase_diff"]) is not None]
    assert (len(phases), sum(x <= 0.02 for x in phases)) == (897, 777)


def test_which_rule_fired_and_how_long(store: BackEnd) -> None:
    _, rows = ask(store, "rule_times", {"rig": "studio"})
    first = ("studio", "sync_degradation", "risk", "warning", 1730000064.6, 1730000093.4, 28.8)
    second = ("studio", "clarity", "quote", "info", 1730000117.0, 1730000166.4, 49.4)
    assert [row[:6] for row in rows] == _near([first[:6], second[:6]])
    assert [row[6] for row in rows] == pytest.approx([28.8, 49.4], abs=1e-6)


def test_a_rule_that_still_fires_has_no_end(store: BackEnd) -> None:
    _, rows = ask(store, "rule_times", {"rig": "studio", "to": 1730000150.0})
    assert [row[1:2] + row[5:] for row in rows][1] == ("clarity", None, None)


def test_lost_input_by_source_and_reason(store: BackEnd) -> None:
    _, rows = ask(store, "lost_input", {"rig": "studio"})
    assert [row[:5] for row in rows] == [
        ("studio", "?", "receive", "json", 2),
        ("studio", "osc_1", "drift", "wild_stamp", 1),
        ("studio", "osc_2", "normalize", "out_of_range", 1),
        ("studio", "osc_2", "receive", "value", 1),
    ]
    assert sum(row[4] for row in rows) == sum(x["count"] for x in shipped.stored("demo")["dead"])


def test_two_rigs_side_by_side(store: BackEnd) -> None:
    given = {"rig": "studio", "other_rig": "hall", "from": MINUTE + 60, "to": MINUTE + 3660}
    _, rows = ask(store, "two_rigs", given)
    assert [row[:3] for row in rows] == _near(
        [
            ("pulse", MINUTE + 60, 1),
            ("pulse", MINUTE + 120, 142 / 300),
            ("pulse", MINUTE + 180, 0.89),
        ]
    )
    assert all(row[2::2] == row[3::2] for row in rows)
    _, rows = ask(store, "two_rigs", {"rig": "studio", "other_rig": "nowhere"})
    assert [row[3::2] for row in rows] == [(None, None, None)] * 4


def test_what_changed_after_a_version(store: BackEnd) -> None:
    _, rows = ask(store, "after_version", {"version": "2.1"})
    assert [row[:4] for row in rows] == [
        ("hall", "pulse", "since", 899), ("studio", "pulse", "before", 899)
    ]  # fmt: skip
    assert rows[0][4] == pytest.approx(623 / 899)
    assert rows[0][4:] == pytest.approx(rows[1][4:])


def test_a_span_limits_every_answer(store: BackEnd) -> None:
    more = {"two_rigs": {"rig": "studio", "other_rig": "hall"}, "after_version": {"version": "2.1"}}
    for name in questions():
        given = more.get(name, {}) | {"from": 1e9, "to": 1.1e9}
        assert ask(store, name, given)[1] == []
        assert ask(store, name, more.get(name, {}) | {"rig": "studio"})[1]


def test_columns_and_parameters_are_those_of_the_statement(store: BackEnd) -> None:
    assert len(questions()) == 9
    for name, question in questions().items():
        sql = re.sub(r"--.*", "", question.sql)
        assert set(question.parameters) == set(re.findall(r":([a-z_]+)", sql)), name
        given = dict.fromkeys(question.required, "studio")
        rows = ask(store, name, given)[1]
        assert rows
        assert {len(row) for row in rows} == {len(question.columns)}, name
        assert question.title.endswith("?")


def test_a_wrong_question_is_refused_in_one_line(store: BackEnd) -> None:
    with pytest.raises(QuestionError, match="no question 'gone', expected one of after_version, "):
        ask(store, "gone")
    with pytest.raises(QuestionError, match="question two_rigs needs rig, other_rig"):
        ask(store, "two_rigs", {"from": 0.0})
    with pytest.raises(QuestionError, match="question worst_bound has no parameter version"):
        ask(store, "worst_bound", {"version": "2.1"})
    hostile = "studio' OR '1'='1' --"
    assert ask(store, "worst_bound", {"rig": hostile})[1] == []
