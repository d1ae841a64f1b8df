from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.records import Packet
from sinks.exporter.history import MAX_CHANGES, MAX_POINTS, MAX_TRACK_POINTS, RigHistory
from tests.support.shown import NAN, packet, report, ticks

NOW = 1.7e9


def fused(first, k, hz=100.0, **more):
    """k ticks from tick `first` after NOW on; the two members read the tick's number and NaN."""
    made = ticks(int(NOW * hz) + first, k, hz=hz, **more)
    aligned = np.stack([first + np.arange(k) * 1.0, np.full(k, NAN)], axis=1)
    return replace(made, signals=(replace(made.signals[0], aligned=aligned),))


def line(shown, channel="ure:p"):
    return shown["signals"]["pulse"]["channels"][channel]


def test_a_point_is_the_mean_of_as_many_ticks_as_fit_the_screen():
    history = RigHistory(100.0)
    history.ticks(fused(0, 100), 1)
    shown = history.since(0)
    assert shown["window_s"] == 30
    assert line(shown)[:3] == [2.0, 7.0, 12.0], "of five ticks each, the first is 0 to 4"
    assert shown["ts"][0] == pytest.approx(NOW + 0.02)
    assert len(shown["ts"]) == 19, "the last is not whole yet"


def test_slow_ticks_are_points_themselves():
    history = RigHistory(5.0)
    history.ticks(fused(0, 10, hz=5.0), 1)
    assert history.since(0)["window_s"] == 60
    assert line(history.since(0)) == list(range(9))


@given(st.lists(st.integers(1, 40), max_size=30))
def test_points_are_the_same_however_ticks_are_cut_into_packets(sizes):
    whole, cut = RigHistory(100.0), RigHistory(100.0)
    whole.ticks(fused(0, sum(sizes) + 1), 1)
    first = 0
    for k in [*sizes, 1]:
        cut.ticks(fused(first, k), 1)
        first += k
    assert msgspec.json.encode(cut.since(0)) == msgspec.json.encode(whole.since(0))


def test_an_unknown_value_is_null_and_keeps_its_point():
    history = RigHistory(100.0)
    history.ticks(fused(0, 30), 1)
    assert np.isnan(line(history.since(0), "osc_1:p")).all()
    assert len(line(history.since(0), "osc_1:p")) == 5


def test_a_point_is_published_once():
    history = RigHistory(100.0)
    seen = []
    for number in range(1, 80):
        history.ticks(fused(13 * (number - 1), 13), number)
        if number % 7 == 0:
            seen += line(history.since(number - 7))
    assert seen == line(history.since(0))[: len(seen)]


def test_the_history_holds_one_screen():
    history = RigHistory(100.0)
    for second in range(100):
        history.ticks(fused(100 * second, 100), second)
    shown = history.since(-1)
    assert len(shown["ts"]) == len(line(shown)) == MAX_POINTS
    assert line(shown)[-1] == 9992.0, "the newest ones"


def test_one_packet_may_hold_more_than_a_screen():
    history = RigHistory(100.0)
    history.ticks(fused(0, 10_000), 1)
    assert line(history.since(0))[-1] == 9992.0
    assert np.diff(history.since(0)["ts"]) == pytest.approx(0.05, abs=0.0011)


def test_a_mode_is_dated_by_its_first_tick():
    history = RigHistory(100.0)
    modes = np.repeat([0, 1, 0], [10, 20, 5])
    history.mode(replace(fused(0, 35), mode=modes))
    history.mode(fused(35, 5))
    assert [(round(c.ts - NOW, 2), c.now) for c in history.changes] == [
        (0.0, "fused"), (0.1, "ure_only"), (0.3, "fused"),
    ]  # fmt: skip
    assert history.mode_since == pytest.approx(NOW + 0.3)


def test_a_clock_set_forward_has_a_positive_step():
    history, old = RigHistory(100.0), None
    for name in ("phone:x", "phone:y"):  # one clock
        old = report(name, offset_s=3.0)
        history.report(old, None, 1)
        new = report(name, offset_s=2.5, clock_resets=1, reset_at=NOW)
        history.report(new, old, 2)
    steps = [c for c in history.changes if c.what == "clock"]
    assert [(c.name, c.ts, c.step_s) for c in steps] == [("phone", NOW, 0.5)]


def test_states_and_streams_are_changes():
    history = RigHistory(100.0)
    live, stale = report("phone:x"), report("phone:x", state="stale")
    for old, new in ((None, live), (live, live), (live, stale)):
        history.report(new, old, 1)
    history.turned(Packet("r", 0.0, False, np.zeros(1), turned=(("phone", NOW, False),)))
    assert [(c.what, c.name, c.now) for c in history.changes] == [
        ("channel", "phone:x", "live"), ("channel", "phone:x", "stale"),
        ("stream", "phone", "down"),
    ]  # fmt: skip


def test_changes_and_tracks_are_bounded():
    history, old = RigHistory(100.0), None
    for i in range(1000):
        new = report("phone:x", ts=float(i), state=("live", "stale")[i % 2], lag_s=float(i))
        history.report(new, old, i)
        old = new
    assert len(history.changes) == MAX_CHANGES
    track = history.since(-1)["tracks"]["phone:x"]
    assert len(track) == MAX_TRACK_POINTS
    assert track[-1] == (999.0, 0.1, 999.0, 100.0)
    assert history.since(998)["tracks"]["phone:x"] == [track[-1]]


def test_a_packet_without_anything_is_nothing():
    history = RigHistory(100.0)
    history.turned(packet())
    assert history.since(0)["ts"] == []
    assert history.since(0)["signals"] == {}
