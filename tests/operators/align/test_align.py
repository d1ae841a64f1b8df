"""Alignment: the reference, the hops, the filter that tracks a lag, and when a lag is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from msgspec.structs import replace

from operators.align import Align, AlignConfig
from operators.records import Block, LagReport, Packet
from operators.settings.channels import ChannelConfig
from operators.settings.plan import Plan
from operators.types import F64
from ops.bench.lock import BEGIN, fast
from tests.support.signals import START, block, known, movement, packet, plan

URE, A, B = "ure:pulse", "osc_1:/pulse", "osc_2:/pulse"
QUICK = AlignConfig(window_s=30.0, hop_s=5.0, max_lag_s=2.0)


def rows(
    channel: str,
    lag_s: float = 0.0,
    *,
    hz: float = 20.0,
    seconds: float = 60.0,
    noise: float = 0.03,
    silent: tuple[float, float] = (0.0, 0.0),
    seed: int = 0,
) -> Block:
    """Return a channel as it leaves `guard`: `lag_s` late, silent once (s after the start)."""
    t = np.arange(round(hz * seconds)) / hz + 0.003
    t = t[(t < silent[0]) | (t >= silent[1])]
    hiss = np.random.default_rng(list(channel.encode())).standard_normal(len(t))
    return block(channel, START + t, movement(seed)(t - lag_s) + noise * hiss)


def stream(*blocks: Block) -> Iterator[Packet]:
    """Yield a packet a second."""
    first = min(float(b.host_time[0]) for b in blocks)
    last = max(float(b.arrival[-1]) for b in blocks)
    edge = -np.inf
    for upto in np.append(np.arange(first, last), last):
        parts = [b.take((b.arrival > edge) & (b.arrival <= upto)) for b in blocks]
        yield packet(*(b for b in parts if len(b)), upto=upto, end=upto == last, first=first)
        edge = upto


def reports(p: Plan, *blocks: Block, config: AlignConfig = QUICK) -> dict[str, list[LagReport]]:
    """Return the lag reports by channel."""
    core = Align(p, config)
    out: dict[str, list[LagReport]] = {}
    for r in (r for x in stream(*blocks) for r in core.update(x).lags):
        out.setdefault(r.channel, []).append(r)
    return out


def reference(p: Plan, *blocks: Block) -> str:
    found = [c for c, rs in reports(p, *blocks).items() if any(r.note == "reference" for r in rs)]
    assert len(found) == 1
    return found[0]


# -- the reference --------------------------------------------------------------------------------


def test_a_quick_ure_member_is_the_reference() -> None:
    found = reference(plan((A, URE)), rows(A, noise=0.001), rows(URE, hz=8.0, noise=0.2))
    assert found == URE


def test_a_slow_ure_member_is_not_but_the_cleanest_member_is() -> None:
    p = plan((URE, A, B))
    found = reference(p, rows(URE, hz=4.0, noise=0.1), rows(A, noise=0.3), rows(B, noise=0.05))
    assert found == B


def test_a_named_reference_is_taken_and_has_no_lag() -> None:
    found = reports(plan((URE, A), reference=A), rows(URE), rows(A))
    assert [(r.lag_s, r.var, r.locked, r.known) for r in found[A]] == [(0.0, 0.0, True, -np.inf)]


@pytest.mark.parametrize("level", [0.0, 0.1, 1e6])
def test_a_constant_member_is_never_the_reference(level: float) -> None:
    still = replace(rows(URE), value=np.full(1200, level))
    assert reference(plan((URE, A)), still, rows(A)) == A


# -- lags -----------------------------------------------------------------------------------------


def test_lags_of_both_signs_are_found_at_each_hop() -> None:
    found = reports(plan((URE, A, B)), rows(URE), rows(A, 0.42), rows(B, -0.87))
    for channel, lag in ((A, 0.42), (B, -0.87)):
        # Found at once, confirmed half a window later.
        assert [r.confidence > 0 for r in found[channel]] == [True] * 16
        assert [r.locked for r in found[channel]] == [False] * 7 + [True] * 9
        assert found[channel][-1].lag_s == pytest.approx(lag, abs=0.005)
        sd = np.sqrt(found[channel][-1].var)
        assert abs(found[channel][-1].lag_s - lag) < 4 * sd < 0.02
    # Windows grow each second from 13 s, until the lag is found; hops are on the epoch.
    seconds = [14.6 + k for k in range(8)] + [25.6 + 5 * k for k in range(8)]
    assert [r.known - START for r in found[A]] == pytest.approx(seconds)


def test_the_best_rate_goes_on_and_is_named() -> None:
    found = reports(plan((URE, A)), rows(URE), rows(A, 0.42))[A]
    assert {r.search_hz for r in found if r.locked} == {10.0}
    assert all(np.isnan(r.search_hz) for r in found if not r.locked)
    fixed = reports(plan((URE, A)), rows(URE), rows(A, 0.42), config=replace(QUICK, search_hz=5.0))
    assert {r.search_hz for r in fixed[A] if r.locked} == {5.0}


@pytest.mark.parametrize("tick_hz", [1.0, 5.0, 50.0])
def test_the_search_does_not_depend_on_the_output_grid(tick_hz: float) -> None:
    p = plan((URE, A), tick_hz=tick_hz)
    found = reports(p, rows(URE, hz=64.0), rows(A, 0.42, hz=60.0))[A]
    # On a grid of its own: of 1 Hz, nothing of this could be found.
    assert found[7].locked and found[-1].search_hz >= 10.0
    assert found[-1].lag_s == pytest.approx(0.42, abs=0.005)


def test_a_fast_movement_is_found_at_a_rate_that_holds_it() -> None:
    (at, one), (late, other) = fast(lag_s=-3.4, seconds=30.0)
    blocks = (block(URE, at - BEGIN + START, one), block(A, late - BEGIN + START, other))
    config = AlignConfig(max_lag_s=5.0, window_s=15.0, hop_s=2.0)
    found = reports(plan((URE, A)), *blocks, config=config)[A]
    locked = next(r for r in found if r.locked)
    assert locked.known - START < 22.7
    assert locked.search_hz >= 20.0
    assert locked.lag_s == pytest.approx(-3.4, abs=0.005)


def test_a_member_that_comes_later_is_searched_each_second_from_then_on() -> None:
    later = rows(A, 0.42, seconds=100.0, silent=(0.0, 52.0))
    found = reports(plan((URE, A)), rows(URE, seconds=100.0), later)[A]
    locked = next(r.known - START for r in found if r.locked)
    # Its first rows may wait for a hop.
    assert 52 + 20 < locked < 52 + 20 + 0.6 + QUICK.hop_s


def test_after_the_lock_one_rate_of_two_channels_is_kept() -> None:
    core = Align(plan((URE, A)), QUICK)
    sizes = []
    for x in stream(rows(URE, hz=100.0), rows(A, 0.42, hz=100.0)):
        core.update(x)
        sizes.append(sum(r["series"].size for r in core.snapshot()["tracker"]["rungs"]))
    # Two channels at 5, 10, 20 and 40 Hz while nothing is known: 75 ticks a second.
    assert max(sizes) == 2 * 75 * 19
    kept = [r["series"].shape[1] for r in core.snapshot()["tracker"]["rungs"]]
    assert sum(n > 0 for n in kept) == 1


def test_a_lag_that_rises_without_stamps_is_followed_with_its_rate() -> None:
    slope = replace(rows(A, seconds=300.0), stamped=np.zeros(6000, bool))
    t = slope.host_time - START
    rising = replace(
        slope,
        host_time=slope.host_time + 80e-6 * t + 0.3,
        arrival=slope.arrival + 80e-6 * t + 0.3,
        watermark=slope.watermark + 80e-6 * t + 0.3,
    )
    other = replace(rows(URE, seconds=300.0), stamped=np.zeros(6000, bool))
    last = reports(plan((URE, A)), other, rising)[A][-1]
    assert last.rate == pytest.approx(80e-6, abs=4 * np.sqrt(last.rate_var))
    assert np.sqrt(last.rate_var) < 10e-6
    true = 0.3 + 80e-6 * (last.at - START)
    assert abs(last.lag_s - true) < 4 * np.sqrt(last.var) < 5e-3


def test_an_estimate_is_dated_by_the_tick_that_waits_for_its_data() -> None:
    quick = plan((URE, A), half_width_s=0.3)
    found = reports(quick, rows(URE), rows(A, 0.42))
    assert found[A][0].known - START == pytest.approx(14 + 2.175 - 0.3, abs=1e-6)


def test_a_given_lag_is_not_searched() -> None:
    found = reports(plan((URE, known(A, 0.1), B)), rows(URE), rows(A, 0.42), rows(B, 0.3))
    assert A not in found
    assert found[B][-1].lag_s == pytest.approx(0.3, abs=0.005)


def test_the_references_given_lag_is_added_to_the_lags_found_against_it() -> None:
    p = plan((known(A, 0.25), B, URE), reference=A)
    found = reports(p, rows(A, 0.25), rows(B, -0.5), rows(URE))
    assert found[A][0].lag_s == 0.25
    assert found[B][-1].lag_s == pytest.approx(-0.5, abs=0.005)


@pytest.mark.parametrize("named", [URE, "auto"])
def test_one_member_is_searched_beside_a_given_one(named: str) -> None:
    p = plan((known(URE, 0.1), A), reference=named)
    found = reports(p, rows(URE, 0.1), rows(A, 0.42))
    assert found[A][-1].lag_s == pytest.approx(0.42, abs=0.005)


@pytest.mark.parametrize("named", [A, "auto"])
def test_a_lone_member_is_its_own_reference_at_once(named: str) -> None:
    found = reports(plan((A,), reference=named), rows(A))
    assert [(r.lag_s, r.locked, r.known) for r in found[A]] == [(0.0, True, -np.inf)]


def test_nothing_is_searched_where_all_but_the_reference_are_given() -> None:
    found = reports(plan((known(URE, 0.1), A), reference=A), rows(URE, 0.1), rows(A))
    assert [(c, r.note) for c, rs in found.items() for r in rs] == [(A, "reference")]


def test_independent_members_never_lock() -> None:
    found = reports(plan((URE, A), reference=URE), rows(URE), rows(A, seed=9))
    assert found[A] and not any(r.locked for r in found[A])
    assert all(np.isnan(r.lag_s) and r.confidence == 0 for r in found[A])


def test_a_hop_with_too_little_data_keeps_the_lag_and_is_less_sure() -> None:
    found = reports(plan((URE, A)), rows(URE, seconds=90.0), rows(A, 0.42, silent=(30.0, 99.0)))
    empty = [r for r in found[A] if r.note == "too little data"]
    assert len(empty) >= 3
    # The line continues with rising variance.
    assert len({r.rate for r in empty}) == 1
    assert [r.lag_s for r in empty] == pytest.approx(
        [empty[0].lag_s + empty[0].rate * (r.at - empty[0].at) for r in empty]
    )
    assert empty[0].lag_s == pytest.approx(0.42, abs=0.01)
    assert all(r.locked and np.isnan(r.confidence) for r in empty)
    assert (np.diff([r.var for r in empty]) >= 1e-10 * QUICK.hop_s).all()


@pytest.mark.parametrize(
    ("made", "note"),
    [
        (lambda x: -x, "anti-correlated"),
        (lambda x: 0 * x + 3.0, "constant"),
        (lambda x: np.sin(np.arange(len(x)) / 7), "weak"),
        (lambda x: np.linspace(0, 5, len(x)), "weak"),
    ],
    ids=["inverted", "constant", "something else", "a mere slope"],
)
def test_a_channel_without_a_lag_is_named_and_never_used(
    made: Callable[[F64], F64], note: str
) -> None:
    still = rows(A, noise=0.0)
    found = reports(
        plan((URE, A), reference=URE), rows(URE), replace(still, value=made(still.value))
    )
    assert {r.note for r in found[A]} <= {note, "too little data"}
    assert not any(r.locked for r in found[A])
    unknown = note == "constant"
    assert all(np.isnan(r.confidence) if unknown else r.confidence == 0 for r in found[A])


def test_a_periodic_signal_is_ambiguous_in_both_channels() -> None:
    beat = lambda t: np.sin(2 * np.pi * 0.7 * t)  # noqa: E731
    one, other = rows(URE), rows(A)
    t = one.host_time - START
    found = reports(
        plan((URE, A), reference=URE),
        replace(one, value=beat(t)),
        replace(other, value=beat(t - 0.4)),
    )
    assert not any(r.locked for r in found[A])
    assert {r.note for r in found[A]} <= {"ambiguous", "weak"}


def test_a_channel_that_drifts_besides_has_its_lag_all_the_same() -> None:
    slow = rows(A, 0.42)
    slow = replace(slow, value=slow.value + 0.5 * (slow.host_time - START))
    found = reports(plan((URE, A)), rows(URE), slow)
    assert found[A][-1].lag_s == pytest.approx(0.42, abs=0.005)


def test_a_lone_member_is_never_searched() -> None:
    core = Align(plan((A,)), QUICK)
    assert not [r for x in stream(rows(A)) for r in core.update(x).lags if r.note != "reference"]


def test_a_reference_without_events_leaves_the_others_without_a_lag() -> None:
    found = reports(plan((URE, A, B), reference=URE), rows(A), rows(B, 0.3))
    for channel in (A, B):
        assert {r.note for r in found[channel]} == {"too little data"}
        assert not any(r.locked for r in found[channel])


def test_no_rows_at_all_are_no_reference() -> None:
    core = Align(plan((A, B)), QUICK)
    nothing = replace(packet(rows(A).take(slice(0, 1))), blocks=(), first_host=float("nan"))
    assert core.update(nothing).lags == ()


def test_a_silence_of_a_year_takes_no_more_hops_than_a_window_has() -> None:
    year = 3.2e7
    before, after = (rows(c, g, seconds=40.0) for c, g in ((URE, 0.0), (A, 0.42))), 40.0 + year
    first = list(before)
    later = [
        replace(
            b,
            host_time=b.host_time + after,
            arrival=b.arrival + after,
            watermark=b.watermark + after,
        )
        for b in first
    ]
    core = Align(plan((URE, A)), QUICK)
    out = [core.update(packet(*first, end=False)), core.update(packet(*later, first=START + 0.003))]
    found = [r for x in out for r in x.lags if r.channel == A]
    assert len(found) < 40
    assert found[-1].locked
    # The walk of a year, and a rate that is not quite known, are in the report after it.
    gap = max(range(1, len(found)), key=lambda i: found[i].known - found[i - 1].known)
    assert found[gap].var - found[gap - 1].var > 1e-10 * year
    assert found[-1].lag_s == pytest.approx(0.42, abs=0.01)


def test_a_lag_that_jumps_is_followed() -> None:
    before, after = rows(A, 0.2, seconds=50.0), rows(A, 0.9, seconds=110.0)
    found = reports(
        plan((URE, A)),
        rows(URE, seconds=110.0),
        Block.join((before, after.take(after.host_time > before.host_time[-1]))),
    )
    at = {round(r.known - START): r.lag_s for r in found[A]}
    assert at[46] == pytest.approx(0.2, abs=0.005)
    assert at[106] == pytest.approx(0.9, abs=0.01)


# -- pace -----------------------------------------------------------------------------------------


def paced(*blocks: Block, held: bool = False) -> Block:
    channels = {A: ChannelConfig(kind="held" if held else "sampled")}
    core = Align(plan((A,), channels=channels), QUICK)
    return Block.join(b for b in core.update(packet(*blocks)).blocks)


def test_rows_get_their_channels_pace() -> None:
    out = paced(rows(A, noise=0.2))
    assert np.isnan(out.spacing[:8]).all()
    assert out.spacing[-1] == pytest.approx(0.05)
    assert out.noise[-1] == pytest.approx(0.04, rel=0.5)


def test_a_held_channel_has_no_pace() -> None:
    out = paced(rows(A), held=True)
    assert np.isnan(out.spacing).all() and np.isnan(out.noise).all()


def test_a_straggler_has_the_pace_of_its_moment_and_changes_none() -> None:
    data = rows(A)
    astray = np.arange(len(data)) == 500
    before = np.where(astray, data.watermark[700], data.watermark)
    out = paced(replace(data, straggler=astray, watermark=before))
    alone = paced(data.take(~astray))
    assert np.array_equal(out.spacing[~astray], alone.spacing, equal_nan=True)
    assert out.spacing[astray] == pytest.approx(0.05)
