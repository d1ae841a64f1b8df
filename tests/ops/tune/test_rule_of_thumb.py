"""The rule of thumb of v1.9, on logs and on bridge.jsonl."""

from __future__ import annotations

import json

import pytest

from operators.bridge.bridge_config import GainConfig
from ops.tune.recorded_packets import TuneError
from ops.tune.rule_of_thumb import by_thumb


def log(path, phase: list[float], sync: list[float]):
    lines = [f"1730000000 bridge_phase_diff_mean {x}" for x in phase]
    lines += [f"1730000000 bridge_sync_quality {x}" for x in sync]
    path.write_text("\n".join([*lines, "torn", "1 other 3", "1 bridge_sync_quality nan"]), "utf-8")
    return path


@pytest.mark.parametrize(
    ("phase", "sync", "gains"),
    [
        ([0.01] * 40, 0.95, (0.35, 0.08, 0.10, 0.0)),
        ([0.04] * 40, 0.95, (0.30, 0.08, 0.08, -0.3)),
        ([0.01] * 39 + [0.026], 0.95, (0.32, 0.08, 0.10, -0.1)),
        ([0.04] * 40, 0.80, (0.30, 0.06, 0.08, -0.3)),
    ],
)
def test_the_steps_of_the_rule(tmp_path, phase, sync, gains) -> None:
    found = by_thumb(log(tmp_path / "bench.log", phase, [sync]), GainConfig())
    assert (found.kp, found.ki, found.kd, found.delta_hz) == pytest.approx(gains)


def test_frames_of_the_bridge_count_as_a_log(tmp_path) -> None:
    path = tmp_path / "bridge.jsonl"
    lines = [{"ts": 1.0, "phase_diff": 0.04, "sync_quality": 0.8}] * 30
    lines += [{"ts": 2.0, "phase_diff": None, "sync_quality": None}]
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    found = by_thumb(path, GainConfig())
    assert (found.p95, found.sync) == pytest.approx((0.04, 0.8))
    assert (found.kp, found.ki) == pytest.approx((0.30, 0.06))


def test_a_file_without_figures_is_refused(tmp_path) -> None:
    with pytest.raises(TuneError, match="no value of sync quality"):
        by_thumb(log(tmp_path / "bench.log", [0.1], []), GainConfig())
    with pytest.raises(TuneError, match="No such file"):
        by_thumb(tmp_path / "none", GainConfig())
