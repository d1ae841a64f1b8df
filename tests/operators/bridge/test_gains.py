"""Gains over the entropy ratio, actions of rules on them, and the calibrator's advice."""

from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.bridge.actions import MAX_CHANGE, ActionError, Actions, changes, parse_action
from operators.bridge.bridge_config import GainConfig, NonlinearGainConfig, PhaseConfig
from operators.bridge.calibrator import RULE, Calibrator
from operators.bridge.gains import GainSchedule, MonotoneCurve
from operators.bridge.gains_in_force import Gains

KP = [(0.0, 0.35), (0.1, 0.33), (0.2, 0.28), (0.3, 0.22)]
KD = [(0.0, 0.10), (0.1, 0.12), (0.2, 0.14), (0.3, 0.18)]
CURVES = NonlinearGainConfig(kp_curve=KP, kd_curve=KD, ki_base=0.08)
PHASE = PhaseConfig()
CONFIGURED = Gains(0.35, 0.08, 0.1)
NAN = math.nan

# -- curves -----------------------------------------------------------------------------------

points = st.lists(
    st.tuples(st.floats(0, 1), st.floats(0, 100)), min_size=2, max_size=12,
    unique_by=lambda point: point[0],
).map(sorted)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(points)
def test_a_curve_is_monotone_between_any_two_points(given_points) -> None:
    curve = MonotoneCurve(given_points)
    for (x0, y0), (x1, y1) in itertools.pairwise(given_points):
        values = np.array([curve(x) for x in np.linspace(x0, x1, 50).tolist()])
        sign = 1 if y1 >= y0 else -1
        rounding = 1e-12 * max(1.0, y0, y1)
        assert (sign * np.diff(values) >= -rounding).all()
        assert min(y0, y1) <= values.min() and values.max() <= max(y0, y1)
        assert (curve(x0), curve(x1)) == (y0, y1)


@pytest.mark.parametrize("curve_points", [KP, KD])
def test_a_curve_is_flat_beyond_its_ends(curve_points) -> None:
    curve = MonotoneCurve(curve_points)
    below = [curve(x) for x in (-math.inf, -1.0, 0.0)]
    above = [curve(x) for x in (0.3, 0.9, math.inf)]
    assert below == [curve_points[0][1]] * 3
    assert above == [curve_points[-1][1]] * 3


def test_a_curve_is_smooth_at_its_points() -> None:
    curve, h = MonotoneCurve(KP), 1e-6
    for x, _ in KP[1:-1]:
        left, right = (curve(x) - curve(x - h)) / h, (curve(x + h) - curve(x)) / h
        assert left == pytest.approx(right, abs=1e-4)


def test_a_curve_through_a_line_is_that_line() -> None:
    curve = MonotoneCurve([(x, 3 - 2 * x) for x in (0.0, 0.1, 0.4, 1.0)])
    for x in np.linspace(0, 1, 33).tolist():
        assert curve(x) == pytest.approx(3 - 2 * x, rel=1e-12)


def test_the_slopes_are_limited_as_in_fritsch_and_carlson() -> None:
    # Secants 0.1 and 10: the mean slope 5.05 is 50.5 secants; 3 / hypot(50.5, 1) of it remains.
    curve, h = MonotoneCurve([(0.0, 0.0), (1.0, 0.1), (2.0, 10.1)]), 1e-7
    radius = math.hypot(1.0, 50.5)
    assert (curve(h) - curve(0.0)) / h == pytest.approx(0.1 * 3 / radius, rel=1e-3)
    assert (curve(1.0) - curve(1.0 - h)) / h == pytest.approx(5.05 * 3 / radius, rel=1e-3)


# -- the gains in force -----------------------------------------------------------------------


def test_the_gains_at_a_point_are_those_of_the_curves() -> None:
    schedule = GainSchedule(PHASE, CURVES)
    for (x, kp), (_, kd) in zip(KP, KD, strict=True):
        gains = schedule.at(x)
        assert (gains.kp, gains.kd) == (kp, kd)


def test_the_damping_is_the_same_at_every_entropy() -> None:
    schedule = GainSchedule(PHASE, CURVES)
    damping = [g.kp / (2 * math.sqrt(g.ki)) for g in map(schedule.at, np.linspace(0, 0.4, 41))]
    assert damping == pytest.approx([0.35 / (2 * math.sqrt(0.08))] * 41, rel=1e-12)
    assert schedule.at(0.0).ki == 0.08


