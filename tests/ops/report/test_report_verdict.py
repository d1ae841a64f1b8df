"""The verdict of a report, and its reasons."""

import json

import pytest

from ops.report.model import story
from ops.report.verdict import verdict
from ops.results import summary
from tests.ops.report.run_lines import SYNC, TICKS, fill, sync, tick, written


def test_a_lone_channel_has_no_bound(tmp_path, text_only):
    lone = [tick(i / 5, channels=("a:x",), live=1, sync_bound_s=None) for i in range(99)]
    page, methods = written(fill(tmp_path / "out", fused=lone, sync=[sync(0)]))
    assert "<strong>Not compared</strong>" in page and "In sync" not in page
    assert "A:x is the only member: name a second one" in page
    assert "two channels or more in 0 % of the ticks; not compared in 100 %" in page
    assert "Not compared, so that no bound can be given: A:x is the only member" in methods


FREE = {"lag_s": 0.0, "lag_sd_s": None}


NEVER = {"lag_s": None, "lag_sd_s": None, "state": "acquiring"}


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (FREE, "Lag of b:x is given without an sd: type lag_sd_s."),
        (NEVER, "One channel live; lag of b:x not found yet"),
        (NEVER | {"received": 0}, "One channel live; nothing came from b:x"),
        ({}, "Fewer than two members with a known lag were live at once."),
    ],
    ids=["given without an sd", "not found", "never came", "never together"],
)
def test_channels_never_compared_have_a_reason_and_a_remedy(tmp_path, text_only, other, reason):
    never = [tick(i / 5, sync_bound_s=None) for i in range(99)]
    out = fill(tmp_path / "out", fused=never, sync=[sync(0), sync(0, "b:x", **other)])
    page, methods = written(out)
    assert "<strong>Not compared</strong>" in page and "In sync" not in page
    assert reason in page
    assert "Not compared, so that no bound can be given" in methods
    report = "\n".join(summary.summary(out))
    assert f"Not compared: {reason[:1].lower()}{reason[1:]}" in report


def test_a_briefly_compared_run_is_not_called_in_sync(tmp_path, text_only):
    few = [tick(i / 5, sync_bound_s=0.004 if i < 20 else None) for i in range(99)]
    out = fill(tmp_path / "out", fused=few, sync=SYNC)
    page, _ = written(out)
    assert "<strong>Not compared, most of the time</strong>" in page
    report = "\n".join(summary.summary(out))
    assert "Sync error bound: 4.0 ms in the median, 4.0 in 95 % of the 20 % of ticks" in report


def test_a_member_that_was_used_but_not_compared_is_an_exception(tmp_path, text_only):
    lines = [*SYNC, sync(0, "c:x", **FREE)]
    three = [tick(i / 5, ("a:x", "b:x", "c:x"), 3) for i in range(200)]
    page, _ = written(fill(tmp_path / "out", fused=three, sync=lines))
    assert "Used, but not compared: lag of c:x is given without an sd: type lag_sd_s." in page


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, "In sync"),
        ({"mode": "ure_only"}, "In sync, with exceptions"),
        ({"live": 1}, "Not compared"),
        ({"sync_bound_s": None}, "Not compared"),
        ({"indicators": {"sync_quality": 0.2}}, "In doubt"),
    ],
)
def test_the_verdict_follows_from_the_ticks(tmp_path, change, word):
    out = fill(tmp_path / "out", fused=[t | change for t in TICKS], sync=SYNC)
    ends = dict.fromkeys(
        ("received", "ignored", "late", "duplicate", "outliers", "rejected", "dropped"), 0
    )
    account = {"total": ends | {"received": 3, "used": 3}, "by_source": {}}
    (out / "run.json").write_text(json.dumps({"account": account, "ended": True}))
    read = story(out)
    assert verdict(read, read.rigs[0]).word == word


def test_an_account_that_does_not_balance_is_called_a_bug(tmp_path, text_only):
    out = fill(tmp_path / "out", fused=TICKS, sync=SYNC)
    total = {"received": 3, "used": 2, "ignored": 0, "late": 0, "duplicate": 0, "outliers": 0,
             "rejected": 0, "dropped": 0}  # fmt: skip
    run = {"account": {"total": total, "by_source": {}}, "ended": True}
    (out / "run.json").write_text(json.dumps(run))
    page, _ = written(out)
    assert "does not balance" in page
