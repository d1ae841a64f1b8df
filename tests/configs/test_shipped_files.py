"""Shipped files are found by name where no file of that path exists."""

from pathlib import Path

import pytest

from configs.load import load
from configs.shipped import shipped

FOLDER = Path(__file__).parents[2] / "configs"


@pytest.fixture(autouse=True)
def an_empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("stage", "stage.yaml"),
        ("bridge", "bridge.yaml"),
        ("configs/fusion.yaml", "fusion.yaml"),
        ("demo:fusion.yaml", "fusion.yaml"),
        ("demo:recordings/demo.ndjson.gz", "recordings/demo.ndjson.gz"),
        ("configs/rules/risk_map.yaml", "rules/risk_map.yaml"),
    ],
)
def test_a_shipped_file_is_found_by_its_name(name, file):
    assert shipped(name) == str(FOLDER / file)


@pytest.mark.parametrize(
    "path",
    [
        "demo:../README.md",
        "demo:unknown",
        "stage.yaml",
        "unknown",
        "configs/unknown.yaml",
        "configs/../README.md",
        "/etc/hosts",
        "",
    ],
)
def test_another_path_stays(path):
    assert shipped(path) == path


def test_a_file_of_that_path_is_preferred(tmp_path):
    (tmp_path / "stage").write_text("")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "fusion.yaml").write_text("")
    assert shipped("stage") == "stage"
    assert shipped("configs/fusion.yaml") == "configs/fusion.yaml"


def test_a_shipped_configuration_finds_its_recording_and_rules():
    loaded = load("fusion")
    (stream,) = loaded.config.streams
    assert stream.path == str(FOLDER / "recordings" / "demo.ndjson.gz")
    assert len(loaded.rules) > 0


def test_a_shipped_configuration_in_its_checkout_keeps_its_paths(monkeypatch):
    monkeypatch.chdir(FOLDER.parent)
    (stream,) = load("configs/fusion.yaml").config.streams
    assert stream.path == "configs/recordings/demo.ndjson.gz"
