"""Settings of align are judged by each member against the others."""

from __future__ import annotations

import numpy as np
import pytest

from configs.load import load
from operators.records import FusedSignal
from ops.simulate.recording import make
from ops.simulate.scenario import Scenario, Sensor
from ops.tune.leave_one_out import candidates, residuals, tune_align
from ops.tune.recorded_packets import TuneError

TEXT = """version: 2
streams: [{name: r, type: file, path: %s}]
signals: {s: {members: {%s}}}
align: {window_s: 30}
"""
SENSORS = (
    Sensor("a", "x", 20.0, offset_s=3.0, lag_s=0.3),
    Sensor("b", "x", 15.0),
    Sensor("c", "x", 10.0),
)


def test_the_residual_is_a_member_less_the_weighted_others() -> None:
    value = np.array([[1.0, 2.0, 5.0], [1.0, np.nan, 5.0], [1.0, np.nan, np.nan]])
    weights = np.array([[0.2, 0.3, 0.5], [0.4, 0.0, 0.6], [1.0, 0.0, 0.0]])
    none = np.empty(0)
    signal = FusedSignal(
        "s", ("a", "b", "c"), none, none, none, np.empty(0, int), np.empty(0, int), weights, value
    )
    found = residuals(signal)
    expected = [
        [1 - (0.6 + 2.5) / 0.8, 2 - (0.2 + 2.5) / 0.7, 5 - (0.2 + 0.6) / 0.5],
        [-4.0, np.nan, 4.0],
        [np.nan, np.nan, np.nan],
    ]
    np.testing.assert_allclose(found, expected)


def configured(tmp_path, members: str):
    path = tmp_path / "r.ndjson"
    make(Scenario(seconds=90.0, sensors=SENSORS)).write(path)
    (tmp_path / "c.yaml").write_text(TEXT % (path, members), "utf-8")
    return load(tmp_path / "c.yaml").config, path


def test_two_members_are_refused(tmp_path) -> None:
    config, path = configured(tmp_path, '"a:x": {}, "b:x": {}')
    with pytest.raises(TuneError, match="align needs a signal of 3 members: s has 2"):
        tune_align(config, path)


def test_good_settings_stay(tmp_path) -> None:
    config, path = configured(tmp_path, '"a:x": {}, "b:x": {}, "c:x": {}')
    decision = tune_align(config, path)
    assert decision.patch == {}
    assert 0.05 < min(decision.current.errors) < 0.5


def test_candidates_differ_in_one_setting_and_are_valid(tmp_path) -> None:
    config, _ = configured(tmp_path, '"a:x": {group: ure}, "b:x": {}, "c:x": {}')
    found = {title: patch for title, patch, _ in candidates(config)}
    assert found["weights 0.4/0.6"] == {"weights": {"ure": 0.4, "sensors": 0.6}}
    assert found["kalman.q 1e-10"] == {"align": {"kalman": {"q": 1e-10}}}
    assert "window_s 30" not in found and "window_s 60" in found
    assert all(len(patch) == 1 for patch in found.values())
