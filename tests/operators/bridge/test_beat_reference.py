"""Rows of a reference: pulses, stamps, rates, counters, and a fused signal."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.bridge.bridge_config import ReferenceConfig
from operators.bridge.gains_in_force import Gains
from operators.bridge.observer import Observer
from operators.bridge.pulse_train import PulseTrain
from operators.bridge.reference import (
    Beat,
    BeatRow,
    CountRate,
    Reference,
    Rises,
    rows_of,
)
from operators.records import Block
from operators.snapshot import decode_state, encode_state

GAINS = Gains(0.35, 0.08, 0.1)
START = 1_760_000_000.0
CLOCK, TRANSPORT = "midi_1:clock", "midi_1:transport"
STAMP, RATE = "ure:last_tick", "ure:rate_hz"
MIDI = ReferenceConfig(beat=CLOCK, per_tick=6)
STAMPED = ReferenceConfig(stamp=STAMP, rate=RATE)


def row(t: float, channel: str, value: float = 1.0, clock_s: float = 0.0) -> BeatRow:
    """Return a row that arrives as it is stamped; `clock_s`: host's clock minus the source's."""
    return BeatRow(t, t, 0, channel, value, t, t - clock_s)


class Fed:
    """A reference, its observer, and its beats."""

    def __init__(self, config: ReferenceConfig) -> None:
        self.config = config
        self.reference = Reference(config)
        self.observer = self.reference.observer()
        self.beats: list[Beat] = []

    def row(self, *args: float | str, clock_s: float = 0.0) -> list[Beat]:
        found = self.reference.row(row(*args, clock_s=clock_s), self.observer, GAINS)  # type: ignore[arg-type]
        self.beats += found
        return found

    def store(self) -> None:
        """Store and read both."""
        state = {"r": self.reference.snapshot(), "o": self.observer.snapshot()}
        state = decode_state(encode_state(state, "b", ""), "b", "")
        self.reference = Reference.from_snapshot(state["r"], self.config)
        self.observer = Observer.from_snapshot(state["o"])


def ticks(fed: Fed, t: float) -> float:
    """Return the reference's phase at t (ticks)."""
    return fed.observer.phase_at(t) / fed.reference.per_tick


def wrapped(x: float) -> float:
    return x - round(x)


@pytest.mark.parametrize(
    ("per_tick", "group", "per_beat"),
    [(6, 6, 1.0), (24, 6, 4.0), (12, 6, 2.0), (8, 4, 2.0), (7, 1, 7.0), (1, 1, 1.0), (1.5, 1, 1.5)],
)
def test_pulses_are_grouped(per_tick: float, group: int, per_beat: float) -> None:
    reference = Reference(ReferenceConfig(beat=CLOCK, per_tick=per_tick))
    assert (reference.group, reference.per_tick) == (group, per_beat)


def test_beats_of_other_channels_are_not_grouped() -> None:
    assert Reference(ReferenceConfig(beat="pad:hit", per_tick=6)).group == 1
    assert Reference(None).group == 1


def test_each_event_is_a_beat_whatever_its_value() -> None:
    fed = Fed(ReferenceConfig(beat="pad:hit"))
    for k, value in enumerate([0.0, -1.0, math.nan, 127.0, 1e300] * 4):
        assert [b.use for b in fed.row(START + 0.5 * k, "pad:hit", value)] == ["used"]
    assert fed.observer.rate_hz == pytest.approx(2.0, rel=1e-6)
    assert fed.row(START + 11, "pad:other") == []


def test_a_lost_pulse_shifts_nothing() -> None:
    rng = random.Random(1)
    fed = Fed(MIDI)
    for k in range(6000):
        if k % 500 != 250:
            fed.row(START + k / 30 + rng.gauss(0, 0.001), CLOCK)
    assert fed.observer.locks == 1
    assert wrapped(ticks(fed, START + 200.0)) == pytest.approx(0, abs=0.01)


def test_a_lock_to_come_uses_one_offset_of_its_clock() -> None:
    fed = Fed(ReferenceConfig(beat="pad:hit"))
    for k, late_s in enumerate([0.022, 0.015, 0.003, 0.003, 0.003]):
        t = START + 0.2 * k
        fed.store()
        hit = BeatRow(t + late_s, t + late_s, 0, "pad:hit", 1.0, t + late_s, t)
        fed.beats += fed.reference.row(hit, fed.observer, GAINS)
    assert fed.observer.rate_hz == pytest.approx(5.0, rel=1e-5)
    assert fed.observer.phase_at(START + 1.003) == pytest.approx(5.0, abs=1e-4)


