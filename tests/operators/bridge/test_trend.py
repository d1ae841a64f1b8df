"""Figures over time: beside their formulas, Prometheus, and the same figures after a resume."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import subprocess
import time
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import pytest

from operators.bridge.trend import (
    LONG_S,
    MAX_BEATS,
    MEAN_S,
    RollbackRatio,
    SyncWindow,
    Trends,
    quantile,
)
from operators.numeric.sample_window import SampleWindow
from ops.fakes.monitoring import answers
from ops.fakes.ports import free_port
from ops.monitoring.programs import peer
from tests.support.programs import needs_peers
from tests.support.waiting import until

NAN = math.nan
FIRST = 1_730_000_000.0

# -- bias and spread of the phase error -------------------------------------------------------


def resultant(errors: np.ndarray) -> tuple[float, float]:
    """Return |arg R| / 2 pi and |R| by the formula."""
    mean = np.exp(2j * np.pi * errors).mean()
    return abs(np.angle(mean)) / (2 * np.pi), abs(mean)


def beats(window: SyncWindow, errors: np.ndarray, first: float = 0.0, period: float = 0.2) -> float:
    """Add beats; return the time of the last."""
    for i, error in enumerate(errors.tolist()):
        window.add(first + i * period, error, period)
    return first + (len(errors) - 1) * period


def test_the_window_is_the_formula_over_its_last_beats() -> None:
    errors = 0.03 + 0.08 * np.random.default_rng(0).standard_normal(2000)
    window = SyncWindow(90.0)
    for i, error in enumerate(errors.tolist()):
        window.add(i * 0.2, error, 0.2)
        if i % 100 == 99:
            found = window.at(i * 0.2 + 0.01)
            if i >= 114:
                assert found == pytest.approx(resultant(errors[max(0, i - 449) : i + 1]), abs=1e-11)
            else:
                assert np.isnan(found).all()


def test_bias_is_not_spread() -> None:
    for errors, phase, sync in (
        (np.full(500, 0.1), 0.1, 1.0),
        (np.tile([0.1, -0.1], 250), 0.0, math.cos(0.2 * math.pi)),
        (np.full(500, -0.5), 0.5, 1.0),
    ):
        window = SyncWindow(90.0)
        assert window.at(beats(window, errors)) == pytest.approx((phase, sync), abs=1e-9)


def test_opposite_errors_have_no_phase() -> None:
    window = SyncWindow(90.0)
    phase, sync = window.at(beats(window, np.tile([0.0, 0.5], 250)))
    assert math.isnan(phase)
    assert sync == 0.0


@pytest.mark.parametrize("period", [1 / 25, 0.2, 1.25, 12.8])
def test_nothing_is_known_until_a_quarter_of_the_window_is_there(period: float) -> None:
    window = SyncWindow(90.0)
    for i in itertools.count():
        window.add(i * period, 0.0, period)
        known = not math.isnan(window.at(i * period)[0])
        assert known == (i * period >= 22.5 - 1e-9)
        if known:
            break


def test_silence_is_not_covered() -> None:
    window = SyncWindow(90.0)
    newest = beats(window, np.zeros(500))
    assert window.at(newest + 65.0)[1] == 1.0
    assert math.isnan(window.at(newest + 70.0)[1]), "less than a quarter of it is there"
    assert math.isnan(window.at(newest + 1000.0)[1])
    window.add(newest + 70.0, 0.0, 0.2)
    assert math.isnan(window.at(newest + 70.0)[1]), "a beat covers no silence before it"


def test_beats_that_are_dated_seldom_are_no_silence() -> None:
    window = SyncWindow(90.0)
    for i in range(20):
        window.add(i * 10.0, 0.0, 0.2)
    assert window.at(190.0)[1] == 1.0
    window.add(300.0, 0.0, 0.2)
    window.add(310.0, 0.0, 0.2)
    assert math.isnan(window.at(310.0)[1]), "10 s after a silence that is longer than the window"


def test_lost_beats_do_not_delay_the_first_figure() -> None:
    window, rng = SyncWindow(12.0), np.random.default_rng(5)
    kept = [i for i in range(100) if i == 0 or rng.random() > 0.3]
    known = []
    for i in kept:
        window.add(i * 0.2, 0.0, 0.2)
        known.append((i * 0.2, not math.isnan(window.at(i * 0.2)[0])))
    assert min(at for at, is_known in known if is_known) < 3.7


def test_beats_with_wild_times_leave_the_window() -> None:
    window = SyncWindow(10.0)
    window.add(1e9, 0.25, 0.2)
    newest = beats(window, np.zeros(100))
    assert window.at(newest) == pytest.approx((0.0, 1.0))
    window.add(1e9, 0.25, 0.2)
    newest = beats(window, np.zeros(100), newest + 0.2)
    assert window.at(newest) == pytest.approx((0.0, 1.0))


def test_the_window_is_bounded_and_a_snapshot_changes_nothing() -> None:
    window, errors = SyncWindow(600.0), np.random.default_rng(2).uniform(-0.5, 0.5, 40_000)
    newest = beats(window, errors, FIRST, 0.01)
    assert len(window.snapshot()["ts"]) == MAX_BEATS
    resumed = SyncWindow.from_snapshot(pickle.loads(pickle.dumps(window.snapshot())), 600.0)
    assert resumed.at(newest) == window.at(newest)
    assert window.at(newest) == pytest.approx(resultant(errors[-MAX_BEATS:]), abs=1e-9)
    for i in range(100):
        window.add(newest + i, 0.1, 0.01)
        resumed.add(newest + i, 0.1, 0.01)
        assert resumed.at(newest + i) == window.at(newest + i)


def test_an_empty_window_resumes() -> None:
    resumed = SyncWindow.from_snapshot(SyncWindow(12.0).snapshot(), 12.0)
    assert resumed.at(beats(resumed, np.zeros(20))) == (0.0, 1.0)


# -- samples of each second -------------------------------------------------------------------


def series(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return (count, 4): phase, sync, entropy, reported entropy; some unknown."""
    walk = np.cumsum(rng.standard_normal((count, 4)), axis=0) * 0.002
    values = np.abs(walk + [0.02, 0.9, 0.12, 0.2] + 0.01 * rng.standard_normal((count, 4)))
    values[rng.random((count, 4)) < 0.05] = NAN
    values[300:340] = NAN
    return values


