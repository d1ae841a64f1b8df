"""Two passes over a recording: every tick fused, each figure named by its mode."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from configs.load import load
from flows.first_pass import FirstPassError
from flows.run import execute
from ops.__main__ import main
from ops.cli.verify import digests, write_config
from ops.evaluate import truth
from ops.evaluate.experiment import config
from ops.report.methods import methods
from ops.report.model import story
from ops.report.verdict import verdict
from ops.results.folder import rigs, run_json
from ops.simulate.recording import START, make, write
from ops.simulate.scenario import Scenario, Sensor, laboratory
from sinks.files.folder import HINDSIGHT, LOCK
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
SECONDS = 120.0
TWO = """version: 2
streams: [{{name: two, type: file, path: "{folder}/two.ndjson"}}]
signals:
  pulse:
    reference: "ure:pulse"
    members:
      "ure:pulse": {{group: ure}}
      "phone:/body": {{group: sensors}}
align: {{max_lag_s: 1.0, window_s: 30, hop_s: 5}}
output: {{dir: "{folder}/out"}}
mode: hindsight
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with a recording, and its runs in both modes."""
    folder = tmp_path_factory.mktemp("hindsight")
    made = make(laboratory(7, 10.0, SECONDS), 7)
    made.write(folder / "r.ndjson")
    for mode in ("causal", "hindsight"):
        text = config(made.scenario, folder / "r.ndjson", folder / mode)
        (folder / f"{mode}.yaml").write_text(f"{text}mode: {mode}\n", "utf-8")
        execute(folder / f"{mode}.yaml", progress=False)
    return folder


def fused(place, mode):
    ticks = list(rigs(place / mode)[0].ticks())
    return ticks, *truth.fused(ticks, "pulse")


def test_every_tick_from_the_first_on_is_fused(place):
    causal, *_ = fused(place, "causal")
    ticks, time_, value, _ = fused(place, "hindsight")
    assert [t.ts for t in ticks] == [t.ts for t in causal]
    assert {t.mode for t in causal[:50]} == {"ure_only"}
    assert {t.mode for t in ticks} == {"fused"}
    inside = (time_ > START + 2.2) & (time_ < time_[-1] - 2.2)
    assert np.isfinite(value[inside]).all()


def test_the_first_minute_is_as_good_as_the_rest(place):
    true = truth.load(place / "r.ndjson")

    def error(mode, since, until):
        _, time_, value, _ = fused(place, mode)
        spell = (time_ > START + since) & (time_ < START + until)
        return truth.rms_error(value[spell], true.at(time_[spell]))

    assert error("hindsight", 5, 60) < 1.1 * error("hindsight", 60, 115)
    assert error("hindsight", 5, 60) < 0.7 * error("causal", 5, 60)


def test_run_json_and_each_sync_line_name_the_mode(place):
    for mode in ("causal", "hindsight"):
        assert run_json(place / mode)["hindsight"] == (mode == "hindsight")
        lines = list(rigs(place / mode)[0].sync())
        assert {line.hindsight for line in lines} == {mode == "hindsight"}


def test_report_and_check_name_the_mode(place, capsys):
    for mode in ("causal", "hindsight"):
        read = story(place / mode)
        facts = dict(verdict(read, read.rigs[0]).facts)
        assert ("Passes" in facts) == (mode == "hindsight")
        assert ("Two passes were made (hindsight)" in methods(read)) == (mode == "hindsight")
        assert main(["check", str(place / f"{mode}.yaml")]) == 0
        assert ("mode      hindsight: two passes" in capsys.readouterr().out) == (
            mode == "hindsight"
        )


def test_sync_lines_have_clock_and_lag_from_the_first_on(place):
    first = {}
    for line in rigs(place / "hindsight")[0].sync():
        first.setdefault(line.channel, line)
    true = truth.load(place / "r.ndjson")
    for channel, line in first.items():
        assert line.state == "live"
        assert line.lag_s == pytest.approx(true.channels[channel].lag_s, abs=0.01)
        assert line.offset_s == pytest.approx(true.offset_s(channel, line.ts), abs=1e-3)


def test_account_losses_and_release_are_those_of_one_pass(place):
    account = {mode: run_json(place / mode)["account"]["total"] for mode in ("causal", "hindsight")}
    assert account["hindsight"]["received"] == account["causal"]["received"]
    assert run_json(place / "hindsight")["balanced"]
    ticks, *_ = fused(place, "hindsight")
    assert all(t.released >= t.ts for t in ticks)
    assert all(t.released < t.ts + 5 for t in ticks), "data time, not that of a second pass"


def test_the_folder_holds_the_findings_and_a_causal_run_takes_them_away(place, tmp_path):
    path = write_config(load(place / "hindsight.yaml").config, tmp_path / "h.yaml", tmp_path / "o")
    execute(path, progress=False)
    assert (tmp_path / "o" / HINDSIGHT).is_file()
    execute(path, progress=False)
    path = write_config(load(place / "causal.yaml").config, tmp_path / "c.yaml", tmp_path / "o")
    execute(path, progress=False)
    assert not (tmp_path / "o" / HINDSIGHT).exists()
    assert digests(tmp_path / "o") == digests(place / "causal")


def test_each_rig_has_findings_of_its_own(tmp_path):
    lags = {"a": 0.2, "b": -0.35}
    write(
        tmp_path / "two.ndjson",
        *(
            make(
                Scenario(
                    60.0, rig=rig, sensors=(
                        Sensor("ure", "pulse", 20.0, "ure"),
                        Sensor("phone", "/body", 50.0, offset_s=3.0, skew_ppm=80.0, lag_s=lag),
                    ),
                ),
                seed,
            )
            for seed, (rig, lag) in enumerate(lags.items())
        ),
    )  # fmt: skip
    (tmp_path / "two.yaml").write_text(TWO.format(folder=tmp_path), "utf-8")
    for results in rigs(execute(tmp_path / "two.yaml", progress=False)):
        assert {t.mode for t in results.ticks()} == {"fused"}, results.folder.name
        first = next(line for line in results.sync() if line.channel == "phone:/body")
        assert first.lag_s == pytest.approx(lags[results.folder.name], abs=0.01)


def test_a_learnt_gain_is_in_force_from_the_first_tick_on(tmp_path):
    sensors = (
        Sensor("ure", "pulse", 20.0, "ure"),
        Sensor("phone", "/body", 50.0, offset_s=3.0, skew_ppm=80.0, lag_s=0.2),
    )
    make(Scenario(60.0, sensors), 3).write(tmp_path / "one.ndjson")
    with (tmp_path / "two.ndjson").open("wb") as file:
        for line in (tmp_path / "one.ndjson").read_bytes().splitlines():
            event = msgspec.json.decode(line)
            if event["source"] == "phone":
                event["value"] *= 2.5
            file.write(msgspec.json.encode(event) + b"\n")
    text = TWO.format(folder=tmp_path) + 'channels: {"phone:/body": {gain: auto}}\n'
    (tmp_path / "two.yaml").write_text(text, "utf-8")
    (results,) = rigs(execute(tmp_path / "two.yaml", progress=False))
    assert {t.mode for t in results.ticks()} == {"fused"}
    first = next(line for line in results.sync() if line.channel == "phone:/body")
    assert first.scale_state == "live"
    assert first.gain == pytest.approx(2.5, rel=0.03)


def test_progress_names_the_pass(place, tmp_path, capsys):
    path = write_config(load(place / "hindsight.yaml").config, tmp_path / "h.yaml", tmp_path / "o")
    execute(path)
    output = capsys.readouterr().err.splitlines()
    assert [line[:11] for line in output if "100.0 %" in line] == ["pass 1 of 2", "pass 2 of 2"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_first_pass(place, tmp_path, number):
    chosen = load(place / "hindsight.yaml").config
    path = write_config(chosen, tmp_path / "h.yaml", tmp_path / "o", batch_lines=1)
    process = subprocess.Popen(
        [sys.executable, "-m", "ops", "run", str(path)], cwd=ROOT, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    until((tmp_path / "o" / LOCK).exists, lambda: "the run takes its folder")
    time.sleep(0.2)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "in the first of two passes" in err
    assert {p.name for p in (tmp_path / "o").iterdir()} == {LOCK}


def test_a_full_disk_ends_the_first_pass_in_one_line(place, tmp_path, monkeypatch):
    def full(path, data, access):
        raise OSError(28, "cannot write: No space left on device", str(path))

    monkeypatch.setattr("flows.first_pass.write_whole", full)
    path = write_config(load(place / "hindsight.yaml").config, tmp_path / "h.yaml", tmp_path / "o")
    with pytest.raises(FirstPassError) as ended:
        execute(path, progress=False)
    assert ended.value.exit_code == 1
    (line,) = ended.value.lines()
    assert "No space left" in line
    assert str(tmp_path / "o" / HINDSIGHT) in line
    monkeypatch.undo()
    assert digests(execute(path, progress=False)) == digests(place / "hindsight")


def test_replay_takes_hindsight_unless_causal_is_asked_for(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recording = str(place / "r.ndjson")
    assert main(["replay", recording, "--out", "one"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("Hindsight, two passes")
    assert "Clocks and lags in hindsight, of the whole recording\n" in output
    assert load("one.yaml").config.mode == "hindsight"
    assert main(["replay", recording, "--out", "two", "--causal"]) == 0
    assert capsys.readouterr().out.startswith("Causal, one pass")
    assert load("two.yaml").config.mode == "causal"
    assert not run_json(Path("two"))["hindsight"]
    assert main(["replay", recording, "--out", "three", "--hindsight"]) == 0
    assert digests(Path("three")) == digests(Path("one"))