def test_an_unknown_entropy_keeps_the_last_gains_and_begins_with_the_most_careful() -> None:
    schedule = GainSchedule(PHASE, CURVES)
    assert (schedule.at(NAN).kp, schedule.at(math.inf).kd) == (0.22, 0.18)
    known = schedule.at(0.12)
    assert schedule.at(NAN) == schedule.at(math.inf) == schedule.at(-math.inf) == known
    resumed = GainSchedule.from_snapshot(
        pickle.loads(pickle.dumps(schedule.snapshot())), PHASE, CURVES
    )
    assert resumed.at(NAN) == known


def test_gains_without_curves_are_constant() -> None:
    schedule = GainSchedule(PhaseConfig(gain=GainConfig(kp=1.0, ki=0.5, kd=0.2)))
    assert {schedule.at(h) for h in (NAN, 0.0, 0.3, 1e300)} == {Gains(1.0, 0.5, 0.2)}


def test_points_that_nearly_coincide_give_finite_gains() -> None:
    curve = NonlinearGainConfig(
        kp_curve=[(0.0, 100.0), (5e-324, 0.0), (1e-300, 100.0)], kd_curve=KD, ki_base=0.08
    )
    schedule = GainSchedule(PHASE, curve)
    for h in (0.0, 5e-324, 1e-310, 5e-301, 1.0, 1e300):
        assert all(math.isfinite(gain) for gain in schedule.at(h))


# -- actions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "target", "value"),
    [
        ("increase kd by 0.02", "kd", 0.02),
        ("decrease kp by 0.05", "kp", -0.05),
        ("increase  ki by\t1e-3", "ki", 0.001),
        ("safety gain 0.9", "safety_gain", 0.9),
        ("safety gain 0", "safety_gain", 0.0),
        ("hard stop", "hard_stop", 1.0),
    ],
)
def test_an_action_has_a_target_and_a_value(text, target, value) -> None:
    action = parse_action(text)
    assert (action.target, action.value) == (target, value)
    assert parse_action(action.text) == action


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("", 0), ("  ", 2), ("raise kp by 1", 0), ("increase kx by 1", 9), ("increase kp 1", 12),
        ("increase kp by", 14), ("increase kp by -1", 15), ("increase kp by nan", 15),
        ("increase kp by 1_0", 15), ("increase kp by 101", 15), ("increase kp by 1e999", 15),
        ("safety gain 1.1", 12), ("safety gain", 11), ("safety stop", 7), ("hard gain 1", 5),
        ("hard stop now", 10), ("increase kp by 1 s", 17), ("Increase kp by 1", 0),
        ("increase kp by \u0661", 15),
    ],
)  # fmt: skip
def test_another_text_is_refused_at_its_character(text, offset) -> None:
    with pytest.raises(ActionError, match=rf"^character {offset + 1}: unexpected ") as caught:
        parse_action(text)
    assert caught.value.offset == offset
    assert "expected " in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(
    ["increase", "decrease", "kp", "by", "safety", "gain", "hard", "stop", "1", "0.5"]
)).map(" ".join))  # fmt: skip
def test_any_text_is_an_action_or_refused_within_it(text) -> None:
    try:
        action = parse_action(text)
    except ActionError as error:
        assert 0 <= error.offset <= len(text)
    else:
        assert 0 <= abs(action.value) <= MAX_CHANGE


def taken(*texts: str, rule: str = "a", actions: Actions | None = None) -> Actions:
    actions = actions or Actions()
    actions.take(rule, [parse_action(text) for text in texts])
    return actions


def test_actions_are_taken_and_undone_by_rule() -> None:
    actions = taken("increase kd by 0.02", "decrease kp by 0.05")
    taken("decrease kp by 0.05", "safety gain 0.5", rule="b", actions=actions)
    assert actions.gains(CONFIGURED) == pytest.approx((0.25, 0.08, 0.12))
    assert actions.safety_gain(1.0) == 0.5
    assert actions.texts == [
        "increase kd by 0.02", "decrease kp by 0.05", "decrease kp by 0.05", "safety gain 0.5",
    ]  # fmt: skip
    actions.undo("b")
    assert actions.gains(CONFIGURED) == pytest.approx((0.30, 0.08, 0.12))
    actions.undo("never taken")
    actions.undo("a")
    assert (actions.gains(CONFIGURED), actions.texts) == (CONFIGURED, [])


