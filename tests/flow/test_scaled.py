"""Members in other units through the whole flow: given, learnt, distinguished from a fault."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.run import execute
from ops.report.model import story
from ops.report.verdict import verdict
from ops.results import summary
from ops.results.folder import Results, run_json
from ops.simulate.recording import START, SimulatedRecording, make
from ops.simulate.scenario import Scenario, Sensor

SENSORS = (
    Sensor("a", "x", 50.0),
    Sensor("b", "x", 40.0, lag_s=0.2, gain=9.81, bias=4.0, noise=0.05),
    Sensor("c", "x", 31.7, lag_s=-0.1),
)


def run(place: Path, sensors: tuple[Sensor, ...] = SENSORS, seconds: float = 150.0,
        **given: Any) -> tuple[Results, SimulatedRecording]:  # fmt: skip
    recording = make(Scenario(seconds, sensors, flat=True), 5)
    recording.write(place / "r.ndjson")
    members = {s.channel: {} for s in sensors}
    data = {
        "version": 2, "streams": [{"name": "r", "type": "file", "path": str(place / "r.ndjson")}],
        "signals": {"s": {"reference": "a:x", "members": members}},
        "align": {"max_lag_s": 1.0}, "output": {"dir": str(place / "out")}, **given,
    }  # fmt: skip
    (place / "r.yaml").write_text(json.dumps(data), "utf-8")
    return Results(execute(place / "r.yaml", progress=False)), recording


def errors(results: Results, recording: SimulatedRecording) -> tuple[Any, Any]:
    ticks = [t for t in results.ticks() if t.ts > START + 80 and t.signals["s"].value is not None]
    clean = recording.clean(np.array([t.ts for t in ticks]))
    value, sd = np.array([(t.signals["s"].value, t.signals["s"].sd) for t in ticks]).T
    return value - clean, sd


def test_a_unit_that_nobody_named_is_reported_with_its_remedy_and_covered_by_the_sd(
    tmp_path,
) -> None:
    results, recording = run(tmp_path)
    remedy = 'channels: {"b:x": {gain: auto, offset: auto}}'
    assert remedy in summary.units(results)
    found = story(results.folder)
    assert any(remedy in x for x in verdict(found, found.rigs[0]).exceptions)
    error, sd = errors(results, recording)
    assert np.mean(np.abs(error) <= 2 * sd) > 0.95
    assert np.median(sd) > 0.5


def test_learnt_it_is_as_good_as_its_true_gain_typed_in(tmp_path) -> None:
    (tmp_path / "learnt").mkdir()
    (tmp_path / "typed").mkdir()
    auto = {"b:x": {"gain": "auto", "offset": "auto"}}
    typed = {"b:x": {"gain": 1 / 9.81, "offset": -4.0 / 9.81}}
    learnt, recording = run(tmp_path / "learnt", channels=auto)
    given, _ = run(tmp_path / "typed", channels=typed)
    (mine, sd), (best, _) = errors(learnt, recording), errors(given, recording)
    assert np.sqrt(np.mean(mine**2)) <= 1.05 * np.sqrt(np.mean(best**2))
    assert np.mean((mine / sd) ** 2) == pytest.approx(1.0, abs=0.4)
    last = learnt.last_sync()["b:x"]
    assert last.scale_state == "live"
    assert last.gain == pytest.approx(9.81, abs=4 * (last.gain_sd or 0))
    assert summary.units(learnt) == ""
    begun = [x for x in learnt.sync() if x.channel == "b:x" and x.scale_state == "learning"]
    assert begun and all(x.state == "acquiring" for x in begun)


def test_two_that_differ_are_as_unsure_as_half_their_difference(tmp_path) -> None:
    pair = (replace(SENSORS[0], bias=-0.4), replace(SENSORS[2], bias=0.4))
    results, recording = run(tmp_path, pair)
    error, sd = errors(results, recording)
    assert np.median(sd) == pytest.approx(0.4, rel=0.3)
    assert np.mean(np.abs(error) <= 2 * sd) > 0.95
    early = [t.signals["s"] for t in results.ticks() if t.ts < START + 5]
    assert all(s.systematic_sd is None for s in early)
    assert run_json(results.folder)["account"]["total"]["received"] > 0


def test_one_alone_has_no_systematic_sd(tmp_path) -> None:
    results, _ = run(tmp_path, SENSORS[:1], 40.0)
    assert all(t.signals["s"].systematic_sd is None for t in results.ticks())