def fed(trends: Trends, samples: np.ndarray, first: float = FIRST) -> list:
    """Return the figures at each second; samples are those of the first tick of it, at 5 Hz."""
    found = []
    for i, row in enumerate(samples.tolist()):
        trends.tick(first + i, *row)
        for later in range(1, 5):
            trends.tick(first + i + later / 5, NAN, 1e9, NAN, 0.0)
        found.append(trends.newest)
    return found


def test_figures_are_those_of_the_formulas() -> None:
    samples = series(np.random.default_rng(7), 2500)
    found = fed(Trends(), samples)
    for i in range(0, 2500, 83):
        last5, last10 = samples[max(0, i - 299) : i + 1], samples[max(0, i - 599) : i + 1]
        columns = (last5[:, 0], last10[:, 1], last10[:, 2], last10[:, 3])
        known = [column[~np.isnan(column)] for column in columns]
        if min(map(len, known)) < 60:
            continue
        wanted = [
            known[0].mean(), np.quantile(known[1], 0.05), known[2].mean(),
            known[3].std() if not np.isnan(samples[i, 3]) else NAN,
        ]  # fmt: skip
        assert found[i] == pytest.approx(tuple(wanted), abs=1e-9, nan_ok=True)


def test_nothing_is_known_from_less_than_a_minute() -> None:
    found = fed(Trends(), np.tile([0.1, 0.9, 0.1, 0.1], (70, 1)) + np.arange(70)[:, None] * 1e-3)
    assert all(np.isnan(found[58]))
    assert all(np.isfinite(found[59]))


