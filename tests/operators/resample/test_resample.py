"""Resample: its ticks, their release, and the channels present at each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from operators.drift.packet_rate import Packets
from operators.presence import Presence
from operators.records import Block, Grid, LagReport, PaceReport, Packet
from operators.resample import Resample
from operators.settings.channels import ChannelConfig
from operators.settings.groups import FailoverConfig
from operators.settings.plan import Plan
from operators.types import F64, STATES
from tests.support.signals import START, block, feed, known, plan

ONE = known("osc_1:/pulse")
QUICK = FailoverConfig(rejoin_after_s=4.0)


def rows(channel: str, t: F64, value: F64 | None = None) -> Block:
    spacing = np.full(len(t), float(np.median(np.diff(t))) if len(t) > 8 else np.nan)
    spacing[:8] = np.nan
    return block(
        channel,
        START + t,
        np.ones(len(t)) if value is None else value,
        spacing=spacing,
        noise=np.full(len(t), 0.01),
    )


def packets(blocks: Iterable[Block], seconds: float, step_s: float = 1.0) -> list[Packet]:
    """Return rows in packets of `step_s`, known when they came; the last is the end."""
    blocks = list(blocks)
    first = min(float(b.host_time[0]) for b in blocks)
    newest = max(float(b.host_time[-1]) for b in blocks)
    out = []
    paces = {x.channel: Packets() for x in blocks}
    edges = START + np.arange(0.0, seconds + step_s, step_s)
    for a, b in itertools.pairwise(edges):
        part = [x.take((x.arrival >= a) & (x.arrival < b)) for x in blocks]
        part = [x for x in part if len(x)]
        arrivals = np.unique(np.concatenate([x.arrival for x in part] or [np.empty(0)]))
        if len(arrivals) or out:
            upto = float(arrivals[-1]) if len(arrivals) else out[-1].known
            found = tuple(
                PaceReport(x.channel, *pace)
                for x in part
                for pace in paces[x.channel].feed(x.arrival, x.host_time, x.watermark)[1]
            )
            out.append(
                Packet(
                    "studio",
                    upto,
                    False,
                    arrivals,
                    tuple(part),
                    first_host=first,
                    newest_host=newest,
                    paces=found,
                )
            )
    return [*out[:-1], replace(out[-1], end=True)]


def grid(p: Plan, items: list[Packet]) -> Grid:
    """Return the grids of all packets as one."""
    grids = [x.grid for x in feed(Resample(p, 5.0), items) if x.grid is not None]
    columns: dict[str, Any] = {
        n: np.concatenate([getattr(g, n) for g in grids])
        for n in Grid.__dataclass_fields__
        if n != "first"
    }
    return Grid(grids[0].first, **columns)


def ts(g: Grid) -> F64:
    return (g.first + np.arange(len(g))) / 5.0 - START


def states(g: Grid, column: int = 0) -> list[str]:
    return [STATES[i] for i in g.state[:, column]]


EVEN = np.arange(0.0, 40.0, 0.02) + 0.003


def test_ticks_run_from_the_first_event_to_the_newest() -> None:
    g = grid(plan((ONE,)), packets([rows(ONE.channel, EVEN[30:])], 40.0))
    assert ts(g)[0] == pytest.approx(0.8)
    assert ts(g)[-1] == pytest.approx(39.8)
    assert np.allclose(np.diff(ts(g)), 0.2)


def test_a_tick_is_released_by_the_first_arrival_after_its_delay() -> None:
    g = grid(plan((ONE,)), packets([rows(ONE.channel, EVEN)], 40.0))
    latency = g.released - START - ts(g)
    inside = ts(g) < 37.0
    assert (latency[inside] >= 2.1 - 1e-6).all()
    assert (latency[inside] <= 2.1 + 0.0201).all()


def test_a_late_channel_makes_every_tick_wait_and_an_early_one_none() -> None:
    both = [rows("osc_1:/pulse", EVEN), rows("osc_2:/pulse", EVEN)]
    p = plan((known("osc_1:/pulse", 0.7), known("osc_2:/pulse", -0.7)))
    g = grid(p, packets(both, 40.0))
    latency = (g.released - START - ts(g))[(ts(g) > 1) & (ts(g) < 36.0)]
    assert (latency >= 2.8 - 1e-6).all()
    assert (latency <= 2.8 + 0.0201).all()


def test_a_lag_beyond_the_waiting_limit_gets_no_value() -> None:
    both = [rows("osc_1:/pulse", EVEN), rows("osc_2:/pulse", EVEN)]
    p = plan(
        (known("osc_1:/pulse", 0.0), known("osc_2:/pulse", 0.7)),
        wait_lag_s=0.0,
        half_width_s=0.3,
        wait_s=0.005,
    )
    g = grid(p, packets(both, 40.0))
    mid = (ts(g) > 5) & (ts(g) < 30)
    assert (g.released - START - ts(g))[mid].max() <= 0.305 + 0.0201
    assert np.isfinite(g.value[mid, 0]).all()
    assert np.isnan(g.value[mid, 1]).all()


def test_releases_never_overtake_when_the_delay_shrinks() -> None:
    report = LagReport("pulse", "osc_2:/pulse", START + 20.0, 0.0, 1e-6, 0.0, 1.0, True, "")
    items = packets([rows("osc_1:/pulse", EVEN), rows("osc_2:/pulse", EVEN)], 40.0)
    late = report._replace(known=START + 5.0, lag_s=1.5)
    items[0] = replace(items[0], lags=(late, report))
    g = grid(plan((known("osc_1:/pulse"), "osc_2:/pulse")), items)
    assert (np.diff(g.released) >= 0).all()
    finite = np.isfinite(g.due)
    assert (np.diff(g.due[finite]) >= 0).all()
    assert (g.released >= START + ts(g) + 2.1 - 1e-6)[ts(g) < 37.0].all()


def test_a_channel_is_stale_at_the_first_tick_after_three_intervals() -> None:
    t = EVEN[(EVEN < 20.0) | (EVEN > 30.0)]
    other = rows("osc_2:/pulse", EVEN)
    p = plan((ONE, known("osc_2:/pulse")), failover=QUICK)
    g = grid(p, packets([rows(ONE.channel, t), other], 40.0))
    # Three intervals of 20 ms are less than a tick, the smallest limit.
    last = t[t < 20.0][-1]
    first = ts(g)[states(g).index("stale")]
    assert first == pytest.approx(np.ceil((last + 0.2) * 5) / 5)
    assert states(g)[:5] != ["stale"] * 5
    assert g.gaps[-1, 0] == 1
    assert g.gaps[-1, 1] == 0


def test_a_channel_is_lost_at_ten_times_the_age_and_returns_through_rejoining() -> None:
    t = EVEN[(EVEN < 20.0) | (EVEN > 30.0)]
    p = plan((ONE, known("osc_2:/pulse")), failover=QUICK)
    g = grid(p, packets([rows(ONE.channel, t), rows("osc_2:/pulse", EVEN)], 40.0))
    changes = [s for s, before in zip(states(g), ["", *states(g)], strict=False) if s != before]
    assert changes == ["live", "stale", "lost", "rejoining", "live"]
    back = ts(g)[len(states(g)) - states(g)[::-1].index("rejoining")]
    assert back == pytest.approx(30.2 + 4.0, abs=0.21)


def test_the_weight_of_a_channel_that_came_back_ramps_over_five_seconds() -> None:
    t = EVEN[(EVEN < 10.0) | (EVEN > 15.0)]
    p = plan((ONE, known("osc_2:/pulse")), failover=QUICK)
    g = grid(p, packets([rows(ONE.channel, t), rows("osc_2:/pulse", EVEN)], 40.0))
    live = (np.array(states(g)) == "live") & (ts(g) > 15)
    ramp = g.ramp[live, 0]
    assert ramp[0] <= 0.05
    assert (np.diff(ramp) >= 0).all()
    assert ts(g)[live][int(np.argmax(ramp >= 1))] - ts(g)[live][0] == pytest.approx(5.0, abs=0.3)


def test_staleness_is_decided_at_the_release_of_the_tick() -> None:
    both = [rows(ONE.channel, EVEN[EVEN < 20]), rows("osc_2:/pulse", EVEN)]
    g = grid(plan((ONE, known("osc_2:/pulse")), failover=QUICK), packets(both, 40.0))
    i = states(g).index("stale")
    assert g.released[i] - START - ts(g)[i] <= 2.1 + 0.0201


@pytest.mark.parametrize(
    ("given", "channel", "stale_s"),
    [
        ({"failover": FailoverConfig(stale_after_s=3.0)}, {}, 3.0),
        ({}, {ONE.channel: ChannelConfig(stale_after_s=1.4)}, 1.4),
        ({"stream_stale_s": {"osc_1": 6.0}}, {}, 6.0),
        ({"frozen_after_s": {"osc_1": 2.0}}, {}, None),
    ],
    ids=["for all", "on a channel", "scraped", "frozen"],
)
def test_the_configured_staleness_is_used(given: Any, channel: Any, stale_s: float | None) -> None:
    t = EVEN if stale_s is None else EVEN[EVEN < 20.0]
    value = np.where(t < 18.0, np.sin(t), 0.0)
    p = plan((ONE, known("osc_2:/pulse")), channels=channel, **given)
    g = grid(p, packets([rows(ONE.channel, t, value), rows("osc_2:/pulse", EVEN)], 40.0))
    at = ts(g)[states(g).index("stale")]
    expected = 18.0 + 2.0 if stale_s is None else 20.0 + stale_s
    assert expected - 0.02 <= at <= expected + 0.21


def test_a_held_channel_is_stale_only_by_its_own_setting() -> None:
    events = rows("midi_1:cc/1/1", np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    channels = {"midi_1:cc/1/1": ChannelConfig(kind="held")}
    p = plan((ONE, known("midi_1:cc/1/1")), channels=channels)
    g = grid(p, packets([rows(ONE.channel, EVEN), events], 40.0))
    assert set(states(g, 1)[20:]) == {"live"}
    assert g.value[-1, 1] == 4.0


@pytest.mark.parametrize("step_s", [0.5, 2.0, 40.0])
def test_a_held_channel_is_stale_while_its_stream_is_down(step_s: float) -> None:
    events = rows("midi_1:cc/1/1", np.array([1.0]), np.array([3.0]))
    channels = {"midi_1:cc/1/1": ChannelConfig(kind="held")}
    p = plan((ONE, known("midi_1:cc/1/1")), channels=channels, failover=QUICK)
    items, previous = [], START - 1.0
    for x in packets([rows(ONE.channel, EVEN), events], 40.0, step_s):
        turns = ((10.0, False), (20.0, True), (21.0, True), (30.0, False))
        turned = tuple(
            ("midi_1", START + t, up) for t, up in turns if previous < START + t <= x.watermark
        )
        items.append(replace(x, turned=turned))
        previous = x.watermark

    g = grid(p, items)
    at = ts(g)
    stale = np.array([state == "stale" for state in states(g, 1)])
    assert (stale == ((at >= 10.0) & (at < 20.0)) | (at >= 30.0)).all()
    assert "stale" not in set(states(g, 0))


def test_a_fact_is_null_before_its_first_event_and_held_after() -> None:
    fact = "ure:level"
    events = rows(fact, np.array([5.0]), np.array([0.9]))
    g = grid(plan((ONE,), facts=(fact,)), packets([rows(ONE.channel, EVEN), events], 40.0))
    before = ts(g) < 5.0
    assert np.isnan(g.value[before, 1]).all()
    assert (g.value[~before, 1] == 0.9).all()


def test_an_unlocked_channel_is_acquiring_and_has_no_value() -> None:
    g = grid(
        plan((ONE, "osc_2:/pulse")),
        packets([rows(ONE.channel, EVEN), rows("osc_2:/pulse", EVEN)], 40.0),
    )
    assert set(states(g, 1)) == {"acquiring"}
    assert np.isnan(g.value[:, 1]).all()


def test_a_tick_uses_estimates_dated_before_it() -> None:
    report = LagReport(
        "pulse", "osc_2:/pulse", START + 20.0, 0.3, 1e-6, 1e-9, 0.8, True, "", START + 20.0
    )
    items = packets([rows(ONE.channel, EVEN), rows("osc_2:/pulse", EVEN)], 40.0)
    items[0] = replace(items[0], lags=(report,))
    g = grid(plan((ONE, "osc_2:/pulse")), items)
    i = int(np.argmax(ts(g) >= 20.0 - 1e-6))
    assert np.isnan(g.lag_s[i - 1, 1])
    assert (g.lag_s[i, 1], g.confidence[i, 1]) == (0.3, 0.8)
    assert g.lag_var[-1, 1] == pytest.approx(1e-6 + 1e-9 * (ts(g)[-1] - 20.0))


def moving(rate: float, **given: float) -> Grid:
    """Return the ticks of a member whose lag of 0.3 s at 10 s rises, read from a straight line."""
    report = LagReport(
        "pulse",
        "osc_2:/pulse",
        START + 20.0,
        0.3,
        1e-6,
        1e-9,
        0.8,
        True,
        "",
        START + 10.0,
        rate,
        2e-9,
        1e-10,
        20.0,
    )._replace(**given)
    times = np.arange(0.0, 100.0, 0.05)
    line = replace(rows("osc_2:/pulse", times), value=times)
    items = packets([rows(ONE.channel, times), line], 100.0)
    items[0] = replace(items[0], lags=(report,))
    return grid(plan((ONE, "osc_2:/pulse")), items)


def test_a_moving_lag_changes_between_estimates_in_steps_of_a_tenth_of_a_millisecond() -> None:
    g = moving(150e-6)
    inside = (ts(g) >= 20.0) & (ts(g) < 95.0)
    at, lag = ts(g)[inside], g.lag_s[inside, 1]
    assert np.abs(lag - 0.3 - 150e-6 * (at - 10.0)).max() <= 0.5001e-4
    steps = np.diff(lag)[np.diff(lag) != 0]
    assert steps == pytest.approx(1e-4)
    # Read from a line through the origin, a value is the time at which it was read.
    assert np.abs(g.value[inside, 1] - at - lag).max() < 1e-3
    dt = at - 10.0
    assert g.lag_var[inside, 1] == pytest.approx(1e-6 + dt * (4e-9 + dt * 1e-10) + 1e-9 * dt)
    assert (g.lag_rate[inside, 1] == 150e-6).all() and (g.lag_rate_var[inside, 1] == 1e-10).all()
    assert (g.search_hz[inside, 1] == 20.0).all()


def test_a_moving_lag_is_limited_to_the_searched_range() -> None:
    g = moving(0.2)
    assert np.nanmax(g.lag_s[:, 1]) == 5.0


def test_a_lag_that_was_not_found_has_no_rate() -> None:
    g = moving(0.0, rate_var=0.0, cross_var=0.0, search_hz=np.nan)
    assert np.isnan(g.lag_rate).all() and np.isnan(g.lag_rate_var).all()
    assert np.isnan(g.search_hz).all()


def test_used_rows_are_written_with_their_lag_removed() -> None:
    p = plan((known(ONE.channel, 0.25),), aligned=True)
    out = feed(Resample(p, 5.0), packets([rows(ONE.channel, EVEN)], 40.0))
    aligned = [np.stack(columns) for x in out for _, *columns in x.aligned]
    host, source_time, _, value = np.concatenate(aligned, axis=1)
    assert len(host) == len(EVEN)
    assert np.allclose(np.sort(source_time - host), 0.25, atol=1e-6)
    assert (value == 1.0).all()


def test_presence_counts_silences_across_calls() -> None:
    age = np.array([0.0, 1.0, 0.0, 1.0, 1.0])
    whole, parts = Presence(), Presence()
    limit, locked = np.full(5, 0.5), np.ones(5, bool)
    together = whole.step(0, 5.0, age, limit, locked, 0.2)
    a = parts.step(0, 5.0, age[:4], limit[:4], locked[:4], 0.2)
    b = parts.step(4, 5.0, age[4:], limit[4:], locked[4:], 0.2)
    assert together[2].tolist() == [0, 1, 1, 2, 2]
    for x, y, z in zip(together, a, b, strict=True):
        assert x.tolist() == [*y.tolist(), *z.tolist()]
