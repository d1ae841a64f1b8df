import numpy as np
import pytest

from operators.drift.clock_rate import Rate, cause

BASE = 1.73e9


def stamps(rate_hz=50, seconds=120, jitter=0.003, seed=1):
    """Return true times and arrivals of a healthy source."""
    t = np.arange(int(rate_hz * seconds)) / rate_hz
    arrival = BASE + t + 0.005 + np.random.default_rng(seed).exponential(jitter, len(t))
    return t, arrival


def held(source, arrival, cuts=()):
    rate = Rate(30.0)
    parts = zip(np.split(source, cuts), np.split(arrival, cuts), strict=True)
    return np.concatenate([rate.feed(s, a) for s, a in parts])


@pytest.mark.parametrize(
    ("factor", "text"),
    [
        (1e3, "ts runs 1000 times too fast: milliseconds? ts_unit: ms"),
        (1e6, "ts runs 1000000 times too fast: microseconds? ts_unit: us"),
        (1e9, "ts runs 1000000000 times too fast: nanoseconds? ts_unit: ns"),
    ],
)
def test_a_clock_in_another_unit_is_held_back_at_once_and_named(factor, text):
    t, arrival = stamps()
    rates = held(np.floor((5 + t) * factor), arrival)
    assert np.isnan(rates[:7]).all()
    assert not np.isnan(rates[10:]).any()
    assert {cause(r) for r in rates[800:]} == {text}


@pytest.mark.parametrize("factor", [1 / 60, 0.5, 0.9, 1.1, 1.5])
def test_a_rate_that_no_clock_has_is_held_back_after_the_first_window(factor):
    t, arrival = stamps()
    rates = held(5 + t * factor, arrival)
    assert np.isnan(rates[:400]).all()
    assert not np.isnan(rates[600:]).any()
    assert rates[-1] == pytest.approx(factor, rel=0.01)
    assert "no clock" in cause(factor)


def test_microseconds_that_wrap_are_held_back():
    t, arrival = stamps(seconds=300)
    rates = held(np.floor((4000 + t) * 1e6) % 2.0**32, arrival)
    assert not np.isnan(rates[10:]).any()


HEALTHY = {
    "plain": lambda t, a: (t, a),
    "half a percent fast": lambda t, a: (t * 1.005, a),
    "late arrivals": lambda t, a: (t, a + np.random.default_rng(2).exponential(0.5, len(t))),
    "stamps in whole seconds": lambda t, a: (np.floor(t), a),
    "arrival in whole seconds": lambda t, a: (t, np.floor(a)),
    "a reset each 30 s": lambda t, a: (t + 1000 * np.floor(t / 30), a),
    "a reset back each 30 s": lambda t, a: (t - 7200 * np.floor(t / 30), a),
    "hand-over each 2 s": lambda t, a: (t, BASE + 2 * np.floor(t / 2 + 1) + 1e-5 * t),
    "a backlog of 20 s at the start": lambda t, a: (t, np.maximum(a, BASE + 20 + t / 50)),
    "an hour's silence": lambda t, a: (t + 3600 * (t > 50), a + 3600 * (t > 50)),
    "wild stamps": lambda t, a: (np.where(np.arange(len(t)) % 7 == 3, 1e9, t), a),
}


@pytest.mark.parametrize("rate_hz", [50, 5, 0.2])
@pytest.mark.parametrize("fault", HEALTHY)
def test_a_clock_that_runs_true_is_never_held_back(fault, rate_hz):
    t, arrival = stamps(rate_hz, max(200, 60 / rate_hz))
    assert np.isnan(held(*HEALTHY[fault](t, arrival))).all()


def test_a_clock_that_comes_right_is_used_again():
    t, arrival = stamps()
    rates = held(np.where(t < 40, t * 1000, 40000 + t), arrival)
    assert not np.isnan(rates[10 : 50 * 40]).any()
    assert np.isnan(rates[50 * 65 :]).all()


def test_it_is_the_same_however_cut_and_after_resume():
    t, arrival = stamps(seconds=60)
    source = np.where(t < 30, t * 1000, t)
    whole = held(source, arrival)
    assert np.array_equal(held(source, arrival, range(1, len(t), 7)), whole, equal_nan=True)
    rate, out = Rate(30.0), []
    for s, a in zip(np.array_split(source, 40), np.array_split(arrival, 40), strict=True):
        rate = Rate(**rate.snapshot())
        out.append(rate.feed(s, a))
    assert np.array_equal(np.concatenate(out), whole, equal_nan=True)
    assert len(rate.source) <= 100
