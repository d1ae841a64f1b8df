"""Candidates follow the beats of a recording as the station would."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from configs.load import load
from configs.schema import Config
from operators.bridge.reference import BeatRow
from ops.simulate.beats import BeatScenario
from ops.simulate.recording import make
from ops.simulate.scenario import band
from ops.tune.loop_gains import RecordedReference, follow, patch_of, tune_gains, with_gains
from ops.tune.recorded_packets import TuneError, packets

TEXT = """version: 2
streams: [{name: r, type: file, path: %s}]
signals: {pulse: {members: {"ure:pulse": {group: ure}, "osc_2:/wrist/pulse": {}}}}
bridge: %s
"""
BRIDGE = '{reference: {beat: "osc_1:/beat"}}'
CURVES = """
  reference: {beat: "osc_1:/beat"}
  nonlinear_gain: {kp_curve: [[0, 0.35], [0.3, 0.22]], kd_curve: [[0, 0.1], [0.3, 0.18]],
    ki_base: 0.08}
"""


def recorded(place: Path, seconds: float = 130.0, **beats: Any) -> Path:
    path = place / "beats.ndjson"
    make(band(BeatScenario(**beats), seconds)).write(path)
    return path


def config(recording: Path, bridge: str = BRIDGE) -> Config:
    path = recording.with_name("c.yaml")
    path.write_text(TEXT % (recording, bridge), "utf-8")
    return load(path).config


def test_a_candidate_has_the_ticks_of_the_station(tmp_path) -> None:
    path = recorded(tmp_path, 60.0, wander=0.003)
    chosen = config(path)
    frames = [f for _, p in packets(chosen, path, "bridge") for f in p.bridge if f.why is None]
    bridge = chosen.bridge
    assert bridge is not None and bridge.reference is not None
    beats = RecordedReference.read(chosen, bridge.reference, path)
    found = follow(beats, bridge, chosen.lead_s())

    late = frames[0].ts + 25
    station = np.array([f.ts for f in frames if f.ts > late])
    times = np.array([t for t, _, _ in found.ticks if t > late])
    assert len(station) > 100
    np.testing.assert_allclose(times, station, atol=1e-6)


def test_gains_for_a_person_are_found(tmp_path) -> None:
    path = recorded(tmp_path, 180.0, wander=0.01)
    decision = tune_gains(config(path), path)
    assert min(decision.held) > 0.2
    assert decision.patch["bridge"]["phase"]["gain"]["kp"] > 0.35
    assert "rebalance_window_s" not in decision.patch["bridge"]["phase"]


def test_gains_that_fit_already_stay(tmp_path) -> None:
    path = recorded(tmp_path, 130.0, wander=0.01)
    tuned = config(path)
    best = tune_gains(tuned, path).patch["bridge"]["phase"]["gain"]
    again = tune_gains(config(path, BRIDGE[:-1] + f", phase: {{gain: {best}}}}}"), path)
    assert again.patch == {}


def test_the_window_is_a_candidate_where_advice_is_applied(tmp_path) -> None:
    path = recorded(tmp_path, 100.0, wander=0.005)
    shown = {
        c.title for c in tune_gains(config(path, BRIDGE[:-1] + ", calibrate: apply}"), path).ordered
    }
    assert {"kp 0.35 ki 0.08 window 12 s", "kp 1 ki 0.3 window 90 s"} <= shown


def test_curves_are_scaled_and_still_valid(tmp_path) -> None:
    path = recorded(tmp_path, 10.0)
    bridge = config(path, CURVES).bridge
    assert bridge is not None
    changed = with_gains(bridge, 0.7, 0.147, 90.0)
    assert changed.nonlinear_gain is not None
    assert changed.nonlinear_gain.kp_curve[0] == (0.0, 0.7)
    assert changed.nonlinear_gain.kp_curve[1][1] == pytest.approx(0.44)
    patch = patch_of(changed, 90.0)["bridge"]
    assert patch["nonlinear_gain"]["ki_base"] == 0.147
    text = msgspec.json.encode(
        {
            **msgspec.to_builtins(changed),
        }
    ).decode()
    valid = config(path, text.replace("null", "~"))
    assert valid.bridge is not None and valid.bridge.phase.gain.kp == 0.7


@pytest.mark.parametrize(
    ("bridge", "seconds", "message"),
    [
        ("{}", 10.0, "need bridge.reference"),
        (BRIDGE, 40.0, "too few"),
        ('{reference: {beat: "osc_1:/other"}}', 40.0, "no beat"),
    ],
)
def test_a_recording_without_a_choice_is_refused(tmp_path, bridge, seconds, message) -> None:
    path = recorded(tmp_path, seconds)
    with pytest.raises(TuneError, match=message):
        tune_gains(config(path, bridge), path)


def test_a_silence_of_hours_costs_no_steps() -> None:
    times = [1e9 + k / 5 for k in range(50)] + [1e9 + 1e6 + k / 5 for k in range(50)]
    rows = [BeatRow(t, t, k, "a:b", 1.0, t, t) for k, t in enumerate(times)]
    rows[0] = rows[0]._replace(moment=-math.inf)
    steps = list(RecordedReference(rows, [], times[0], times[-1]).steps())
    assert 390 <= len(steps) <= 410
    assert all(b > a for a, b in pairwise(steps))


def test_a_reference_of_a_signal_is_judged_although_it_is_late(tmp_path) -> None:
    path = tmp_path / "signal.ndjson"
    with path.open("w") as file:
        for k in range(130 * 20):
            t = 1.73e9 + k / 20
            value = math.sin(2 * math.pi * k / 20)
            for source, late in (("a", 0.003), ("b", 0.006)):
                line = {"ts": t, "source": source, "key": "x", "value": value}
                file.write(json.dumps({**line, "meta": {"rx": t + late}}) + "\n")
    (tmp_path / "c.yaml").write_text(
        f"version: 2\nstreams: [{{name: r, type: file, path: {path}}}]\n"
        'signals: {s: {members: {"a:x": {}, "b:x": {}}}}\n'
        "bridge: {reference: {signal: s, per_tick: 0.25}}\n"
    )
    decision = tune_gains(load(tmp_path / "c.yaml").config, path)
    assert max(decision.current.errors) < 0.05
