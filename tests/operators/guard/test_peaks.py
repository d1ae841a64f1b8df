"""Peaks of a signal pass the guard, however narrow; outliers beside them do not."""

from __future__ import annotations

import gzip
import json
from fractions import Fraction
from functools import lru_cache

import numpy as np
import pytest
from msgspec.structs import replace
from scipy.signal import resample_poly

from operators.guard import Guard, guard, peaks
from operators.guard.peaks import MEMORY, Peaks, looks
from operators.limits import GUARD_SIDE as SIDE
from operators.records import Block, Packet
from operators.snapshot import decode_state, encode_state
from operators.types import F64, I64, Bool
from tests.support.real_recordings import DATA, needs_recordings
from tests.support.signals import START, block, feed, packet, plan

CHANNEL = "osc_1:/pulse"
RATES = (50.0, 62.5, 100.0, 125.0, 250.0)


def gone(value: F64, hz: float) -> Bool:
    """Return which samples of an even channel the guard takes out."""
    time = START + np.arange(len(value)) / hz
    out = feed(Guard(plan((CHANNEL,))), [packet(block(CHANNEL, time, value))])
    return ~np.isin(time, np.concatenate([b.host_time for p in out for b in p.blocks]))


def summits(value: F64, hz: float, above: float = 2.0) -> I64:
    """Return the highest samples within 0.2 s to either side, `above` sd over the median."""
    reach = max(round(0.2 * hz), 1)
    off = np.abs(value - np.median(value))
    padded = np.pad(off, reach, constant_values=-1.0)
    highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)
    return np.flatnonzero((off == highest) & (off > above * value.std()))


def hit(value: F64, seed: int, share: float = 0.01) -> tuple[F64, Bool]:
    """Return a signal with outliers of 8 to 20 times its sd, and which they are."""
    rng = np.random.default_rng([seed, 5])
    out = rng.random(len(value)) < share
    far = rng.choice([-1.0, 1.0], len(value)) * rng.uniform(8, 20, len(value))
    return value + value.std() * far * out, out


# (mV, s after the R wave, s wide): P, Q, R, S, T of a healthy lead II.
WAVES = (
    (0.15, -0.18, 0.025),
    (-0.12, -0.028, 0.009),
    (1.2, 0.0, 0.0105),
    (-0.28, 0.027, 0.010),
    (0.3, 0.25, 0.045),
)


def heart(hz: float, seconds: float = 240.0, noise: float = 0.012, seed: int = 1) -> F64:
    """Return an ECG: 45 to 90 beats a minute, R waves that vary by 8 %, noise; low-passed."""
    rng = np.random.default_rng(seed)
    fine = 1000
    time = np.arange(int(seconds * fine)) / fine
    beat, total = 0.5, np.zeros(len(time))
    while beat < seconds:
        size = 1 + 0.08 * rng.standard_normal()
        near = slice(max(int((beat - 0.5) * fine), 0), int((beat + 0.7) * fine))
        for height, after, wide in WAVES:
            total[near] += size * height * np.exp(-0.5 * ((time[near] - beat - after) / wide) ** 2)
        beat += 60 / (67 + 22 * np.sin(beat / 20)) * (1 + 0.03 * rng.standard_normal())
    ratio = Fraction(hz / fine).limit_denominator(1000)
    even = resample_poly(total, ratio.numerator, ratio.denominator)
    return np.asarray(even + noise * rng.standard_normal(len(even)))