def test_the_sum_of_changes_stays_within_half_and_twice_the_configured_gain() -> None:
    actions = taken(*["decrease kp by 0.1"] * 4, *["increase ki by 0.05"] * 4)
    assert actions.gains(CONFIGURED) == (0.175, 0.16, 0.1)
    taken("increase kp by 0.3", rule="b", actions=actions)
    assert actions.gains(CONFIGURED).kp == pytest.approx(0.25), "the sum is limited, not each part"
    assert actions.gains(Gains(0.0, 0.0, 0.0)) == (0.0, 0.0, 0.0)


def test_the_least_safety_gain_is_in_force() -> None:
    actions = taken("safety gain 0.95")
    taken("safety gain 0.97", rule="b", actions=actions)
    assert (actions.safety_gain(1.0), actions.safety_gain(0.9)) == (0.95, 0.9)
    assert (actions.safety_gain(0.0), Actions().safety_gain(0.9)) == (0.0, 0.9)


def test_a_hard_stop_lasts_as_long_as_its_rule() -> None:
    actions = taken("hard stop")
    assert actions.hard_stop
    actions.undo("a")
    assert not actions.hard_stop


def test_rollback_undoes_every_action() -> None:
    actions = taken("hard stop", "decrease kp by 0.05", "safety gain 0.1")
    actions.undo_all()
    assert actions.gains(CONFIGURED) == CONFIGURED
    assert (actions.safety_gain(1.0), actions.hard_stop, actions.texts) == (1.0, False, [])


def test_actions_resume_from_a_snapshot() -> None:
    actions = taken("decrease kp by 0.05", "hard stop")
    resumed = Actions.from_snapshot(pickle.loads(pickle.dumps(actions.snapshot())))
    assert resumed.gains(CONFIGURED) == actions.gains(CONFIGURED)
    resumed.undo("a")
    assert actions.hard_stop and not resumed.hard_stop


def test_the_changes_of_gains_are_listed() -> None:
    assert changes(CONFIGURED, CONFIGURED) == ()
    assert changes(CONFIGURED, Gains(0.3, 0.08, 0.12)) == (("kp", 0.35, 0.3), ("kd", 0.1, 0.12))


# -- calibrator -------------------------------------------------------------------------------


class Calibrated:
    """A calibrator with actions, fed a beat and a grid tick each 0.2 s."""

    def __init__(self, mode: str = "advise", window_s: float = 90.0) -> None:
        phase = PhaseConfig(rebalance_window_s=window_s)
        self.core = Calibrator(mode, phase)  # type: ignore[arg-type]
        self.actions = Actions()
        self.tick = 0

    def feed(self, seconds: float, *errors: float) -> list:
        """Return the records of a span in which the phase errors repeat."""
        records = []
        for error in itertools.islice(itertools.cycle(errors or (NAN,)), round(5 * seconds)):
            self.tick += 1
            self.core.add(self.tick / 5 - 0.01, error)
            records += self.core.tick(self.tick / 5, "studio", self.actions, CONFIGURED)
        return records


def test_good_errors_give_no_advice() -> None:
    assert Calibrated().feed(900, 0.02, -0.029, 0.01) == []


def test_large_errors_advise_a_lower_kp_once() -> None:
    fed = Calibrated()
    (record,) = fed.feed(900, 0.04, -0.04)
    assert (record.rig, record.kind, record.rule) == ("studio", "risk", RULE)
    assert record.state == "firing"
    assert record.action == "decrease kp by 0.05"
    assert record.ts == record.since == 90.0
    assert record.facts == {
        "phase_error_p95_5m": 0.04, "phase_error_mean_5m": pytest.approx(0.0, abs=1e-3),
        "kp": 0.35, "kp_after": pytest.approx(0.3), "tick_delta_ms": 15.0,
    }  # fmt: skip
    assert fed.actions.texts == [], "advice changes nothing"