def test_a_reset_clock_moves_no_beat() -> None:
    fed = Fed(ReferenceConfig(beat="pad:hit"))
    for k in range(5):
        fed.row(START + 0.2 * k, "pad:hit", clock_s=0.0 if k < 3 else 7.0)
    assert fed.observer.rate_hz == pytest.approx(5.0, rel=1e-5)


@pytest.mark.parametrize(("loss", "jitter_s", "least"), [(0.05, 0.001, 20), (0.05, 0.005, 16)])
def test_lost_and_shaken_pulses_leave_the_tick_where_start_put_it(loss, jitter_s, least) -> None:
    right = 0
    for seed in range(20):
        rng = random.Random(seed)
        fed = Fed(MIDI)
        fed.row(START - 0.02, TRANSPORT, 1.0)
        for k in range(900):
            late = rng.gauss(0, jitter_s)
            if k == 0 or rng.random() >= loss:
                fed.row(START + k / 30 + late, CLOCK)
        right += abs(wrapped(ticks(fed, START + 29.0))) < 1 / 12
    assert right >= least


@pytest.mark.parametrize("rates", [(5.0, 7.0), (7.0, 5.0), (5.0, 5.25)])
def test_another_tempo_leaves_the_tick_at_its_pulse(rates: tuple[float, float]) -> None:
    for seed in range(10):
        rng, fed, t = random.Random(seed), Fed(MIDI), START
        for k in range(1200):
            fed.row(t + rng.gauss(0, 0.001), CLOCK)
            t += 1 / (6 * rates[k >= 600])
        assert wrapped(ticks(fed, t)) == pytest.approx(0, abs=1 / 12)


def test_pulses_that_are_lost_are_counted_and_a_late_one_is_taken_back() -> None:
    train = PulseTrain()
    times = [k / 30 for k in range(60)]
    lost = [train.lost(t) for k, t in enumerate(times) if k not in (30, 31, 45)]
    assert [(k, n) for k, n in enumerate(lost) if n] == [(30, 2), (43, 1)]
    late = PulseTrain()
    times[30] += 0.65 / 30
    found = [late.lost(t) for t in times]
    assert [(k, n) for k, n in enumerate(found) if n] == [(30, 1), (33, -1)]
    assert late.counts[-1] - late.counts[0] == 23


def test_a_slower_clock_is_no_lost_pulses() -> None:
    train = PulseTrain()
    times = [k / 30 for k in range(40)] + [39 / 30 + k / 10 for k in range(1, 40)]
    assert [k for k, t in enumerate(times) if train.lost(t)] == [40, 41]


def test_a_start_makes_the_next_pulse_a_whole_tick() -> None:
    fed = Fed(MIDI)
    for k in range(600):
        fed.row(START + k / 30, CLOCK)
    at = START + 600 / 30
    assert wrapped(ticks(fed, at + 4 / 30)) == pytest.approx(4 / 6 - 1, abs=0.01)
    for k in range(604):
        if k == 4:
            fed.row(at + 4 / 30 - 0.001, TRANSPORT, 1.0)
            fed.store()
        fed.row(at + k / 30, CLOCK)
    assert wrapped(ticks(fed, at + 4 / 30)) == pytest.approx(0, abs=0.01)
    locks = fed.observer.locks
    for value in (0.0, 2.0, math.nan):
        fed.row(at + 22, TRANSPORT, value)
    fed.row(at + 22.01, CLOCK)
    assert fed.observer.locks == locks


def test_a_start_before_the_first_lock_numbers_its_pulse() -> None:
    fed = Fed(ReferenceConfig(beat=CLOCK, per_tick=24))
    for k in range(6 * 3 + 2):
        fed.row(START + k / 48, CLOCK)
    at = START + 20 / 48
    fed.row(at - 0.001, TRANSPORT, 1.0)
    for k in range(480):
        fed.row(at + k / 48, CLOCK)
    assert wrapped(ticks(fed, at)) == pytest.approx(0, abs=0.01)


def test_a_beat_ahead_of_all_arrivals_is_an_outlier() -> None:
    fed = Fed(ReferenceConfig(beat="pad:hit"))
    for k in range(100):
        fed.row(START + 0.2 * k, "pad:hit")
    line = fed.observer.line
    for ahead in (5.0, 3600.0, 1e9, math.inf, math.nan):
        t = START + 20
        wild = BeatRow(t, t + ahead, 0, "pad:hit", 1.0, t, t)
        assert [b.use for b in fed.reference.row(wild, fed.observer, GAINS)] == ["outlier"]
    assert fed.observer.line == line
    # After a silence the row is newer than the newest arrival before it.
    late = BeatRow(START + 20, START + 600, 0, "pad:hit", 1.0, START + 600.01, START + 600)
    assert [b.use for b in fed.reference.row(late, fed.observer, GAINS)] == ["used"]