def steps(hz: float, seconds: float = 120.0, seed: int = 1) -> F64:
    """Return an accelerometer on a foot: impacts of any size that ring, none like another."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * hz)) / hz
    value = 9.81 + 2 * np.sin(2 * np.pi * 0.9 * time) + 0.05 * rng.standard_normal(len(time))
    at = 0.5
    while at < seconds:
        since = np.maximum(time - at, 0.0)
        tone, decay = rng.uniform(0.14, 0.26) * hz, rng.uniform(0.1, 0.25) * hz
        ring = np.sin(2 * np.pi * tone * since) * np.exp(-decay * since) * (time > at)
        value += rng.uniform(10, 40) * ring
        at += rng.uniform(0.8, 1.2)
    return value


# -- kept peaks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.001, 0.012, 0.02])
@pytest.mark.parametrize("hz", RATES)
def test_heartbeats_stay_at_any_rate(hz: float, noise: float) -> None:
    value = heart(hz, noise=noise)
    lost = gone(value, hz)
    beats = summits(value, hz)
    assert 220 < len(beats) < 300
    assert np.mean(lost) <= 0.003
    assert np.mean(lost[beats]) < 0.02


@pytest.mark.parametrize("hz", RATES)
def test_impacts_of_which_none_is_like_another_stay(hz: float) -> None:
    value = np.concatenate([steps(hz, seed=s) for s in range(3)])
    assert np.mean(gone(value, hz)) <= 0.003


def narrow(second: float, number: int = 60) -> tuple[F64, I64]:
    """Return quiet with peaks of two samples, and where those begin."""
    value = 0.01 * np.random.default_rng(4).standard_normal(50 * number)
    at = np.arange(number) * 50 + 25
    value[at] += 5.0
    value[at + 1] += 5.0 * second
    return value, at


def test_a_shape_of_two_samples_stays_once_it_recurs() -> None:
    value, at = narrow(-0.45)
    lost = gone(value, 50.0)
    # Both samples stand out, each with the other beside it.
    assert lost[at[:2]].all() and lost[at[:2] + 1].all()
    assert not lost[at[3:]].any() and not lost[at[3:] + 1].any()


def test_among_needles_a_shape_is_to_recur_once_more() -> None:
    needles, _ = narrow(0.0)
    value, at = narrow(-0.45, 20)
    lost = gone(np.concatenate((needles, value)), 50.0)[len(needles) :]
    assert lost[at[:3]].all() and lost[at[:3] + 1].all()
    assert not lost[at[4:]].any() and not lost[at[4:] + 1].any()


def test_a_shape_is_not_another_one_nor_one_of_another_height() -> None:
    value, at = narrow(-0.45, 20)
    other, _ = narrow(0.8, 4)
    larger, far = narrow(-0.45, 4)
    lost = gone(np.concatenate((value, other, 3 * larger)), 50.0)
    first = len(value) + far[:2]
    assert not lost[at[3:]].any()
    assert lost[first].all()
    assert lost[first + len(other)].all()


# -- outliers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("height", [5.0, -5.0])
def test_needles_go_however_alike_they_are(height: float) -> None:
    value, at = narrow(0.0)
    value[at] += height - 5.0
    lost = gone(value, 50.0)
    assert lost[at].all()
    assert lost.sum() == len(at)


@pytest.mark.parametrize("hz", RATES)
def test_outliers_among_heartbeats_go(hz: float) -> None:
    found, sound = [], []
    for seed in range(3):
        value, out = hit(heart(hz, seed=seed), seed)
        lost = gone(value, hz)
        found.append(lost[out])
        sound.append(lost[~out])
    assert np.mean(np.concatenate(found)) >= 0.95
    assert np.mean(np.concatenate(sound)) <= 0.004


def test_one_in_twenty_may_be_outliers() -> None:
    rng = np.random.default_rng(6)
    time = np.arange(20_000) / 50
    value = np.sqrt(2) * np.sin(2 * np.pi * 0.7 * time) + 0.1 * rng.standard_normal(len(time))
    value, out = hit(value, 3, share=0.05)
    lost = gone(value, 50.0)
    assert np.mean(lost[out]) >= 0.95
    assert np.mean(lost[~out]) <= 0.001


def test_three_outliers_beside_another_on_a_quiet_line_save_none_of_them() -> None:
    value = 0.01 * np.random.default_rng(12).standard_normal(500) + np.linspace(0, 5, 500)
    value[[243, 246, 248, 250]] += (9.0, -12.0, 16.0, 11.0)
    lost = gone(value, 50.0)
    assert lost.nonzero()[0].tolist() == [243, 246, 248, 250]


@pytest.mark.parametrize("snr_db", [20.0, 10.0])
def test_no_outlier_of_a_quick_signal_is_spared(
    snr_db: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = np.arange(24_000) / 20
    rng = np.random.default_rng(13)
    hz, phase = rng.uniform(0.02, 1.5, 300), rng.uniform(0, 2 * np.pi, 300)
    value = np.sqrt(2 / 300) * np.sin(2 * np.pi * np.outer(time, hz) + phase).sum(axis=1)
    value, out = hit(value + 10 ** (-snr_db / 20) * rng.standard_normal(len(time)), 5)
    # At 20 Hz a wave of 1.5 Hz is bent within the eleven samples.
    lost = gone(value, 20.0)
    monkeypatch.setattr(guard, "_spare", lambda *_: None)
    assert out.sum() > 200
    assert lost[out].tolist() == gone(value, 20.0)[out].tolist()


def test_the_worst_two_of_ten_neighbours_make_no_peak() -> None:
    rng = np.random.default_rng(7)
    near = 0.05 * rng.standard_normal((400, 11)) + np.linspace(0, 1, 11)
    near[:, SIDE] += 10.0
    for i in range(400):
        near[i, rng.choice(np.delete(np.arange(11), SIDE), 2, replace=False)] += 9.0
    assert not looks(near, np.full(400, 0.05)).rough.any()
    near[:, [3, 4, 6]] += 4.0
    assert looks(near, np.full(400, 0.05)).rough.mean() > 0.9


# -- the laws -------------------------------------------------------------------------------------


def cuts(value: F64, hz: float, places: list[int]) -> list[Packet]:
    time = START + np.arange(len(value)) / hz
    pieces = np.split(np.arange(len(value)), places)
    return [
        packet(block(CHANNEL, time[p], value[p]), end=p is pieces[-1], first=START)
        for p in pieces
        if len(p)
    ]


def passed(packets: list[Packet]) -> Block:
    return Block.join(b for p in packets for b in p.blocks)


def test_verdicts_do_not_depend_on_how_rows_come_nor_on_a_resume() -> None:
    value, _ = hit(heart(50.0, 60.0), 1)
    p = plan((CHANNEL,))
    alone = Guard(p)
    whole = passed(feed(alone, cuts(value, 50.0, [])))
    peaks = alone.snapshot()[CHANNEL]["peaks"]
    assert 10 < len(value) - len(whole) < 100
    for seed in range(3):
        places = np.sort(np.random.default_rng(seed).integers(1, len(value), 80)).tolist()
        pieces = cuts(value, 50.0, places)
        core, out = Guard(p), []
        assert passed(feed(core, pieces)).host_time.tolist() == whole.host_time.tolist()
        for key, column in core.snapshot()[CHANNEL]["peaks"].items():
            assert np.allclose(column, peaks[key], rtol=1e-9, atol=1e-9)
        core = Guard(p)
        for piece in pieces:
            stored = encode_state(core.snapshot(), "guard", "f")
            core = Guard.from_snapshot(decode_state(stored, "guard", "f"), p)
            out.append(core.update(piece))
        assert passed(out).host_time.tolist() == whole.host_time.tolist()


def test_a_sample_is_remembered_once_however_often_it_is_looked_at() -> None:
    rng = np.random.default_rng(11)
    value = 0.01 * rng.standard_normal(1000)
    value[8::100] += 5.0
    # Rows after a gap have all successors while those before it still wait for theirs.
    time = START + np.arange(1000) / 250 + 0.52 * (np.arange(1000) // 100)
    core = Guard(plan((CHANNEL,)))
    for i in range(0, 1000, 2):
        rows = slice(i, i + 2)
        core.update(packet(block(CHANNEL, time[rows], value[rows]), end=i == 998, first=START))
    assert len(core.snapshot()[CHANNEL]["peaks"]["height"]) == 10


def test_a_straggler_may_be_a_peak_and_is_not_remembered() -> None:
    value = 0.01 * np.random.default_rng(8).standard_normal(400)
    value[198:203] += (1.2, 3.0, 5.0, 2.8, 1.4)
    time = START + np.arange(400) / 50
    rows = block(CHANNEL, time, value)
    late = replace(
        rows.take(np.arange(400) == 200),
        straggler=np.ones(1, bool),
        watermark=np.array([START + 8.5]),
    )
    core = Guard(plan((CHANNEL,)))
    core.update(packet(rows.take(np.arange(400) != 200), end=False, upto=START + 8.0))
    kept = core.snapshot()[CHANNEL]["peaks"]["height"]
    last = core.update(packet(late, upto=START + 8.6))
    assert time[200] in passed([last]).host_time
    assert core.snapshot()[CHANNEL]["peaks"]["height"].tolist() == kept.tolist()


def test_the_memory_is_bounded() -> None:
    value, _ = narrow(-0.45, 200)
    core = Guard(plan((CHANNEL,)))
    feed(core, cuts(value, 50.0, list(range(100, len(value), 100))))
    state = core.snapshot()[CHANNEL]["peaks"]
    assert [len(state[key]) for key in ("height", "shape", "shaped")] == [MEMORY] * 3
    assert len(encode_state(core.snapshot(), "guard", "f")) < 60_000


def test_shapes_older_than_the_memory_are_dropped() -> None:
    line = np.zeros((MEMORY + 4, 11))
    line[:, SIDE] = 5.0
    line[[0, 1, -1], SIDE + 1] = -2.25
    new = looks(line, np.full(len(line), 0.01))
    assert new.shaped.nonzero()[0].tolist() == [0, 1, MEMORY + 3]
    one = Peaks()
    assert not one.recurring(new).any()
    # Two of two have the shape: two suffice.
    few = looks(line[[0, 1, -1]], np.full(3, 0.01))
    assert one.recurring(few).tolist() == [False, False, True]


def test_no_size_of_a_sample_is_too_much() -> None:
    sizes = (0.0, 5e-324, 1e-300, 1.0, 1e100, -1e100)
    rng = np.random.default_rng(9)
    near = rng.choice(sizes, (4000, 11))
    for least in (0.0, 5e-324, 1.0, 1e100):
        new = looks(near, np.full(len(near), least))
        assert np.isfinite(new.shape).all() and np.isfinite(new.noise).all()
        memory = Peaks()
        memory.push(new.part(slice(0, 50)))
        memory.recurring(new.part(slice(50, None)))


# -- recordings -----------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def recorded(name: str) -> dict[str, F64]:
    rows: dict[str, list[float]] = {}
    with gzip.open(DATA / f"{name}.ndjson.gz", "rt") as lines:
        for row in map(json.loads, lines):
            rows.setdefault(f"{row['source']}/{row['key']}", []).append(row["value"])
    return {channel: np.array(value) for channel, value in rows.items()}


def at_rate(value: F64, have: float, want: float) -> F64:
    ratio = Fraction(want / have).limit_denominator(600)
    return np.asarray(
        resample_poly(value - value[0], ratio.numerator, ratio.denominator) + value[0]
    )


RECORDED = (
    ("ecg_vp01", "chest/ecg", 256.0, RATES),
    ("ecg_vp01", "chest_acc/acc_norm", 64.0, (50.0, 64.0)),
    ("empatica_multirate", "e4_bvp/bvp", 64.0, (50.0, 64.0)),
    ("empatica_multirate", "e4_acc/acc_x", 32.0, (32.0,)),
    *(
        ("sevivi_walking", f"imu_{side}/acc_{axis}", 120.005, (50.0, 62.5, 100.0, 120.005))
        for side in ("lf", "rf")
        for axis in ("norm", "x")
    ),
    ("nilspod_synced", "pod_922a/gyr_norm", 204.8, (50.0, 100.0, 204.8)),
    ("nilspod_synced", "pod_922a/acc_x", 204.8, (50.0, 100.0, 204.8)),
    ("px4_2016", "imu/acc_z", 248.0, (50.0, 100.0, 248.0)),
)
REAL = [(name, channel, have, hz) for name, channel, have, rates in RECORDED for hz in rates]


@needs_recordings
@pytest.mark.parametrize(("name", "channel", "have", "hz"), REAL)
def test_recordings_lose_hardly_a_sample(name: str, channel: str, have: float, hz: float) -> None:
    value = at_rate(recorded(name)[channel], have, hz)
    lost = gone(value, hz)
    assert np.mean(lost) <= 0.003
    if channel == "chest/ecg":
        beats = summits(value, hz)
        assert len(beats) > 300
        assert np.mean(lost[beats]) < 0.02


def test_the_lines_are_exact() -> None:
    rng = np.random.default_rng(3)
    places = np.delete(np.arange(11.0), SIDE)
    near = rng.standard_normal((20, 11))
    near[:, SIDE] = 50.0
    sides = np.delete(near, SIDE, axis=1)
    for row, residual in zip(sides, peaks._residual(sides, peaks.LINES), strict=True):
        best = min(
            np.linalg.norm(
                row[kept] - np.polyval(np.polyfit(places[kept], row[kept], 1), places[kept])
            )
            for kept in (
                np.delete(np.arange(10), (i, j)) for i in range(10) for j in range(i + 1, 10)
            )
        )
        assert residual == pytest.approx(best)
