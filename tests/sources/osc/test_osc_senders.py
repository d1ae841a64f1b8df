"""Where programs of others are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.monitoring import programs as peers
from ops.monitoring.programs import PeerError, peer


def program(folder: Path) -> str:
    folder.mkdir()
    made = folder / "amtool"
    made.touch(0o755)
    return str(made)


def test_what_is_installed_comes_before_what_was_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = program(tmp_path / "fetched")
    monkeypatch.setattr(peers, "_FETCHED", tmp_path / "fetched")
    monkeypatch.setenv("PATH", str(tmp_path / "installed"))
    assert peer("amtool") == fetched
    installed = program(tmp_path / "installed")
    assert peer("amtool") == installed


def test_what_is_not_here_is_named_with_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "_FETCHED", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PeerError, match="no amtool here: run `make peers`"):
        peer("amtool")
