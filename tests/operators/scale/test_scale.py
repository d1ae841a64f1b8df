"""Gain and level of members in other units, learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from operators.presence import ACQUIRING, LIVE, STALE
from operators.records import Grid, Packet
from operators.scale import Scale
from operators.settings.channels import ChannelConfig
from operators.settings.plan import Member, Plan, Signal
from operators.types import F64, SCALE_STATES
from tests.support.signals import plan

HZ = 5
A, B, C = "ure:pulse", "osc_1:/pulse", "osc_2:/pulse"
AUTO = ChannelConfig(gain="auto", offset="auto")
NOISE = 0.05


def movement(k: int, seed: int = 0) -> F64:
    """Return a signal of RMS 1 about 2."""
    at, rng = np.arange(k) / HZ, np.random.default_rng(seed)
    hz, phase = rng.uniform(0.05, 1.5, 20), rng.uniform(0, 7, 20)
    return 2 + np.sin(2 * np.pi * np.outer(at, hz) + phase).sum(axis=1) / np.sqrt(10)


def grid(p: Plan, *value: F64, noise_var: Any = NOISE**2, state: Any = None) -> Grid:
    table = np.stack(value, axis=1)
    whole = np.ones(table.shape)
    at = np.arange(len(table)) / HZ
    nan = whole * np.nan
    return Grid(
        first=0,
        due=at,
        released=at,
        state=np.full(table.shape, LIVE) if state is None else state,
        ramp=whole,
        lag_s=whole,
        lag_var=whole,
        confidence=whole,
        rate_hz=whole,
        gaps=whole,
        value=table,
        coverage=whole,
        noise_var=whole * noise_var,
        gain=nan,
        gain_var=nan,
        level=nan,
        level_var=nan,
        scale_state=np.zeros(table.shape, np.int8),
    )


def scaled(
    bent: Callable[[F64], F64] | None = None,
    seconds: int = 240,
    sd: float = NOISE,
    channel: ChannelConfig = AUTO,
    voters: int = 1,
    seed: int = 0,
    x: F64 | None = None,
    **given: Any,
) -> tuple[Grid, F64]:
    """Return the grid after the station, its last member learnt, and the signal itself."""
    x = movement(seconds * HZ, seed) if x is None else x
    rng = np.random.default_rng(seed + 1)
    names = (A, B, C)[: voters + 1]
    p = plan(names, channels={names[-1]: channel}, reference=A, tick_hz=float(HZ), **given)
    values = [x + sd * rng.standard_normal(len(x)) for _ in range(voters)]
    learnt = (x if bent is None else bent(x)) + sd * rng.standard_normal(len(x))
    noise_var = np.full(voters + 1, sd**2)
    g = grid(p, *values, learnt, noise_var=noise_var)
    out = Scale(p).update(Packet("studio", 0.0, False, np.empty(0), grid=g)).grid
    assert out is not None
    return out, x


def state(g: Grid, tick: int = -1) -> str:
    return SCALE_STATES[int(g.scale_state[tick, -1])]


def test_another_unit_is_learnt_and_its_values_are_converted() -> None:
    g, x = scaled(lambda x: 3 * x + 7)
    assert state(g) == "live"
    assert g.gain[-1, -1] == pytest.approx(3.0, abs=4 * np.sqrt(g.gain_var[-1, -1]))
    assert np.sqrt(g.gain_var[-1, -1]) < 0.02
    late = slice(60 * HZ, None)
    assert np.sqrt(np.mean((g.value[late, -1] - x[late]) ** 2)) < 1.2 * NOISE / 3 + 0.02
    assert g.noise_var[-1, -1] == pytest.approx(NOISE**2 / 9, rel=0.05)
    assert g.level[-1, -1] == pytest.approx(2 * 2 + 7, abs=0.3)
    assert (g.value[:, 0] != x).any()


@pytest.mark.parametrize("voters", [1, 2])
@pytest.mark.parametrize(("sd", "bar"), [(0.06, 0.008), (0.19, 0.025), (0.6, 0.09)])
def test_a_gain_is_known_after_forty_seconds(sd: float, bar: float, voters: int) -> None:
    errors, z = [], []
    for seed in range(30):
        g, _ = scaled(lambda x: 0.5 * x - 1, 41, sd / 2, voters=voters, seed=seed, x=None)
        at = 40 * HZ
        if state(g, at) == "live":
            errors.append(g.gain[at, -1] / 0.5 - 1)
            z.append((g.gain[at, -1] - 0.5) / np.sqrt(g.gain_var[at, -1]))
    assert len(errors) > 20
    assert np.sqrt(np.mean(np.square(errors))) < 1.3 * bar
    assert np.mean(np.square(z)) < 2.5


def test_a_member_without_a_gain_is_not_present() -> None:
    g, _ = scaled(lambda x: 3 * x)
    assert state(g, 0) == "learning"
    assert g.state[0, -1] == ACQUIRING
    assert g.state[0, 0] == LIVE
    assert (g.state[g.scale_state[:, -1] == SCALE_STATES.index("live"), -1] == LIVE).all()


def test_a_stale_member_stays_stale() -> None:
    x = movement(100)
    p = plan((A, B), channels={B: AUTO}, reference=A, tick_hz=float(HZ))
    g = grid(p, x, x, state=np.full((100, 2), STALE))
    out = Scale(p).update(Packet("studio", 0.0, False, np.empty(0), grid=g)).grid
    assert out is not None
    assert (out.state == STALE).all()


def test_a_member_that_rests_is_unobservable_after_a_minute() -> None:
    g, _ = scaled(lambda x: 0 * x + 5)
    assert state(g, 30 * HZ) == "learning"
    assert state(g) == "unobservable"
    assert g.state[-1, -1] == ACQUIRING


def test_a_member_that_moves_against_the_others_is_inverted() -> None:
    g, _ = scaled(lambda x: -2 * x)
    assert state(g) == "inverted"
    assert (g.state[60 * HZ :, -1] == ACQUIRING).all()


@pytest.mark.parametrize("bend", [lambda x: np.tanh(x - 2), lambda x: (x - 2) * np.abs(x - 2)])
def test_a_member_with_a_bent_line_is_nonlinear(bend: Callable[[F64], F64]) -> None:
    g, _ = scaled(bend)
    assert state(g) == "nonlinear"
    assert g.state[-1, -1] == ACQUIRING


def test_a_gain_near_one_is_no_unit_and_keeps_its_vote() -> None:
    g, x = scaled(lambda x: 1.04 * x + 0.05)
    assert state(g) == "given"
    assert g.state[-1, -1] == LIVE
    assert np.isnan(g.gain[-1, -1])
    assert g.value[-1, -1] == pytest.approx(1.04 * x[-1] + 0.05, abs=5 * NOISE)


def test_a_distant_level_is_another_unit_at_any_gain() -> None:
    g, x = scaled(lambda x: x + 273.15)
    assert state(g) == "live"
    assert g.value[-1, -1] == pytest.approx(x[-1], abs=5 * NOISE)


def test_an_offset_may_be_learnt_alone() -> None:
    g, x = scaled(lambda x: x + 30, channel=ChannelConfig(offset="auto"))
    assert state(g) == "live"
    assert g.gain[-1, -1] == 1.0
    assert g.value[-1, -1] == pytest.approx(x[-1], abs=5 * NOISE)


def test_a_gain_learnt_alone_leaves_the_offset_that_is_given() -> None:
    g, x = scaled(lambda x: 4 * (x - 1), channel=ChannelConfig(gain="auto", offset=1.0))
    assert state(g) == "live"
    assert g.value[-1, -1] == pytest.approx(x[-1], abs=0.2)


def test_a_gain_that_is_known_survives_a_calm_spell() -> None:
    x = movement(600 * HZ)
    x[200 * HZ :] = 2.0
    g, _ = scaled(lambda x: 3 * x, x=x)
    assert state(g) == "live"
    assert g.gain[-1, -1] == pytest.approx(3.0, rel=0.05)


def test_a_gain_is_learnt_against_the_scale_only_if_that_is_a_channel() -> None:
    x = movement(240 * HZ)
    p = plan((A, B, C), channels={C: AUTO}, reference=A, tick_hz=float(HZ), scale=B)
    rng = np.random.default_rng(1)
    e = NOISE * rng.standard_normal((3, len(x)))
    g = grid(p, x + e[0], 1.08 * x + e[1], 2 * x + e[2])
    out = Scale(p).update(Packet("studio", 0.0, False, np.empty(0), grid=g)).grid
    assert out is not None
    assert out.gain[-1, -1] == pytest.approx(2 / 1.08, rel=0.01)


def test_a_channel_of_two_signals_has_one_gain() -> None:
    x = movement(240 * HZ)
    rng = np.random.default_rng(1)
    p = plan((A, C), channels={C: AUTO}, reference=A, tick_hz=float(HZ))
    second = Signal("other", (Member("other", B, "sensors"), Member("other", C, "sensors")), B)
    p = replace(p, signals=(*p.signals, second))
    e = NOISE * rng.standard_normal((4, len(x)))
    learnt = 2 * x + e[1]
    g = grid(p, x + e[0], learnt, -x + e[2], learnt)
    out = Scale(p).update(Packet("studio", 0.0, False, np.empty(0), grid=g)).grid
    assert out is not None
    assert out.value[:, 1] == pytest.approx(out.value[:, 3])
    assert out.gain[-1, 3] == out.gain[-1, 1]


def test_a_packet_without_learnt_members_is_unchanged() -> None:
    p = plan((A, B), tick_hz=float(HZ))
    packet = Packet("studio", 0.0, False, np.empty(0), grid=grid(p, movement(9), movement(9)))
    assert Scale(p).update(packet) is packet
