"""One tick in plain numbers has the bits of the arrays: presence, lag, reading."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from operators.presence import Presence
from operators.records import Block, Grid, LagReport, PaceReport, Packet
from operators.resample import Resample, resample
from operators.resample.sampler import Sampler
from operators.settings.channels import ChannelConfig
from operators.settings.groups import FailoverConfig
from operators.settings.plan import Member, Plan
from tests.support.signals import START, block, feed, known, plan

HZ = 5.0
FIRST = round(START * HZ)
SEED = st.integers(0, 2**32 - 1)


def samples(rng: np.random.Generator, rate_hz: float, seconds: float = 12.0) -> Block:
    """Return rows with jitter, holes, stragglers, and spacings that are unknown at first."""
    t = np.cumsum(rng.gamma(rng.choice([1.0, 50.0]), size=int(rate_hz * seconds)))
    t *= seconds / t[-1]
    t = t[rng.random(len(t)) >= rng.choice([0.0, 0.05])]
    if rng.random() < 0.3:
        t = t[(t < 5.0) | (t > 5.0 + 3.0 * rng.random())]
    ready = t + rng.choice([0.0, 0.02, 0.3]) * rng.random(len(t))
    if rng.random() < 0.6:
        ready = np.maximum.accumulate(ready)
    spacing = np.full(len(t), 1 / rate_hz) * (1 + 0.1 * rng.random(len(t)).round())
    spacing[: int(rng.integers(0, 9))] = np.nan
    rows = block("osc_1:/pulse", START + t, rng.standard_normal(len(t)), spacing=spacing)
    return replace(rows, watermark=START + ready, noise=rng.random(len(t)))


@settings(max_examples=150, deadline=None)
@given(SEED, st.sampled_from([0.4, 2.0, 6.0, 11.0, 40.0]), st.booleans(), st.booleans())
def test_a_reading_of_one_tick_is_that_of_the_array(
    seed: int, rate_hz: float, eager: bool, held: bool
) -> None:
    rng = np.random.default_rng(seed)
    half, decide = (0.3, 0.0) if eager else (2.0, 0.5)
    sampler = Sampler(HZ, half, held, eager=eager, decide_s=decide, spare_s=0.05)
    sampler.push(samples(rng, rate_hz), FIRST)
    for tick in range(FIRST - 5, FIRST + 70, 3):
        lag_s = float(rng.choice([0.0, 0.3 * rng.standard_normal()]))
        due = tick / HZ + half + rng.choice([0.05, 0.2, 1.0, np.inf])
        whole = sampler.read(np.array([tick]), lag_s, np.array([due]))
        plain = sampler.read_at(tick, lag_s, float(due))
        assert np.array(plain).tobytes() == np.concatenate(whole).tobytes()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 2.0, 12.0, np.inf]), st.booleans())))
def test_the_presence_of_one_tick_is_that_of_the_array(course: list[tuple[float, bool]]) -> None:
    arrays, plain = Presence(), Presence()
    for k, (age, locked) in enumerate(course):
        state, ramp, gaps = arrays.step(
            k, HZ, np.array([age]), np.array([1.0]), np.array([locked]), 0.7
        )
        assert plain.step_at(k, HZ, age, 1.0, locked, 0.7) == (state[0], ramp[0], gaps[0])
        assert plain == arrays


def reports(rng: np.random.Generator, channel: str) -> list[LagReport]:
    """Return reports of a lag that is searched, found, moving, and again in doubt."""
    nothing = LagReport("pulse", channel, START + 1.0, *[np.nan] * 3, 0.0, False, "weak", np.nan)
    found = LagReport("pulse", channel, START + 3.0, 0.2, 1e-6, 1e-9, 0.8, True, "", START + 1.0)
    moving = found._replace(
        known=START + 6.0, rate=2e-4 * rng.standard_normal(), rate_var=1e-10, cross_var=1e-9
    )
    doubted = moving._replace(known=START + 6.0 + 3 * rng.random(), doubt=1e-4, search_hz=20.0)
    return [nothing, found, moving, doubted]


def recording(rng: np.random.Generator, members: tuple[Member | str, ...]) -> list[Packet]:
    """Return packets with rows, rejected rows, paces, lags, and streams that go down."""
    names = [m if isinstance(m, str) else m.channel for m in members]
    blocks = [
        replace(samples(rng, r), channel=n) for r, n in zip((20, 9, 3, 2), names, strict=True)
    ]
    lags = [r for n in names[2:3] for r in reports(rng, n)]
    out: list[Packet] = []
    edge = START
    while edge < START + 12.0:
        a, edge = edge, edge + float(rng.choice([0.05, 0.2, 0.7]))
        part = [b.take((b.watermark >= a) & (b.watermark < edge)) for b in blocks]
        turned = (
            ((names[3].split(":")[0], edge, bool(rng.integers(2))),) if rng.random() < 0.2 else ()
        )
        out.append(
            Packet(
                "studio",
                edge,
                edge >= START + 12.0,
                np.array([edge - 0.01, edge]),
                tuple(b for b in part if len(b)),
                outliers=tuple(b.take(slice(0, 1)) for b in part[:1] if rng.random() < 0.3),
                turned=turned,
                paces=(PaceReport(names[0], edge, 20.0, 0.4, 0.1 * rng.random()),),
                lags=tuple(r for r in lags if a <= r.known < edge),
                first_host=START,
                newest_host=edge,
            )
        )
    return out


def grids(items: list[Packet], p: Plan, few: int) -> list[Grid | None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resample, "MAX_FEW_TICKS", few)
        return [x.grid for x in feed(Resample(p, 5.0), items)]


@settings(max_examples=60, deadline=None)
@given(SEED, st.booleans(), st.booleans())
def test_the_ticks_of_a_packet_in_plain_numbers_are_those_of_the_array(
    seed: int, eager: bool, frozen: bool
) -> None:
    rng = np.random.default_rng(seed)
    members = (known("ure:pulse", 0.1), known("osc_1:/pulse", -0.2), "osc_2:/pulse")
    items = recording(rng, (*members, "midi_1:cc/1/1"))
    p = plan(
        members,
        facts=("midi_1:cc/1/1",),
        channels={"midi_1:cc/1/1": ChannelConfig(kind="held", stale_after_s=2.0)},
        failover=FailoverConfig(rejoin_after_s=1.0),
        frozen_after_s={"ure": 0.1} if frozen else None,
        eager=eager,
        half_width_s=0.3 if eager else 2.0,
    )
    arrays, plain = grids(items, p, 0), grids(items, p, 1000)
    assert sum(len(g) for g in arrays if g is not None) > 50
    for one, other in zip(arrays, plain, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            for name in Grid.__dataclass_fields__:
                assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True)
