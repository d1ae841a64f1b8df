"""The folder of a run, for tests of configurations."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test in a folder with a recording, an empty folder of rules and a tape."""
    (tmp_path / "demo.ndjson").touch()
    (tmp_path / "rules").mkdir()
    (tmp_path / "tape").mkdir()
    (tmp_path / "tape/tape.json").touch()
    monkeypatch.chdir(tmp_path)
