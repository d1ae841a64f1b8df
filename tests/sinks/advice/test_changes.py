import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.signals import MemberConfig, SignalConfig
from operators.settings.channels import ChannelConfig
from operators.settings.plan import Plan
from sinks.advice.changes import FOLD_S, Transition, fold
from tests.support.shown import Time, config, finding, packet, report, rig_of, ticks


def channel(ts, state, name="a:x"):
    return Transition(ts, "channel", name, state)


def test_a_change_is_an_entry():
    entries = fold([channel(2.0, "live"), channel(1.0, "acquiring")])
    assert [(e.ts, e.text, e.before) for e in entries] == [
        (1.0, "acquiring", ""),
        (2.0, "live", ""),
    ]


def test_a_subject_that_flaps_is_one_entry_beside_others():
    turns = [channel(float(k), ("stale", "rejoining", "live")[k % 3]) for k in range(30)]
    modes = [Transition(k + 0.5, "mode", "", ("ure_only", "fused")[k % 2]) for k in range(6)]
    mode, flapping, other = fold([*turns, *modes, channel(99.0, "lost", "b:x")])
    assert flapping[:5] == (29.0, "channel", "a:x", "live", 0.0)
    assert flapping.before == "stale 10 times, rejoining 10 times"
    assert mode[:5] == (5.5, "mode", "", "fused", 0.5)
    assert mode.before == "ure_only 3 times"
    assert (other.text, other.before) == ("lost", "")


def test_two_changes_are_no_flapping():
    turns = [channel(float(k), "live" if k % 2 else "stale") for k in range(4)]
    assert [entry.text for entry in fold(turns)] == ["stale", "live"] * 2


def test_distant_changes_are_no_run():
    far = FOLD_S + 1
    entries = fold([channel(k * far, "stale" if k % 2 else "live") for k in range(6)])
    assert len(entries) == 6
    assert not any(entry.before for entry in entries)


@given(
    st.lists(
        st.tuples(st.floats(0, 1000), st.sampled_from("ab"), st.sampled_from(["live", "lost"])),
        max_size=40,
    )
)
def test_each_change_is_in_exactly_one_entry(found):
    turns = [channel(ts, state, name) for ts, name, state in found]
    entries = fold(turns)
    assert entries == sorted(entries)
    for turn in turns:
        assert sum(
            e.since <= turn.ts <= e.ts and e.name == turn.name for e in entries
        ) >= 1, "it lies in a run of its subject"  # fmt: skip
    assert len(entries) <= len(turns)
    assert {e.name for e in entries} == {turn.name for turn in turns}


def test_a_rig_shows_its_newest_with_findings_among_them():
    board = Time().board()
    board.update([packet(ticks(0), sync=(report("osc_1:p", ts=0.5),), evidence=(finding(1.0),))])
    for k in range(100):
        line = report(f"osc_{k}:p", ts=2.0 + k)
        board.update([packet(sync=(line,), evidence=(finding(200.0 + k),))])
    shown = rig_of(board).history.happened()
    assert len(shown) == 16
    assert shown[0].kind == "rule"
    assert shown[0].before == "firing 100 times"
    assert [e.ts for e in shown] == sorted((e.ts for e in shown), reverse=True)


def test_a_run_begins_with_its_first_tick():
    board = Time().board()
    assert np.isnan(rig_of(board).history.began)
    for first in (7, 20):
        board.update([packet(ticks(first))])
    assert rig_of(board).history.began == 7.0


@pytest.mark.parametrize(
    ("scale", "reference", "units", "unit"),
    [("consensus", "auto", {}, None), ("consensus", "auto", {"a:x": "g", "b:x": "mV"}, "g"),
     ("consensus", "b:x", {"a:x": "g", "b:x": "mV"}, "mV"),
     ("b:x", "auto", {"a:x": "g", "b:x": "mV"}, "mV"),
     ("consensus", "c:x", {"b:x": "g", "c:x": "mV"}, "g")],
)  # fmt: skip
def test_a_signal_has_the_unit_of_its_scale(scale, reference, units, unit):
    channels = {name: ChannelConfig(unit=text) for name, text in units.items()}
    channels["c:x"] = ChannelConfig(gain="auto", unit=units.get("c:x"))
    members = dict.fromkeys(("a:x", "b:x", "c:x"), MemberConfig())
    signal = SignalConfig(members=members, scale=scale, reference=reference)
    of = config(channels=channels)
    plan: Plan = type(of)(
        version=2, streams=of.streams, signals={"s": signal}, channels=channels
    ).plan()
    assert plan.unit("s") == unit
    assert plan.unit("t") is None