def test_a_frozen_or_missing_entropy_has_no_deviation() -> None:
    found = fed(Trends(), np.full((100, 4), 0.1))
    assert math.isnan(found[-1].residual_stddev_10m)
    assert found[-1].entropy_ratio_mean_10m == pytest.approx(0.1)
    samples = series(np.random.default_rng(8), 200)
    samples[-1] = NAN
    found = fed(Trends(), samples)
    assert math.isnan(found[-1].residual_stddev_10m)
    assert math.isfinite(found[-1].entropy_ratio_mean_10m)


def test_missed_seconds_are_unknown_samples() -> None:
    trends = Trends()
    fed(trends, series(np.random.default_rng(9), 200))
    trends.tick(FIRST + 200 + 580, 0.1, 0.1, 0.1, 0.1)
    assert math.isnan(trends.newest.phase_diff_mean_5m)
    trends.tick(FIRST + 1e9, 0.1, 0.1, 0.1, 0.1)
    assert all(np.isnan(trends.newest))


def test_figures_do_not_drift() -> None:
    rng = np.random.default_rng(11)
    trends, samples = Trends(), np.empty((0, 4))
    for scale in (1e6, 1e-3):
        samples = rng.uniform(0, scale, (5 * LONG_S, 4))
        fed(trends, samples, FIRST + (0 if scale > 1 else 5 * LONG_S))
    last = samples[-LONG_S:]
    assert trends.newest == pytest.approx(
        (
            samples[-MEAN_S:, 0].mean(), np.quantile(last[:, 1], 0.05), last[:, 2].mean(),
            last[:, 3].std(),
        ),
        rel=1e-6,
    )  # fmt: skip


def test_figures_resume_at_any_tick() -> None:
    samples = series(np.random.default_rng(12), 1500)
    whole, pieces = Trends(), Trends()
    for i in range(0, 1500, 50):
        state = pickle.loads(pickle.dumps(pieces.snapshot()))
        pieces = Trends.from_snapshot(state)
        a, b = (fed(t, samples[i : i + 50], FIRST + i) for t in (whole, pieces))
        assert str(a) == str(b)


def test_trends_raise_on_no_data() -> None:
    odd = (NAN, math.inf, -math.inf, 1e308, -1e308, 0.0, 5e-324)
    trends, window, ratio = Trends(), SyncWindow(90.0), RollbackRatio(5.0)
    for ts, value in itertools.product((*odd, 1e9, -1e9), odd):
        trends.tick(ts, value, value, value, value)
        window.add(ts, value, value)
        window.at(value)
        window.at(ts)
    for ts in range(2000):
        trends.tick(float(ts), 0.01, 0.9, 0.1, 0.1 + ts * 1e-5)
    assert trends.newest[:3] == pytest.approx((0.01, 0.9, 0.1))
    assert ratio.value == 0.0


def test_a_wild_sample_is_unknown() -> None:
    trends = Trends()
    samples = series(np.random.default_rng(14), 200)
    samples[50] = (1e308, -1e308, math.inf, 1e7)
    assert fed(trends, samples)[-1] == fed(Trends(), np.where(samples > 1e3, NAN, samples))[-1]
    assert np.isfinite(trends.newest[:3]).all()


def test_a_quantile_is_interpolated() -> None:
    values = sorted(np.random.default_rng(3).random(77).tolist())
    for part in (0.0, 0.05, 0.5, 0.95, 1.0):
        assert quantile(values, part) == pytest.approx(np.quantile(values, part))
    assert (quantile([0.3], 0.95), math.isnan(quantile([], 0.5))) == (0.3, True)


def test_a_sample_window_returns_the_sample_that_leaves() -> None:
    window = SampleWindow(3)
    assert math.isnan(window.mean) and math.isnan(window.variance)
    left = [window.add(value) for value in (1.0, NAN, 3.0, 4.0, 5.0)]
    assert left[3:] == pytest.approx([1.0, NAN], nan_ok=True)
    assert (window.known, window.mean, window.variance) == pytest.approx((3, 4.0, 2 / 3))


# -- rollback ratio ---------------------------------------------------------------------------


