import json
from dataclasses import replace

import numpy as np
import pytest

from operators.types import MODES
from sinks.exporter.state_json import state
from sinks.exporter.sync_status import stream_state, verdict
from tests.support.shown import Time, config, events, packet, report, rig_of, ticks

CHANNELS = ("ure:p", "osc_1:p")
GOOD = {
    "phase_diff": 0.01, "coherence": 0.95, "sync_quality": 0.9, "entropy_ratio": 0.1,
}  # fmt: skip


class Show:
    """A rig of two members, live unless stated otherwise."""

    def __init__(self):
        self.time = Time()
        self.board = self.time.board()
        self.tick = 0

    def update(self, mode="fused", bound=0.0031, resets=0, silent=(), more=None, **states):
        more = more or {}
        self.tick += 1
        shown = {**GOOD, **{k: v for k, v in states.items() if k in GOOD}}
        fused = ticks(self.tick, mode=MODES.index(mode), **shown)
        fused = replace(fused, sync_bound_s=np.array([bound]))
        sync = tuple(
            report(c, **more.get(c.partition(":")[0], {}),
                   state=states.get(c.partition(":")[0], "live"),
                   clock_resets=resets if c == "osc_1:p" else 0,
                   reset_at=self.tick if resets else None,
                   offset_s=1.0 - 0.5 * resets)
            for c in CHANNELS
        )  # fmt: skip
        received = tuple(e for s in ("ure", "osc_1") if s not in silent for e in events(s))
        self.board.update([packet(fused, sync=sync, ends=received)])
        return self

    @property
    def panel(self):
        return rig_of(self.board)

    @property
    def status(self):
        return verdict(self.panel, self.time.now)

    def sentence(self):
        return f"{self.status.level}: {self.status.head}: {self.status.text}"


@pytest.fixture
def show():
    return Show()


def test_the_status_before_the_first_tick_is_waiting(show):
    assert show.sentence() == "wait: Waiting for the first tick: 0 of 2 streams live"


def test_live_members_with_good_indicators_are_in_sync(show):
    show.update()
    assert show.sentence() == "good: In sync: within 3.1 ms; 2 of 2 streams live"
    assert show.status.since is None


def test_a_member_that_the_indicators_leave_out_is_named(show):
    show.update(more={"ure": {"rate_hz": 0.5}})
    unknown = {**GOOD, "sync_quality": np.nan}
    fused = replace(ticks(2, **unknown), sparse=np.array([[True, False]]))
    show.board.update([packet(fused)])
    slow = "ure:p, read each 2 s, is too slow for this movement: indicators leave it out"
    assert show.sentence().endswith(f"2 of 2 streams live; {slow}")
    (rig,) = json.loads(state(show.board))["rigs"].values()
    assert rig["left_out"] == rig["indicators"]["sync_quality"]["why"] == slow
    assert rig["indicators"]["coherence"]["why"] is None


@pytest.mark.parametrize(
    ("bound", "text"),
    [(0.00004, "within 0.04 ms"), (0.0031, "within 3.1 ms"), (0.0314, "within 31 ms"),
     (1.234, "within 1.23 s"), (0.0, "within 0 ms")],
)  # fmt: skip
def test_the_bound_is_in_the_unit_that_fits(show, bound, text):
    assert text in show.update(bound=bound).status.text


ALONE = "Not compared: one channel live; "
FREE = {"lag_s": 0.0, "lag_sd_s": None}


@pytest.mark.parametrize(
    ("more", "states", "sentence"),
    [
        ({}, {"osc_1": "acquiring"},
         "wait: " + ALONE + "lag of osc_1:p not found yet: it takes both moving for a while"),
        ({"osc_1": {"received": 0, "lag_s": None, "lag_sd_s": None}}, {"osc_1": "acquiring"},
         "warn: " + ALONE + "nothing came from osc_1:p: start it, or look at its stream"),
        ({}, {"osc_1": "rejoining"}, "warn: " + ALONE + "osc_1:p rejoining"),
        ({}, {"osc_1": "lost"}, "warn: " + ALONE + "osc_1:p silent"),
        ({"ure": FREE}, {},
         "warn: Not compared: lag of ure:p is given without an sd: type lag_sd_s"),
        ({"ure": FREE, "osc_1": FREE}, {},
         "warn: Not compared: lags of ure:p, osc_1:p are given without an sd: type lag_sd_s"),
        ({}, {},
         "warn: Not compared: fewer than two members with a known lag were live at once"),
    ],
)  # fmt: skip
def test_without_two_compared_members_nothing_is_in_sync(show, more, states, sentence):
    show.update(bound=float("nan"), more=more, **states)
    assert show.sentence() == sentence


def test_a_lone_member_needs_a_second_one(show):
    fused = ticks(1)
    lone = replace(fused.signals[0], channels=("osc_1:p",), weights=np.ones((1, 1)))
    fused = replace(fused, signals=(lone,), sync_bound_s=np.array([np.nan]))
    show.board.update([packet(fused, sync=(report("osc_1:p"),), ends=events("osc_1"))])
    assert show.status.head == "Not compared"
    assert "osc_1:p is the only member: name a second" in show.status.text