def look(fed: Fed, t: float, hz: float, rate_hz: float | None = None, clock_s: float = 0.0) -> None:
    """Look at a reference of even beats, and at its rate."""
    newest = START + math.floor((t - START) * hz) / hz
    fed.row(t, RATE, hz if rate_hz is None else rate_hz)
    fed.row(t, STAMP, newest - clock_s, clock_s=clock_s)


@pytest.mark.parametrize("clock_s", [0.0, 7200.0])
def test_stamps_give_rate_and_phase(clock_s: float) -> None:
    fed = Fed(STAMPED)
    for k in range(1, 100):
        look(fed, START + 2.0 * k + 0.07, 5.03, 5.0, clock_s)
    assert fed.observer.rate_hz == pytest.approx(5.03, rel=1e-3)
    assert wrapped(ticks(fed, START + 100 / 5.03)) == pytest.approx(0, abs=0.02)
    assert not fed.observer.hold_over(START + 203.5)
    assert fed.observer.hold_over(START + 210)


def test_a_stamp_that_stays_is_no_beat() -> None:
    fed = Fed(STAMPED)
    look(fed, START + 1, 5.0)
    look(fed, START + 3, 5.0)
    n = len(fed.beats)
    for k in range(20):
        fed.row(START + 4 + k, STAMP, START + 3)
    assert len(fed.beats) == n


def test_two_rates_that_are_off_begin_anew() -> None:
    fed = Fed(STAMPED)
    for k in range(1, 30):
        look(fed, START + 2.0 * k, 5.0)
    look(fed, START + 60, 7.0, 5.0)
    assert fed.observer.rate_hz == pytest.approx(5.0, rel=0.1)
    for k in range(31, 40):
        look(fed, START + 2.0 * k + 0.01, 7.0)
    assert fed.observer.rate_hz == pytest.approx(7.0, rel=0.01)
    assert fed.observer.locks == 2


@pytest.mark.parametrize("stamp", [START + 3600, START - 3600, 0.0, 1e300, math.nan, -math.inf])
def test_stamps_of_another_epoch_are_outliers(stamp: float) -> None:
    fed = Fed(STAMPED)
    for k in range(1, 30):
        look(fed, START + 2.0 * k, 5.0)
    line = fed.observer.line
    assert [b.use for b in fed.row(START + 60, STAMP, stamp)] == ["outlier"]
    assert fed.observer.line == line


def test_stamps_without_a_rate_do_not_lock() -> None:
    fed = Fed(STAMPED)
    for k in range(30):
        fed.row(START + 2.0 * k, STAMP, START + 2.0 * k)
        fed.row(START + 2.0 * k, RATE, math.nan)
    assert not fed.observer.locked


def test_a_rate_alone_counts_the_phase() -> None:
    fed = Fed(ReferenceConfig(rate=RATE))
    for k in range(31):
        fed.row(START + 2.0 * k, RATE, 5.0)
    for bad in (0.0, -5.0, math.nan, math.inf, 1e300):
        assert fed.row(START + 61, RATE, bad) == []
    assert fed.observer.phase_at(START + 60) == pytest.approx(300.0)
    assert fed.observer.rate_hz == 5.0
    assert fed.observer.locks == 1
    assert not fed.observer.hold_over(START + 65)


def test_a_counter_is_a_rate() -> None:
    name = "ure:ure_ticks_total"
    fed = Fed(ReferenceConfig(rate=name))
    assert fed.row(START, name, 1000.0) == []
    for k in range(1, 60):
        fed.row(START + 2.0 * k, name, float(1000 + math.floor(5.03 * 2.0 * k)))
    assert fed.observer.rate_hz == pytest.approx(5.03, rel=0.005)