def test_the_ratio_is_over_the_last_ticks_of_e2_and_e3() -> None:
    rng = np.random.default_rng(4)
    ratio, counted = RollbackRatio(5.0), []
    for state, bad in zip(
        rng.choice(["E0", "E1", "E2", "E3"], 9000).tolist(), (rng.random(9000) < 0.1).tolist(),
        strict=True,
    ):  # fmt: skip
        found = ratio.tick(state, bad)
        if state in ("E2", "E3"):
            counted.append(bad)
        last = counted[-1500:]
        assert found == sum(last) / max(len(last), 300)


def test_three_seconds_of_silence_in_the_first_minute_are_the_limit() -> None:
    ratio = RollbackRatio(5.0)
    found = [ratio.tick("E2", True) for _ in range(16)]
    assert found[14] == 0.05
    assert found[15] > 0.05


def test_silence_in_other_states_is_not_counted() -> None:
    ratio = RollbackRatio(5.0)
    assert [ratio.tick(state, True) for state in ("E0", "E1", "E4")] == [0.0] * 3


def test_the_ratio_begins_anew_after_e4_and_is_shown_until_then() -> None:
    ratio = RollbackRatio(5.0)
    for _ in range(30):
        ratio.tick("E2", True)
    assert ratio.tick("E4", True) == 0.1
    assert ratio.tick("E1", True) == 0.0
    assert ratio.tick("E2", True) == pytest.approx(1 / 300)


@pytest.mark.parametrize("tick_hz", [0.001, 1.0, 7.3, 100.0])
def test_the_ratio_resumes_at_any_rate(tick_hz: float) -> None:
    rng = np.random.default_rng(6)
    whole, pieces = RollbackRatio(tick_hz), RollbackRatio(tick_hz)
    largest = 0.0
    for _ in range(3000):
        state, bad = str(rng.choice(["E1", "E2", "E3"])), bool(rng.random() < 0.2)
        found = whole.tick(state, bad)  # type: ignore[arg-type]
        assert found == pieces.tick(state, bad)  # type: ignore[arg-type]
        largest = max(largest, found)
        if rng.random() < 0.01:
            state_of = pickle.loads(pickle.dumps(pieces.snapshot()))
            pieces = RollbackRatio.from_snapshot(state_of, tick_hz)
    assert 0 < largest <= 1


# -- Prometheus -------------------------------------------------------------------------------

QUERIES = (
    ("phase_diff_mean_5m", "avg_over_time(phase[5m])"),
    ("sync_quality_p05_10m", "quantile_over_time(0.05, sync[10m])"),
    ("entropy_ratio_mean_10m", "avg_over_time(entropy[10m])"),
    ("residual_stddev_10m", "stddev_over_time(reported[10m])"),
)


@needs_peers("prometheus", "promtool")
def test_figures_are_those_of_prometheus(tmp_path) -> None:
    samples = series(np.random.default_rng(13), 1000)
    first = math.floor(time.time()) - 1100
    found = fed(Trends(), samples, float(first))
    lines = [
        f"{name} {value} {first + i}"
        for name, column in zip(("phase", "sync", "entropy", "reported"), samples.T, strict=True)
        for i, value in enumerate(column)
        if not np.isnan(value)
    ]
    (tmp_path / "history").write_text("\n".join([*lines, "# EOF\n"]))
    subprocess.run(
        [peer("promtool"), "tsdb", "create-blocks-from", "openmetrics", "history", "db"],
        cwd=tmp_path, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    (tmp_path / "prometheus.yml").write_text("{}\n")
    port = free_port()
    root = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [peer("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=db",
         f"--web.listen-address=127.0.0.1:{port}"],
        cwd=tmp_path, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: answers(f"{root}/-/ready"), process=process)
        compared = 0
        for i in range(100, 1000, 37):
            for name, query in QUERIES:
                asked = urlencode({"query": query, "time": first + i})
                with urlopen(f"{root}/api/v1/query?{asked}", timeout=10) as got:
                    (answer,) = json.loads(got.read())["data"]["result"]
                ours = getattr(found[i], name)
                if not math.isnan(ours):
                    assert ours == pytest.approx(float(answer["value"][1]), abs=0.005), (name, i)
                    compared += 1
        assert compared > 70
    finally:
        process.terminate()
        process.wait()