def test_a_member_that_is_used_but_not_compared_is_named(show):
    show.update(more={"ure": FREE})
    assert show.sentence() == (
        "warn: In sync, not all of it: within 3.1 ms;"
        " lag of ure:p is given without an sd: type lag_sd_s"
    )


def test_ended_data_are_not_in_sync(show):
    show.update(bound=float("nan"), osc_1="lost")
    show.board.update([packet(end=True)])
    assert show.sentence() == "wait: The data have ended: not compared: so it was at the end"


def test_readiness_names_the_rigs_in_which_nothing_is_compared(show):
    assert show.board.uncompared() == []
    show.update()
    assert show.board.uncompared() == []
    show.update(bound=float("nan"), osc_1="lost")
    assert show.board.uncompared() == ["r: not compared: one channel live; osc_1:p silent"]


def test_a_silent_member_is_named_with_its_time(show):
    show.update().update().update("ure_only", osc_1="stale").update("ure_only", osc_1="lost")
    assert show.sentence() == "warn: Failed over to URE: osc_1 silent"
    assert show.status.since == 3


def test_silent_members_leave_nothing_to_fuse(show):
    show.update().update("none", osc_1="lost", ure="stale")
    assert show.sentence() == "crit: Nothing to fuse: ure, osc_1 silent"


def test_the_status_at_the_start_is_acquiring(show):
    show.update("none", osc_1="acquiring", ure="acquiring")
    assert show.sentence() == "wait: Acquiring: ure, osc_1 acquiring"


def test_a_step_of_a_clock_is_shown_for_a_while(show):
    show.update().update(resets=1, osc_1="acquiring")
    assert show.sentence() == "warn: Clock of osc_1 stepped by +0.500\u00a0s: re-acquiring"
    assert show.status.since == 2
    show.update(resets=1)
    assert show.status.text == "corrected; within 3.1 ms"
    for _ in range(20):
        show.update(resets=1)
    assert show.status.level == "good"


def test_a_member_back_after_a_step_has_not_stepped_again(show):
    show.update().update(resets=1, osc_1="acquiring").update(resets=1)
    for _ in range(30):
        show.update("ure_only", resets=1, osc_1="stale")
    show.update("ure_only", resets=1, osc_1="rejoining")
    assert show.sentence() == "warn: Failed over to URE: osc_1 rejoining"


def test_silence_goes_before_a_step(show):
    show.update().update("ure_only", resets=1, osc_1="stale")
    assert show.status.head == "Failed over to URE"


def test_a_member_that_is_missing_is_named(show):
    show.update(osc_1="rejoining")
    assert show.sentence() == "warn: In sync, not all of it: within 3.1 ms; osc_1 rejoining"


def test_disagreement_is_no_sync(show):
    show.update(coherence=0.6, phase_diff=0.04)
    assert show.sentence() == (
        "warn: Aligned, but the channels disagree: within 3.1 ms;"
        " phase diff 0.04 is above 0.03, coherence 0.6 is below 0.72"
    )


def test_a_flow_that_hangs_is_no_sync(show):
    show.update()
    show.time.now += 7
    assert show.sentence().startswith("crit: No fresh data: nothing has come out for 7 s")


def test_the_end_is_no_fault(show):
    show.update()
    show.board.update([packet(end=True)])
    show.time.now += 100
    assert show.sentence().startswith("wait: The data have ended: within 3.1 ms")


def test_a_stream_is_as_the_best_of_its_channels(show):
    assert stream_state(show.panel, "osc_1") == "waiting"
    show.update(osc_1="stale")
    assert stream_state(show.panel, "osc_1") == "stale"
    show.board.update([packet(sync=(report("osc_1:q"),))])
    assert stream_state(show.panel, "osc_1") == "live"
    show.board.update([packet(turned=(("osc_1", 1.0, False),))])
    assert stream_state(show.panel, "osc_1") == "down"


def late(show, seconds, **shown):
    """Show a tick with this delay after its data."""
    show.time.wall = show.tick + 1 + 0.5 + seconds
    return show.update(**shown)


def test_late_results_are_not_in_sync(show):
    assert late(show, 0.9).status.head == "In sync"
    assert late(show, 3.25).sentence() == (
        "warn: Behind: results come 3.2 s late: this machine cannot keep up; within 3.1 ms"
    )
    assert late(show, 0.1).status.head == "In sync"


def test_very_late_results_go_before_all_else(show):
    assert late(show, 7.0, mode="ure_only", osc_1="stale").sentence() == (
        "crit: Behind: results come 7.0 s late: this machine cannot keep up; within 3.1 ms"
    )
    assert late(show, 3.0, mode="ure_only", osc_1="stale").status.head == "Failed over to URE"


def test_a_clock_that_was_set_is_no_lateness(show):
    assert late(show, 1e6).status.head == "In sync"


def test_a_replay_is_never_behind():
    time = Time()
    board = time.board(config(live=False))
    time.wall = 100.0
    board.update([packet(ticks(1))])
    assert rig_of(board).behind_s == 0.0
