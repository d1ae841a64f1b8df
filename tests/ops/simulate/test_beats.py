"""Simulated beats: their truth, their faults, the arguments that ask for them."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ops.cli import simulate
from ops.simulate.beats import PROFILES, BeatScenario, TempoChange, train
from ops.simulate.recording import START, make
from ops.simulate.scenario import band
from sources.ndjson import Decoder
from sources.rows.names import Names
from sources.rows.rows import DecodedRows

CLEAN = BeatScenario(drift=0.0, jitter_s=0.0)


def recorded(path: Path, *given: str) -> tuple[DecodedRows, dict]:
    """Return the rows of a recording of these arguments, and its truth about beats."""
    parser = argparse.ArgumentParser()
    simulate.add_arguments(parser)
    out = path / "beats.ndjson"
    assert simulate.main(parser.parse_args(["--seconds", "60", "--out", str(out), *given])) == 0
    rows = Decoder(str(out)).decode(out.read_bytes(), 0, Names("studio"))
    return rows, json.loads((path / "beats.truth.json").read_text())["beats"]


def of(rows: DecodedRows, source: str, key: str) -> DecodedRows:
    return rows.take(np.flatnonzero(rows.name == rows.names["studio", source, key]))


def test_steady_beats_are_even() -> None:
    made = train(CLEAN, 60.0)
    assert made.times == pytest.approx(np.arange(len(made.times)) / 5, abs=1e-9)
    assert len(made.times) == 301
    assert made.sent.tobytes() == made.times.tobytes()


def test_a_step_and_a_ramp_have_the_phase_of_their_integral() -> None:
    changes = (TempoChange(10.03, 7.0), TempoChange(20.0, 5.0, 4.0))
    made = train(replace(CLEAN, changes=changes), 40.0)
    t = made.times
    # phase = 5 t, then 7 t from 10.03 s on, then 7 t - t^2 / 4 for 4 s, then 5 t
    second = 5 * np.minimum(t, 10.03) + 7 * np.clip(t - 10.03, 0, 9.97)
    ramp = np.clip(t - 20, 0, 4)
    phase = second + 7 * ramp - ramp**2 / 4 + 5 * np.maximum(t - 24, 0)
    assert phase == pytest.approx(np.arange(len(t)), abs=2e-6)


def test_drift_and_wander_are_those_of_the_scenario() -> None:
    drift = train(replace(CLEAN, drift=0.01, drift_period_s=100.0), 100.0)
    # phase = 5 (t + drift period (1 - cos) / 2 pi)
    swing = 1 - np.cos(2 * np.pi * drift.times / 100)
    phase = 5 * (drift.times + 0.01 * 100 / (2 * np.pi) * swing)
    assert phase == pytest.approx(np.arange(len(drift.times)), abs=1e-5)
    found = []
    for seed in range(200):
        times = train(replace(CLEAN, wander=0.005), 16.0, seed).times
        found.append(np.log(1 / (times[-1] - times[-2]) / 5))
    assert np.std(found) == pytest.approx(0.005 * 4.0, rel=0.2)  # sd grows with sqrt(16 s)


def test_each_fault_has_its_number_and_leaves_the_others_as_they_are() -> None:
    base = train(CLEAN, 600.0, 3)
    n = len(base.times)
    lost = train(replace(CLEAN, loss=0.3), 600.0, 3)
    assert lost.lost == n - len(lost.sent) == pytest.approx(0.3 * n, rel=0.1)
    assert lost.sent == pytest.approx(base.times[lost.beat])
    doubled = train(replace(CLEAN, doubles=0.05), 600.0, 3)
    assert doubled.doubled == len(doubled.sent) - n == pytest.approx(0.05 * n, rel=0.3)
    again = np.flatnonzero(np.diff(doubled.beat) == 0)
    assert (np.diff(doubled.sent)[again] >= 0.005).all()
    assert (np.diff(doubled.sent)[again] <= 0.04).all()
    wild = train(replace(CLEAN, wild=0.05), 600.0, 3)
    off = np.abs(wild.sent - base.times[wild.beat]) > 1e-9
    assert wild.wild == off.sum() == pytest.approx(0.05 * n, rel=0.3)
    shaken = train(replace(CLEAN, jitter_s=0.005), 600.0, 3)
    assert np.std(shaken.sent - base.times[shaken.beat]) == pytest.approx(0.005, rel=0.1)
    every = train(replace(CLEAN, jitter_s=0.005, loss=0.3, doubles=0.05, wild=0.05), 600.0, 3)
    assert (every.lost, every.times.tobytes()) == (lost.lost, base.times.tobytes())
    assert (np.diff(every.sent) >= 0).all()


def test_no_beat_is_sent_in_a_gap() -> None:
    made = train(replace(CLEAN, gaps=((10.1, 20.1), (30.1, 31.1))), 60.0)
    t = made.times
    gap = (t >= 10.1) & (t < 20.1) | (t >= 30.1) & (t < 31.1)
    assert made.lost == gap.sum() == 55
    assert made.beat.tolist() == np.flatnonzero(~gap).tolist()


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("seconds", [1.0, 60.0])
def test_each_profile_has_the_same_beats_for_the_same_seed(name: str, seconds: float) -> None:
    scenario = PROFILES[name](seconds)
    one, two, other = (train(scenario, seconds, seed) for seed in (1, 1, 2))
    assert one.sent.tobytes() == two.sent.tobytes() != other.sent.tobytes()


def test_a_recording_has_the_beats_of_its_truth(tmp_path: Path) -> None:
    rows, truth = recorded(tmp_path, "--beats", "faults", "--tempo", "30:6", "--gap", "10:15")
    beats = of(rows, "osc_1", "/beat")
    assert len(beats) == truth["sent"] == len(truth["times"]) - truth["lost"] + truth["doubled"]
    assert truth["gaps"] == [[START + 10, START + 15]]
    assert truth["changes"] == [{"at_s": START + 30, "to_hz": 6.0, "over_s": 0.0}]
    assert beats.stamped.all()
    near = np.abs(np.subtract.outer(beats.rx, truth["times"])).min(axis=1)
    assert near.max() < 0.08 + 0.1
    assert len(of(rows, "ure", "pulse")) == 600


def test_a_midi_clock_begins_with_a_start_and_has_no_stamps(tmp_path: Path) -> None:
    rows, truth = recorded(tmp_path, "--channel", "midi_1:clock", "--beat-hz", "30")
    beats, transport = of(rows, "midi_1", "clock"), of(rows, "midi_1", "transport")
    assert not beats.stamped.any()
    assert transport.value.tolist() == [1.0]
    assert transport.line[0] < beats.line[0]
    assert len(beats) == len(truth["times"]) == pytest.approx(1801, abs=2)
    assert (np.diff(beats.rx) >= 0).all()


def test_a_recording_without_beats_is_that_of_the_studio(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    simulate.add_arguments(parser)
    assert simulate.beats_of(parser.parse_args([])) is None
    assert make(band(CLEAN, 5.0), 1).truth["beats"]["rate_hz"] == 5.0


def test_rates_of_a_profile_are_in_proportion_to_a_given_one() -> None:
    scenario = PROFILES["tour"](100.0).at_rate(30.0)
    assert (scenario.rate_hz, [c.to_hz for c in scenario.changes]) == (30.0, [36.0, 30.0])


def test_a_scenario_is_described_by_its_rates_and_gaps() -> None:
    text = PROFILES["tour"](100.0).described()
    assert text == "5 beats a second, 6 from 25 s on, 5 from 55 s on, none from 70 to 78 s"


@pytest.mark.parametrize(
    "given",
    [
        ["--tempo", "5"],
        ["--tempo", "5:x"],
        ["--tempo", "5:6:7:8"],
        ["--tempo", "5:0"],
        ["--gap", "5"],
        ["--gap", "x:6"],
        ["--gap", "6:5"],
        ["--loss", "1.5"],
        ["--loss", "nan"],
        ["--beat-hz", "0"],
        ["--channel", "clock"],
        ["--channel", ":clock"],
        ["--beats", "swing"],
    ],
)
def test_bad_arguments_are_refused(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    simulate.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(given)
    assert f"error: argument {given[0]}: " in capsys.readouterr().err
