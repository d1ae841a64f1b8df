"""The fuse station: mode, weights, value, sd, indicators and bound of ticks given by hand."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from operators.fuse import Fuse
from operators.presence import ACQUIRING, GONE, LIVE, REJOINING, STALE
from operators.records import INDICATORS, ClockReport, Fused, Grid, Indicators, Packet, Sparse
from operators.settings.groups import FailoverConfig, WeightsConfig
from operators.settings.plan import Member, Plan, Signal
from operators.types import MODES
from tests.support.signals import START, plan

HZ = 5
FIRST = int(START) * HZ
URE, A, B = "ure:pulse", "osc_1:/pulse", "osc_2:/pulse"
ALL = (URE, A, B)
FACTS = (
    "ure:ure_phase_diff_mean",
    "ure:ure_harmony_index",
    "ure:ure_coherence_level",
    "ure:ure_residual_entropy_last",
)
NAN = float("nan")


def grid(p: Plan, ticks: int = 1, first: int = FIRST, **given: Any) -> Grid:
    """Return ticks at which every lane is live with value 1, except the `given` columns.

    A row is for all ticks, a column for all lanes.
    """
    healthy = {
        "state": LIVE,
        "ramp": 1.0,
        "lag_s": 0.0,
        "lag_var": 0.0,
        "confidence": 1.0,
        "rate_hz": 50.0,
        "gaps": 0.0,
        "value": 1.0,
        "coverage": 1.0,
        "noise_var": 0.01,
        "gain": NAN,
        "gain_var": NAN,
        "level": NAN,
        "level_var": NAN,
        "scale_state": np.int8(0),
    }
    shape = (ticks, len(p.lanes))
    columns = {k: np.broadcast_to(x, shape).copy() for k, x in (healthy | given).items()}
    due = (first + np.arange(ticks)) / HZ + 2.1
    return Grid(first, due, due, **columns)


def packet(g: Grid, **given: Any) -> Packet:
    return Packet("studio", float(g.due[-1]), False, np.empty(0), grid=g, **given)


def fuse(
    p: Plan,
    ticks: int = 1,
    clocks: tuple[ClockReport, ...] = (),
    indicators: tuple[Indicators, ...] = (),
    **given: Any,
) -> Fused:
    sent = packet(grid(p, ticks, **given), clocks=clocks, indicators=indicators)
    fused = Fuse(p).update(sent).fused
    assert fused is not None
    return fused


def live(*channels: str, p: Plan) -> np.ndarray:
    """Return a row of states: these channels live, all others stale."""
    return np.array([LIVE if m.channel in channels else STALE for m in p.lanes])


def failover(**given: Any) -> FailoverConfig:
    return FailoverConfig(**given)


def weights(fused: Fused, tick: int = 0) -> dict[str, float]:
    """Return the weights that are not zero."""
    s = fused.signals[0]
    return {c: w for c, w in zip(s.channels, s.weights[tick].tolist(), strict=True) if w}


# -- modes --------------------------------------------------------------------------------------

MODE = {
    # (ure present, present sensor streams): by fallback ure_only, sensors_only, degrade
    (True, 2): ("fused", "fused", "fused"),
    (True, 1): ("ure_only", "sensors_only", "degraded"),
    (True, 0): ("ure_only", "ure_only", "degraded"),
    (False, 2): ("sensors_only", "sensors_only", "degraded"),
    (False, 1): ("sensors_only", "sensors_only", "degraded"),
    (False, 0): ("none", "none", "none"),
}
"""Of a signal with an engine and two sensors, `min_streams` 2."""
FUSED_MEMBERS = {"ure_only": {URE}, "sensors_only": {A, B}, "fused": set(ALL), "degraded": set(ALL)}


@pytest.mark.parametrize("fallback", ["ure_only", "sensors_only", "degrade"])
@pytest.mark.parametrize("least", [1, 2])
@pytest.mark.parametrize("there", list(product([URE, ""], [A, ""], [B, ""])))
def test_present_members_and_the_fallback_give_the_mode(
    there: tuple[str, ...], least: int, fallback: str
) -> None:
    p = plan(ALL, failover=failover(min_streams=least, fallback=fallback))
    present = {c for c in there if c}
    streams = len(present - {URE})
    column = ("ure_only", "sensors_only", "degrade").index(fallback)
    mode = MODE[URE in present, 2 if streams >= least and streams else streams][column]
    fused = fuse(p, state=live(*present, p=p))
    signal = fused.signals[0]
    assert MODES[fused.mode[0]] == MODES[signal.mode[0]] == mode
    assert fused.live[0] == signal.live[0] == len(present)
    assert set(weights(fused)) == present & FUSED_MEMBERS.get(mode, set())
    assert np.isfinite(signal.value[0]) == (mode != "none")


@pytest.mark.parametrize("members", [(URE, "ure_2:pulse"), (A, B)])
@pytest.mark.parametrize("fallback", ["ure_only", "sensors_only", "degrade"])
def test_a_signal_of_one_group_is_fused_while_that_is_present(
    members: tuple[str, ...], fallback: str
) -> None:
    p = plan(members, failover=failover(min_streams=2, fallback=fallback))
    fused = fuse(p, 3, state=[[LIVE, LIVE], [LIVE, STALE], [STALE, STALE]])
    assert [MODES[m] for m in fused.mode] == ["fused", "fused", "none"]


def test_two_channels_of_one_stream_are_one_stream() -> None:
    p = plan((URE, A, "osc_1:/other"), failover=failover(min_streams=2))
    assert MODES[fuse(p).mode[0]] == "ure_only"


@pytest.mark.parametrize("state", [ACQUIRING, STALE, GONE, REJOINING])
def test_a_member_that_is_not_live_is_not_present(state: int) -> None:
    p = plan(ALL)
    fused = fuse(p, state=[state, LIVE, LIVE])
    assert MODES[fused.mode[0]] == "sensors_only"
    assert fused.live[0] == 2


def test_a_mode_changes_at_the_tick_of_the_loss_of_a_member() -> None:
    p = plan(ALL)
    state = np.full((20, 3), LIVE)
    state[7:13, 0] = STALE
    modes = [MODES[m] for m in fuse(p, 20, state=state).mode]
    assert modes == ["fused"] * 7 + ["sensors_only"] * 6 + ["fused"] * 7


def two_signals() -> Plan:
    """Return a plan in which `A` measures two signals; the second has only it."""
    pulse = Signal("pulse", (Member("pulse", URE, "ure"), Member("pulse", A, "sensors")), "auto")
    other = Signal("other", (Member("other", A, "sensors"),), "auto")
    return Plan("studio", (pulse, other))


def test_the_line_has_the_worst_mode_of_its_signals() -> None:
    p = two_signals()
    fused = fuse(p, 3, state=[[LIVE] * 3, [STALE, LIVE, LIVE], [LIVE, STALE, STALE]])
    by_signal = [[MODES[m] for m in s.mode] for s in fused.signals]
    assert by_signal == [["fused", "sensors_only", "ure_only"], ["fused", "fused", "none"]]
    assert [MODES[m] for m in fused.mode] == ["fused", "sensors_only", "none"]


def test_a_channel_in_two_signals_is_counted_once() -> None:
    fused = fuse(two_signals())
    assert [s.live[0] for s in fused.signals] == [2, 1]
    assert fused.live[0] == 2


def test_a_fact_does_not_count_as_a_live_channel() -> None:
    assert fuse(plan(ALL, facts=FACTS)).live[0] == 3


# -- value, weights, sd -------------------------------------------------------------------------


def test_the_initial_weights_are_the_prior_shared_equally_in_a_group() -> None:
    fused = fuse(plan(ALL), value=[1.0, 2.0, 4.0])
    assert weights(fused) == pytest.approx({URE: 0.7, A: 0.15, B: 0.15})
    assert fused.signals[0].value[0] == pytest.approx(0.7 * 1 + 0.15 * 2 + 0.15 * 4)


def test_present_members_share_the_weight_of_their_group() -> None:
    p = plan(ALL)
    assert weights(fuse(p, state=live(URE, A, p=p))) == pytest.approx({URE: 0.7, A: 0.3})
    assert weights(fuse(p, state=live(A, B, p=p))) == pytest.approx({A: 0.5, B: 0.5})


def test_a_group_of_weight_0_alone_gives_a_value() -> None:
    p = plan(ALL, weights=WeightsConfig(ure=1.0, sensors=0.0))
    assert weights(fuse(p))[URE] == pytest.approx(1.0)
    assert weights(fuse(p, state=live(A, B, p=p))) == pytest.approx({A: 0.5, B: 0.5})


def test_sd_is_the_root_of_the_sum_of_squared_weights_and_variances() -> None:
    fused = fuse(plan(ALL), noise_var=[0.01, 0.04, 0.09])
    expected = np.sqrt(0.7**2 * 0.01 + 0.15**2 * 0.04 + 0.15**2 * 0.09)
    assert fused.signals[0].sd[0] == pytest.approx(expected)


def test_an_unknown_variance_makes_an_unknown_sd() -> None:
    p = plan(ALL)
    assert np.isnan(fuse(p, noise_var=[0.01, NAN, 0.01]).signals[0].sd[0])
    gone = fuse(p, noise_var=[0.01, NAN, 0.01], state=live(URE, B, p=p))
    assert gone.signals[0].sd[0] == pytest.approx(np.sqrt(0.7**2 * 0.01 + 0.3**2 * 0.01))


def test_a_tick_without_coverage_has_no_value_and_keeps_its_mode() -> None:
    fused = fuse(plan(ALL), value=NAN, coverage=0.5)
    signal = fused.signals[0]
    assert np.isnan([signal.value[0], signal.sd[0]]).all()
    assert weights(fused) == {}
    assert MODES[fused.mode[0]] == "fused"
    assert fused.live[0] == 3


def test_a_member_without_a_value_leaves_its_weight_to_the_others() -> None:
    fused = fuse(plan(ALL), value=[NAN, 2.0, 4.0])
    assert weights(fused) == pytest.approx({A: 0.5, B: 0.5})
    assert fused.signals[0].value[0] == pytest.approx(3.0)
    assert MODES[fused.mode[0]] == "fused"


def test_a_ramp_is_the_share_of_its_weight_that_a_member_has() -> None:
    ramp = np.ones((5, 3))
    ramp[:, 0] = [0.0, 0.25, 0.5, 0.75, 1.0]
    fused = fuse(plan(ALL), 5, ramp=ramp)
    found = [weights(fused, k).get(URE, 0.0) for k in range(5)]
    assert found == pytest.approx((0.7 * ramp[:, 0] / (0.7 * ramp[:, 0] + 0.3)).tolist())


def test_a_weight_falls_smoothly_to_nothing_as_coverage_falls_from_099_to_09() -> None:
    coverage = np.ones((5, 3))
    coverage[:, 0] = [0.99, 0.9675, 0.945, 0.9225, 0.9]
    fused = fuse(plan(ALL), 5, coverage=coverage)
    found = [weights(fused, k)[URE] for k in range(5)]
    left = 0.7 * np.array([1.0, 0.84375, 0.5, 0.15625, 0.0])  # x^2 (3 - 2 x)
    assert found == pytest.approx((left / (left + 0.3)).tolist(), abs=1e-5)
    assert [MODES[m] for m in fused.mode] == ["fused"] * 5


def noisy(seconds: int, sd: tuple[float, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a movement (k,) and members (k, m) over their own noise."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(seconds * HZ)
    return truth, truth[:, None] + rng.standard_normal((len(truth), len(sd))) * sd


def test_final_weights_are_inverse_variances_and_the_sd_is_the_scatter() -> None:
    truth, value = noisy(1200, (0.2, 0.15, 0.3))
    signal = fuse(plan(ALL), 6000, value=value).signals[0]
    np.testing.assert_allclose(signal.weights.sum(axis=1), 1.0)
    settled = slice(1000, None)
    precision = 1 / np.square([0.2, 0.15, 0.3])
    inverse = precision / precision.sum()
    np.testing.assert_allclose(signal.weights[settled].mean(axis=0), inverse, atol=0.05)
    error = signal.value[settled] - truth[settled]
    assert np.mean(error**2) < 1.1 / precision.sum()
    assert 0.8 < np.mean(error**2 / signal.sd[settled] ** 2) < 1.3


def test_with_two_left_the_last_variances_hold_and_grow_10_percent_a_minute() -> None:
    p = plan(ALL)
    _, value = noisy(420, (0.2, 0.1, 0.4))
    state = np.full(value.shape, LIVE)
    state[1500:, 2] = STALE
    signal = fuse(p, 2100, value=value, state=state).signals[0]
    early, late = (signal.sd[1500 + HZ * s] for s in (20, 80))
    ratio = signal.weights[[1600, 1900], 0]
    assert ratio[1] == pytest.approx(ratio[0], abs=0.02)
    assert (late / early) ** 2 == pytest.approx(1.1, rel=0.05)


# -- indicators ---------------------------------------------------------------------------------

MEASURED = (0.1, 0.8, 0.6, 0.9, 0.2)
REPORTED = (-0.2, 0.4, 0.5, 0.3)  # phase, harmony, coherence, entropy, as in FACTS


def exported(
    reported: Any = REPORTED, measured: tuple[float, ...] = MEASURED, **given: Any
) -> dict[str, float]:
    """Return the exported indicators of one tick."""
    p = plan(ALL, facts=FACTS)
    value = np.append([1.0, 1.0, 1.0], reported)
    found = fuse(p, value=value, indicators=(Indicators(FIRST, *measured),), **given)
    return dict(zip(INDICATORS, found.indicators[0].tolist(), strict=True))


def test_reported_and_measured_indicators_are_blended_by_group() -> None:
    assert exported() == pytest.approx(
        {
            "phase_diff": 0.7 * 0.2 + 0.3 * 0.1,
            "coherence": 0.7 * 0.5 + 0.3 * 0.8,
            "harmony": 0.7 * 0.4 + 0.3 * 0.6,
            "sync_quality": 0.9,
            "entropy_ratio": 0.7 * 0.3 + 0.3 * 0.2,
        }
    )


def test_measured_indicators_without_reports_are_exported() -> None:
    assert exported(reported=(NAN,) * 4) == pytest.approx(
        dict(zip(INDICATORS, MEASURED, strict=True))
    )


def test_a_stale_report_is_no_report() -> None:
    state = [LIVE, LIVE, LIVE, STALE, LIVE, LIVE, LIVE]
    found = exported(state=state)
    assert found["phase_diff"] == pytest.approx(0.1)
    assert found["coherence"] == pytest.approx(0.7 * 0.5 + 0.3 * 0.8)


def test_reported_indicators_without_measurements_are_exported() -> None:
    found = exported(measured=(NAN,) * 5)
    assert np.isnan(found.pop("sync_quality"))
    assert found == pytest.approx(
        {"phase_diff": 0.2, "coherence": 0.5, "harmony": 0.4, "entropy_ratio": 0.3}
    )


def test_indicators_without_report_and_measurement_are_null() -> None:
    assert np.isnan(list(exported(reported=(NAN,) * 4, measured=(NAN,) * 5).values())).all()


def test_both_raw_parts_are_kept() -> None:
    p = plan(ALL, facts=FACTS)
    value = np.append([1.0, 1.0, 1.0], REPORTED)
    found = fuse(p, value=value, indicators=(Indicators(FIRST, *MEASURED),))
    assert found.measured[0] == pytest.approx(MEASURED)
    assert found.reported[0] == pytest.approx([0.2, 0.5, 0.4, NAN, 0.3], nan_ok=True)
    assert found.facts[0] == pytest.approx(REPORTED)


def test_a_measurement_holds_until_the_next_across_packets() -> None:
    p = plan(ALL)
    station = Fuse(p)
    found: list[float] = []
    for first, size, reports in (
        (0, 3, ((1, 0.5),)),
        (3, 2, ()),
        (5, 4, ((6, 0.6), (8, NAN))),
        (9, 1, ()),
    ):
        indicators = tuple(Indicators(FIRST + k, *(x,) * 5) for k, x in reports)
        sent = packet(grid(p, size, FIRST + first), indicators=indicators)
        fused = station.update(sent).fused
        assert fused is not None
        found += fused.indicators[:, 0].tolist()
    assert found == pytest.approx([NAN, 0.5, 0.5, 0.5, 0.5, 0.5, 0.6, 0.6, NAN, NAN], nan_ok=True)


def test_sparse_members_are_listed_at_each_tick_across_packets_and_snapshots() -> None:
    p = plan(ALL)
    station, found = Fuse(p), []
    alone = (True, *(False,) * (len(ALL) - 1))
    none = (False,) * len(ALL)
    for first, size, turns in (
        (0, 3, ((1, alone), (6, none))),
        (3, 2, ()),
        (5, 4, ((8, alone),)),
        (9, 1, ()),
    ):
        turned = tuple(Sparse(FIRST + k, members) for k, members in turns)
        fused = station.update(packet(grid(p, size, FIRST + first), sparse=turned)).fused
        assert fused is not None
        found += fused.sparse.tolist()
        station = Fuse.from_snapshot(station.snapshot(), p)
    assert [row[0] for row in found] == [False, *(True,) * 5, False, False, True, True]
    assert not any(any(row[1:]) for row in found)


# -- the station --------------------------------------------------------------------------------


def test_a_packet_without_ticks_gives_none() -> None:
    p = plan(ALL)
    assert Fuse(p).update(Packet("studio", START, False, np.empty(0))).fused is None


def test_ticks_keep_their_time_and_release() -> None:
    fused = fuse(plan(ALL), 3)
    assert fused.ts.tolist() == [START, START + 0.2, START + 0.4]
    assert fused.released.tolist() == pytest.approx((fused.ts + 2.1).tolist())


def test_the_sd_has_the_spread_of_members_before_their_comparison() -> None:
    p = plan([A, B])
    fused = fuse(p, value=np.array([1.0, 5.0]), noise_var=0.01).signals[0]
    assert np.isnan(fused.systematic_sd[0])
    # Half the way between them, and the noise of two that weigh the same.
    assert fused.sd[0] == pytest.approx(2.0, rel=0.01)
    alike = fuse(p, value=np.array([1.0, 1.1]), noise_var=0.01).signals[0]
    assert alike.sd[0] == pytest.approx(np.sqrt(0.01 / 2))