def test_a_biased_error_advises_a_lower_ki() -> None:
    (record,) = Calibrated().feed(180, -0.021)
    assert record.action == "decrease ki by 0.02"
    assert record.facts["phase_error_mean_5m"] == pytest.approx(-0.021)
    assert (record.facts["ki"], record.facts["ki_after"]) == (0.08, pytest.approx(0.06))
    assert record.facts["tick_delta_ms"] == 8.0


def test_advice_ends_with_a_good_window() -> None:
    fed = Calibrated()
    fed.feed(200, 0.04)
    # The errors of the last five minutes, up to the edge at 540 s.
    (record,) = fed.feed(400, 0.0)
    assert (record.state, record.ts, record.since) == ("resolved", 540.0, 90.0)
    assert record.action == "decrease kp by 0.05"


def test_advice_of_another_kind_ends_the_first() -> None:
    fed = Calibrated()
    fed.feed(100, 0.04)
    records = fed.feed(400, 0.025)
    assert [(r.state, r.action) for r in records] == [
        ("resolved", "decrease kp by 0.05"), ("firing", "decrease ki by 0.02"),
    ]  # fmt: skip


def test_changes_are_applied_once_a_window_and_never_below_half() -> None:
    fed = Calibrated("apply")
    gains = []
    for _ in range(7):
        fed.feed(90, 0.04)
        gains.append(fed.actions.gains(CONFIGURED).kp)
    assert gains == pytest.approx([0.3, 0.25, 0.2, 0.175, 0.175, 0.175, 0.175])
    assert len(fed.actions.of(RULE)) == 4


def test_each_step_has_its_record_from_the_value_to_the_value() -> None:
    fed = Calibrated("apply")
    records = [r for r in fed.feed(900, 0.04) if r.state == "firing"]
    assert [r.facts["kp"] for r in records] == pytest.approx([0.35, 0.3, 0.25, 0.2])
    assert [r.facts["kp_after"] for r in records] == pytest.approx([0.3, 0.25, 0.2, 0.175])
    assert {r.since for r in records} == {90.0}


def test_changes_are_undone_by_a_good_window() -> None:
    fed = Calibrated("apply")
    fed.feed(200, 0.04)
    assert fed.actions.gains(CONFIGURED).kp == pytest.approx(0.25)
    records = fed.feed(400, 0.0)
    assert fed.actions.gains(CONFIGURED) == CONFIGURED
    assert records[-1].state == "resolved"
    assert records[-1].facts["kp_after"] == 0.35


def test_off_means_no_record_and_no_memory() -> None:
    fed = Calibrated("off")
    assert fed.feed(300, 0.4) == []
    assert len(fed.core.snapshot()["errors"]) == 0


def test_nothing_is_judged_from_a_few_beats_or_from_old_ones() -> None:
    fed = Calibrated()
    fed.feed(80)
    assert fed.feed(30, 0.4) == [], "10 s before the edge, a quarter of the window is 22.5 s"
    fed = Calibrated()
    fed.feed(89, 0.4)
    assert fed.feed(600) != [], "at 90 s they were new"
    fed.feed(600)
    assert fed.feed(10) == []


def test_the_calibrator_resumes_at_any_tick_and_is_bounded() -> None:
    whole, pieces = Calibrated("apply"), Calibrated("apply")
    rng = np.random.default_rng(1)
    records: tuple[list, list] = ([], [])
    for _ in range(200):
        errors = (rng.standard_normal(3) * rng.choice([0.01, 0.03])).tolist()
        for fed, found in zip((whole, pieces), records, strict=True):
            found += fed.feed(7.0, *errors)
        state = pickle.loads(pickle.dumps(pieces.core.snapshot()))
        pieces.core = Calibrator.from_snapshot(state, "apply", PHASE)
    assert records[0] == records[1]
    assert len(records[0]) > 4
    for i in range(20_000):
        whole.core.add(float(i), 0.0)
    assert len(whole.core.snapshot()["errors"]) == 7_500


def test_the_calibrator_raises_on_no_data() -> None:
    core, actions = Calibrator("apply", PHASE), Actions()
    odd = (NAN, math.inf, -math.inf, 1e308, -1e308, 0.0, 1e9)
    for ts, error in itertools.product(odd, odd):
        core.add(ts, error)
        core.tick(ts, "studio", actions, CONFIGURED)
        core.tick(error, "studio", actions, Gains(0.0, 1e300, NAN))
