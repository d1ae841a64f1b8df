import json
from pathlib import Path

import numpy as np
import pytest

from ops.__main__ import main
from ops.results.unused import UnusedKind, findings, refused
from sinks.advice.comparison import MemberState, reasons


def ends(received, **more):
    return {"received": received, "late": 0, "rejected": 0} | more


@pytest.mark.parametrize(("late", "expected"), [(50, False), (51, True)])
def test_more_than_five_per_cent_late_is_a_finding(late, expected):
    found = list(findings({"phone": ends(1000, late=late)}, []))
    assert bool(found) is expected
    if expected:
        assert found[0].startswith("phone: 51 of 1,000 events (5.1 %) were late")
        assert "resample.wait_s" in found[0]


def test_rejects_are_named_by_their_commonest_reason():
    letters = [
        UnusedKind("a", "value", 3, "x=nan"),
        UnusedKind("a", "wild_stamp", 40, "milliseconds? ts_unit: ms"),
        UnusedKind("a", "wild_stamp", 40, "other"),
        UnusedKind("b", "value", 500, "y"),
    ]
    (found,) = findings({"a": ends(100, rejected=83), "b": ends(10**6, rejected=500)}, letters)
    assert found == ("a: 83 of 100 events (83 %) were rejected, 80 of them as wild_stamp"
                     " (milliseconds? ts_unit: ms)")  # fmt: skip


def test_a_source_without_events_is_none_of_it():
    assert not list(findings({"a": ends(0)}, []))
    assert not refused({"a": ends(0)}, "a")
    assert not refused({}, "a")


def test_the_summary_names_the_key_that_mends_a_clock_and_not_that_nothing_came(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    t = np.arange(0, 60, 0.05)
    rows = [
        {"ts": ts, "source": source, "key": "/p", "value": v, "meta": {"rx": 1.73e9 + x + 0.004}}
        for x, v in zip(t.tolist(), np.cumsum(np.sin(t**1.3)).tolist(), strict=True)
        for source, ts in (("good", 1.73e9 + x), ("ms", round(x * 1000)))
    ]
    Path("a.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["replay", "a.ndjson"]) == 0
    shown = capsys.readouterr().out
    assert "Findings\nms: 1,200 of 1,200 events (100 %) were rejected" in shown
    assert "milliseconds? ts_unit: ms" in shown
    assert "events of ms:/p cannot be used" in shown
    assert "not found yet" not in shown


def test_members_that_stand_alone_share_a_sentence():
    alone = [[MemberState(f"a:{k}", "live", 0.0, 0.0, True)] for k in range(40)]
    assert reasons(alone) == (
        "a:0, a:1, a:2 and 37 more are each the only member: name a second one that measures the"
        " same"
    )
    assert reasons(alone[:1]).startswith("a:0 is the only member")
