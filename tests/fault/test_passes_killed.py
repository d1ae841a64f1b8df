"""Two passes give the same bytes whatever happens in either of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from configs.load import load
from configs.schema import Config
from ops.__main__ import main
from ops.bench.kill_points import MODULE, Point, attempt
from ops.cli.verify import VerifyResult, digests, replay, run, write_config
from ops.engine_runs import command, make_store
from ops.simulate.recording import make, write
from ops.simulate.scenario import Scenario, Sensor
from sinks.files.folder import HINDSIGHT

CONFIG = """version: 2
streams: [{{name: both, type: file, path: "{folder}/both.ndjson", batch_lines: 100}}]
signals:
  pulse:
    reference: "ure:pulse"
    members:
      "ure:pulse": {{group: ure}}
      "osc_1:/body/pulse": {{group: sensors}}
align: {{max_lag_s: 1.0, window_s: 30, hop_s: 5}}
collect: {{block_s: 1}}
quality: {{window_s: 30}}
output: {{dir: "{folder}/out", sync_every_s: 5}}
mode: hindsight
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return where a recording of two rigs lies, with faults of every kind in it."""
    place = tmp_path_factory.mktemp("both")
    sensors = (
        Sensor("ure", "pulse", 10.0, "ure", noise=0.1, loss=0.02),
        Sensor(
            "osc_1", "/body/pulse", 25.0, offset_s=-3.2, skew_ppm=87.0, lag_s=0.18, noise=0.12,
            loss=0.02, duplicates=5, wild=1, outliers=0.01, resets=((40.0, 0.5),),
            silent=((48.0, 52.0),),
        ),
    )  # fmt: skip
    rigs = (make(Scenario(60.0, sensors, rig=rig, damaged=3), i) for i, rig in enumerate("ab"))
    write(place / "both.ndjson", *rigs)
    (place / "both.yaml").write_text(CONFIG.format(folder=place))
    return place


@pytest.fixture(scope="module")
def config(folder) -> Config:
    return load(folder / "both.yaml").config


@pytest.fixture(scope="module")
def plain(folder, config) -> VerifyResult:
    """Return the quiet run."""
    out = folder / "plain"
    result = replay("plain", write_config(config, folder / "p.yaml", out), out)
    assert result.digests["fused"] != "empty"
    assert (out / HINDSIGHT).stat().st_size > 500
    return result


@pytest.mark.parametrize("lines", [1, 37, 10_000])
def test_any_batch_size_gives_the_same_bytes(plain, config, tmp_path, lines):
    path = write_config(config, tmp_path / "c.yaml", tmp_path / "out", batch_lines=lines)
    assert replay("batches", path, tmp_path / "out").digests == plain.digests


@pytest.mark.parametrize(
    "points",
    [
        [Point("first", 1)],
        [Point("first", 25)],
        [Point("draft", 1)],
        [Point("shown", 1)],
        [Point("write", 1)],
        [Point("torn", 15)],
        [Point("snapshot", 12)],
        [Point("first", 7), Point("draft", 1), Point("shown", 1), Point("cut", 9), Point("end", 1)],
    ],
    ids=lambda points: "-".join(f"{p.at}{p.n}" for p in points),
)
def test_a_killed_run_goes_on_to_the_same_bytes(plain, config, tmp_path, points):
    outcome = attempt(config, tmp_path / "try", plain.digests, points)
    assert outcome.killed == len(points)
    assert outcome.same


def test_a_resumed_run_takes_the_findings_that_it_began_with(plain, config, tmp_path):
    out, store = tmp_path / "out", make_store(tmp_path / "store")
    path = write_config(config, tmp_path / "c.yaml", out)
    assert run(command(path, store, MODULE), (-9,), LUMEN_KILL="write 9") == -9
    made = (out / HINDSIGHT).stat()
    run(command(path, store))
    assert (out / HINDSIGHT).stat().st_ino == made.st_ino, "no second first pass"
    assert digests(out) == plain.digests


@pytest.mark.parametrize("damage", ["gone", "empty", "half", "altered", "foreign"])
def test_findings_that_are_not_whole_are_made_anew(plain, config, tmp_path, damage):
    out, store = tmp_path / "out", make_store(tmp_path / "store")
    path = write_config(config, tmp_path / "c.yaml", out)
    assert run(command(path, store, MODULE), (-9,), LUMEN_KILL="write 9") == -9
    file = out / HINDSIGHT
    data = file.read_bytes()
    file.unlink()
    if damage != "gone":
        altered = bytearray(data)
        altered[len(data) // 2] ^= 1
        forms = {"empty": b"", "half": data[: len(data) // 2], "altered": bytes(altered),
                 "foreign": b"PK\3\4" + data[4:]}  # fmt: skip
        file.write_bytes(forms[damage])
    run(command(path, store))
    assert file.read_bytes() == data
    assert digests(out) == plain.digests


def test_findings_of_another_configuration_are_made_anew(plain, config, tmp_path):
    out = tmp_path / "out"
    other = write_config(config, tmp_path / "other.yaml", out, batch_lines=50)
    run(command(other))
    made = (out / HINDSIGHT).read_bytes()
    path = write_config(config, tmp_path / "c.yaml", out)
    run(command(path, make_store(tmp_path / "store")))
    assert (out / HINDSIGHT).read_bytes() != made
    assert digests(out) == plain.digests


def test_a_run_does_not_go_on_with_another_recording(folder, config, tmp_path):
    recording = tmp_path / "both.ndjson"
    recording.write_bytes((folder / "both.ndjson").read_bytes())
    out, store = tmp_path / "out", make_store(tmp_path / "store")
    moved = msgspec.structs.replace(config.streams[0], path=str(recording))
    config = msgspec.structs.replace(config, streams=[moved])
    path = write_config(config, tmp_path / "c.yaml", out)
    assert run(command(path, store, MODULE), (-9,), LUMEN_KILL="write 9") == -9
    before = digests(out)
    with recording.open("ab") as file:
        file.write(b'{"ts": 1730000061, "source": "ure", "key": "pulse", "value": 1}\n')
    done = subprocess.run(command(path, store), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "is of another configuration" in done.stderr
    assert digests(out) == before


def test_verify_shows_it_in_both_modes(folder, tmp_path, capsys):
    lines = (folder / "both.ndjson").read_bytes().splitlines(keepends=True)
    short = tmp_path / "short.ndjson"
    short.write_bytes(b"".join(lines[:1200]))
    for mode, row in (("hindsight", "killed in pass 1"), ("causal", "speed 1000")):
        assert main(["verify", str(short), f"--{mode}"]) == 0
        shown = capsys.readouterr().out
        assert ("killed in pass 1" in shown) == (mode == "hindsight")
        assert ("speed 50" in shown) == (mode == "causal"), "two passes have no speed"
        assert row in shown
        assert shown.rstrip().endswith("Every run gave the same bytes.")
