"""The same recording and configuration give the same bytes, however they are replayed."""

import json
import shutil
from pathlib import Path

import pytest

from ops.bench.kill_points import Point, attempt, configuration
from ops.cli.verify import digests, replay, write_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("both")


@pytest.fixture(scope="module")
def plain(folder) -> dict[str, str]:
    """Digests of the quiet run."""
    out = folder / "plain"
    result = replay("plain", write_config(configuration(folder), folder / "p.yaml", out), out)
    run = json.loads((out / "run.json").read_bytes())
    assert run["balanced"]
    assert run["rigs"] == ["a", "b", "studio"]  # what cannot be decoded names no rig
    assert all((out / rig / "fused.jsonl").stat().st_size > 10_000 for rig in "ab")
    assert (out / "studio" / "dead.jsonl").stat().st_size > 0
    assert min(run["account"]["total"][end] for end in ("duplicate", "outliers", "rejected")) > 0
    return result.digests


@pytest.mark.parametrize("lines", [1, 37, 10_000])
def test_any_batch_size_gives_the_same_bytes(folder, plain, tmp_path, lines):
    path = write_config(
        configuration(folder), tmp_path / "c.yaml", tmp_path / "out", batch_lines=lines
    )
    assert replay("batches", path, tmp_path / "out").digests == plain


@pytest.mark.parametrize("speed", [20, 1000])
def test_any_speed_gives_the_same_bytes(folder, plain, tmp_path, speed):
    path = write_config(configuration(folder), tmp_path / "c.yaml", tmp_path / "out", speed=speed)
    assert replay("speed", path, tmp_path / "out").digests == plain


def test_segments_put_together_are_the_unrotated_run(folder, plain, tmp_path):
    out = tmp_path / "out"
    path = write_config(configuration(folder, rotate_mb=0.02), tmp_path / "c.yaml", out)
    assert replay("rotated", path, out).digests == plain
    assert len(list(out.glob("a/fused.*.jsonl"))) > 2


@pytest.mark.parametrize(
    ("points", "rotate_mb"),
    [
        ([Point("write", 1)], 256),
        ([Point("write", 20)], 0.02),
        ([Point("snapshot", 12)], 0.02),
        ([Point("torn", 15)], 0.02),
        ([Point("cut", 25)], 0.02),
        ([Point("begin", 3)], 0.02),
        ([Point("end", 1)], 256),
        ([Point("make", 9)], 256),
        ([Point("made", 125)], 256),
        ([Point("full", 60_000)], 0.02),
        ([Point("write", 9), Point("torn", 2), Point("snapshot", 5)], 0.02),
    ],
    ids=lambda x: "-".join(f"{p.at}{p.n}" for p in x) if isinstance(x, list) else str(x),
)
def test_a_killed_run_goes_on_to_the_same_bytes(folder, plain, tmp_path, points, rotate_mb):
    config = configuration(folder, rotate_mb)
    outcome = attempt(config, tmp_path / "try", plain, points)
    assert outcome.killed == len(points)
    assert outcome.same


def test_a_difference_would_be_seen(folder, plain, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(folder / "plain", out)
    assert digests(out) == plain
    with (out / "b" / "sync.jsonl").open("rb+") as file:
        file.write(b" ")
    assert digests(out) != plain