def test_a_counter_follows_a_step_and_begins_anew_at_a_reset() -> None:
    rate = CountRate()
    for k in range(40):
        found = rate.hz(START + 2.0 * k, 10.0 * k)
    assert found == pytest.approx(5.0)
    assert rate.hz(START + 80, 390 + 14.0) == pytest.approx(7.0)
    assert math.isnan(rate.hz(START + 82, 3.0))
    assert rate.hz(START + 84, 13.0) == pytest.approx(5.0)
    assert len(rate.times) == 2


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
def test_the_rises_of_a_signal_are_its_beats(noise: float) -> None:
    rng = random.Random(2)
    reference = Reference(ReferenceConfig(signal="pulse"))
    observer = reference.observer()
    found: list[Beat] = []
    for k in range(3000):
        t = START + 0.05 * k
        x = 70 + 3 * math.sin(2 * math.pi * 1.1 * (t - START)) + 3 * noise * rng.gauss(0, 1)
        found += reference.tick(t, x, observer, GAINS)
    assert len(found) == pytest.approx(165, abs=3)
    assert observer.rate_hz == pytest.approx(1.1, rel=0.02)
    late = [wrapped(1.1 * (b.time - START)) for b in found[50:]]
    assert math.sqrt(sum(x * x for x in late) / len(late)) < 0.01 + noise / 4


def test_a_null_between_two_samples_is_no_rise() -> None:
    rises = Rises()
    for k in range(100):
        rises.rise(START + 0.1 * k, -1.0 if k % 10 < 5 else 1.0)
    assert rises.rise(START + 10.0, -1.0) is None
    assert rises.rise(START + 10.1, math.nan) is None
    assert rises.rise(START + 10.2, 1.0) is None
    assert rises.rise(START + 10.3, -1.0) is None
    at = rises.rise(START + 10.4, 1.0)
    assert at == pytest.approx(START + 10.35, abs=0.01)


def test_a_constant_signal_has_no_beats() -> None:
    rises = Rises()
    assert {rises.rise(START + 0.1 * k, 5.0) for k in range(500)} == {None}
    assert len(rises.sums) <= 32


def test_rows_are_in_order_of_their_moment() -> None:
    def block(channel: str, at: list[float], moment: list[float]) -> Block:
        n = len(at)
        return Block(
            source="midi_1",
            channel=channel,
            row=np.arange(n),
            source_time=np.array(at) - 0.5,
            arrival=np.array(at) + 0.001,
            value=np.ones(n),
            watermark=np.array(moment),
            stamped=np.ones(n, bool),
            line=np.arange(n),
            host_time=np.array(at),
        )

    rows = rows_of([block(CLOCK, [1.0, 2.0, 3.0], [0.9, 1.9, 2.9]), block(TRANSPORT, [2.5], [1.0])])
    assert [(r.moment, r.channel) for r in rows] == [
        (0.9, CLOCK),
        (1.0, TRANSPORT),
        (1.9, CLOCK),
        (2.9, CLOCK),
    ]
    assert rows[0].source_time == 0.5
    assert rows[0].arrival == 1.001


configs = st.sampled_from(
    [
        MIDI,
        STAMPED,
        ReferenceConfig(beat="pad:hit", per_tick=0.25),
        ReferenceConfig(rate=RATE),
        ReferenceConfig(rate="ure:ure_ticks_total"),
        ReferenceConfig(signal="pulse"),
    ]
)
values = st.one_of(
    st.floats(),
    st.sampled_from([0.0, -1.0, 1.0, 5.0, START, START + 1, 1e300, -1e300, math.nan, math.inf]),
)


@settings(max_examples=200, deadline=None)
@given(configs, st.lists(st.tuples(st.floats(-1, 3), values, st.integers(0, 3)), max_size=60))
def test_no_rows_break_it_and_a_snapshot_changes_nothing(
    config: ReferenceConfig, items: list[tuple[float, float, int]]
) -> None:
    channels = [*config.channels, "pad:other"]
    whole, parted = Fed(config), Fed(config)
    t = START
    for k, (delta, value, which) in enumerate(items):
        t += delta
        if k == len(items) // 2:
            parted.store()
        found = []
        for fed in (whole, parted):
            beats = fed.reference.row(
                row(t, channels[which % len(channels)], value), fed.observer, GAINS
            )
            beats += fed.reference.tick(t, value, fed.observer, GAINS)
            found.append(repr(beats))
        assert found[0] == found[1]
    assert repr(whole.reference.snapshot()) == repr(parted.reference.snapshot())
    assert math.isfinite(whole.observer.phase_at(START))


def test_two_sources_of_one_name_are_one_row_of_beats() -> None:
    rng = random.Random(3)
    times = sorted(
        [START + k / 5 + rng.gauss(0, 0.005) for k in range(600)]
        + [START + 0.08 + k / 4.9 + rng.gauss(0, 0.005) for k in range(600)]
    )
    fed = Fed(ReferenceConfig(beat="pad:hit"))
    for t in times:
        fed.row(t, "pad:hit")
    assert {b.use for b in fed.beats} == {"used", "outlier", "close"}
    assert 2 < fed.observer.rate_hz < 15
