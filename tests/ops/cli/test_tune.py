"""`lumen tune`: a patch beside a configuration that is never edited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from configs.load import load
from ops.__main__ import main
from ops.simulate.beats import BeatScenario
from ops.simulate.recording import make
from ops.simulate.scenario import band

TEXT = """version: 2
streams: [{name: r, type: file, path: %s}]
signals: {pulse: {members: {"ure:pulse": {group: ure}, "osc_2:/wrist/pulse": {}}}}
output: {dir: %s}
bridge: {reference: {beat: "osc_1:/beat"}%s}
"""
CURVES = (
    ", nonlinear_gain: {kp_curve: [[0, 0.35], [0.3, 0.22]], kd_curve: [[0, 0.1], [0.3, 0.18]],"
    " ki_base: 0.08}"
)


def written(place: Path, wander: float = 0.01, more: str = "") -> Path:
    path = place / "beats.ndjson"
    make(band(BeatScenario(wander=wander), 110.0)).write(path)
    (place / "c.yaml").write_text(TEXT % (path, place / "out", more), "utf-8")
    return place / "c.yaml"


def test_a_patch_is_written_that_fits_the_configuration(tmp_path, capsys) -> None:
    config = written(tmp_path)
    before = config.read_bytes()
    out = tmp_path / "patch.yaml"
    assert main(["tune", str(config), "--out", str(out)]) == 0
    assert "in force" in capsys.readouterr().out
    gain = yaml.safe_load(out.read_text())["bridge"]["phase"]["gain"]
    assert config.read_bytes() == before
    whole = yaml.safe_load(before) | {}
    whole["bridge"]["phase"] = {"gain": gain}
    config.write_text(json.dumps(whole))
    assert load(config).config.bridge.phase.gain.kp == gain["kp"]


def test_a_file_is_never_overwritten(tmp_path, capsys) -> None:
    config, out = written(tmp_path), tmp_path / "patch.yaml"
    out.write_text("mine")
    with pytest.raises(SystemExit) as end:
        main(["tune", str(config), "--out", str(out)])
    assert end.value.code == 2
    assert "never overwrites" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_align_of_two_members_is_refused_and_the_gains_stay_judged(tmp_path, capsys) -> None:
    config = written(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["tune", "--over", "align", str(config)])
    assert end.value.code == 2
    assert main(["tune", "--over", "all", str(config)]) == 0
    shown = capsys.readouterr()
    assert "align needs a signal of 3 members: pulse has 2" in shown.err
    assert "gain on the half held back" in shown.out


def test_the_gains_at_an_entropy_are_those_of_the_curves(tmp_path, capsys) -> None:
    assert main(["tune", "--entropy", "0.3", str(written(tmp_path, more=CURVES))]) == 0
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert row == ["0.3", "0.2200", "0.0316", "0.1800"]


@pytest.mark.parametrize("ratio", ["-0.1", "1.1", "nan", "x"])
def test_an_entropy_out_of_range_is_refused(tmp_path, ratio, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        main(["tune", "--entropy", ratio, "c.yaml"])
    assert end.value.code == 2
    assert "is not an entropy ratio" in capsys.readouterr().err


def test_the_rule_of_thumb_reads_the_results_of_the_configuration(tmp_path, capsys) -> None:
    config = written(tmp_path)
    (tmp_path / "out").mkdir()
    line = json.dumps({"ts": 1.0, "phase_diff": 0.04, "sync_quality": 0.9})
    (tmp_path / "out" / "bridge.jsonl").write_text(f"{line}\n" * 20)
    assert main(["tune", "--method", "rules", str(config)]) == 0
    shown = capsys.readouterr().out
    assert "gain: {kp: 0.3, ki: 0.08, kd: 0.08}" in shown
    assert "rate -0.3 Hz: advice only, never applied" in shown


def test_a_recording_that_is_missing_is_named(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        main(["tune", str(tmp_path / "none"), str(written(tmp_path))])
    assert end.value.code == 2
    assert "none does not exist" in capsys.readouterr().err
