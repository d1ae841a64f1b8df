"""A release: the same bytes twice, notes, and a tag that only a clean and sound checkout gets."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ops.services import release
from ops.services.release import ReleaseError, check, notes, section, sums

ROOT = Path(__file__).parents[3]
CHANGELOG = """# Changes

## Unreleased

## 1.2.3 (2026-11-29)

### Added

- a thing

## 1.2.2

- old
"""


def git(folder: Path, *arguments: str) -> str:
    environ = {
        **os.environ, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": os.devnull,
    }  # fmt: skip
    done = subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True,
                          text=True, env=environ)  # fmt: skip
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of version 1.2.3 with its files in dist, and a gate that answers GO."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@b")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / ".gitignore").write_text("/dist/\n__pycache__\n")
    gate(tmp_path, 0, "slo GO")
    wheel = tmp_path / "dist" / "lumen_fusion-1.2.3-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"wheel")
    digest = hashlib.sha256(b"wheel").hexdigest()
    (tmp_path / "dist" / "SHA256SUMS").write_text(f"{digest}  {wheel.name}\n")
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def gate(folder: Path, code: int, text: str) -> None:
    """Write a command `lumen gate` that answers so."""
    (folder / "ops").mkdir(exist_ok=True)
    (folder / "ops" / "__init__.py").write_text("")
    (folder / "ops" / "__main__.py").write_text(
        f"import sys\nassert sys.argv[1:] == ['gate', '--require', 'slo,canary']\n"
        f"print({text!r})\nsys.exit({code})\n"
    )


def tagged(folder: Path, *arguments: str) -> int:
    return release.main(["tag", *arguments], root=folder)


def refusal(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert tagged(folder, *arguments) == 1
    assert git(folder, "tag") == ""
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_wheel_and_source_have_the_same_bytes_twice(tmp_path: Path) -> None:
    """Built at unlike times, by unlike names of folders, under another umask."""
    digests = []
    environ = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "TZ": "UTC"}
    for name, zone, umask in (("one", "UTC", 0o022), ("another", "Asia/Seoul", 0o077)):
        build = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path / name)]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True, umask=umask,
                       env={**environ, "TZ": zone})  # fmt: skip
        files = sorted((tmp_path / name).iterdir())
        assert [path.suffix for path in files] == [".whl", ".gz"]
        digests.append([(p.name, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files])
    assert digests[0] == digests[1]


def test_notes_are_the_section_of_the_version(checkout: Path) -> None:
    assert notes(checkout) == "### Added\n\n- a thing"
    assert section(CHANGELOG, "1.2.2") == "- old"
    assert section(CHANGELOG, "1.2") == ""
    (checkout / "pyproject.toml").write_text('[project]\nversion = "1.3.0"\n')
    text = CHANGELOG.replace("## Unreleased\n", "## Unreleased\n\n- new\n")
    (checkout / "CHANGELOG.md").write_text(text)
    assert notes(checkout) == "- new"
    (checkout / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    with pytest.raises(ReleaseError, match="changes under '## Unreleased'"):
        check(checkout, "v1.2.3")


def test_this_version_has_notes(capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main(["notes"]) == 0
    assert "### Added" in capsys.readouterr().out


def test_a_tag_is_compared_with_the_version(checkout: Path) -> None:
    check(checkout, "v1.2.3")
    for tag in ("v1.2.4", "1.2.3", "v1.2.30"):
        with pytest.raises(ReleaseError, match=r"expected v1\.2\.3"):
            check(checkout, tag)
    (checkout / "pyproject.toml").write_text('[project]\nversion = "1.3.0"\n')
    with pytest.raises(ReleaseError, match=r"no section '## 1\.3\.0'"):
        check(checkout, "v1.3.0")


def test_a_clean_checkout_after_go_is_tagged(checkout: Path) -> None:
    assert tagged(checkout) == 0
    text = git(checkout, "tag", "-l", "--format=%(contents)", "v1.2.3")
    for part in ("Gates: GO\nslo GO", "- a thing", "lumen_fusion-1.2.3-py3-none-any.whl"):
        assert part in text


def test_the_reason_for_no_gate_is_in_the_tag(checkout: Path) -> None:
    gate(checkout, 1, "NO-GO")
    git(checkout, "commit", "-qam", "second")
    assert tagged(checkout, "--without-gate", "no rig is running") == 0
    text = git(checkout, "tag", "-l", "--format=%(contents)", "v1.2.3")
    assert "Without gates: no rig is running" in text


@pytest.mark.parametrize(("code", "answer"), [(1, "NO-GO"), (3, "UNKNOWN"), (2, "no such command")])
def test_without_go_there_is_no_tag(
    checkout: Path, capsys: pytest.CaptureFixture[str], code: int, answer: str
) -> None:
    gate(checkout, code, answer)
    git(checkout, "commit", "-qam", "second")
    assert f"not GO (code {code}: {answer})" in refusal(checkout, capsys)


def test_a_reason_has_words(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tagged(checkout, "--without-gate", "x")
    assert "needs a reason" in capsys.readouterr().err


def test_changes_another_branch_and_a_used_tag_are_refused(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / "new").write_text("")
    assert "has changes" in refusal(checkout, capsys)
    (checkout / "new").unlink()
    git(checkout, "checkout", "-qb", "side")
    assert "the branch is side" in refusal(checkout, capsys)
    git(checkout, "checkout", "-q", "main")
    git(checkout, "tag", "v1.2.3")
    assert tagged(checkout) == 1
    assert "the tag v1.2.3 exists" in capsys.readouterr().err


def test_files_that_are_not_those_of_their_sums_are_refused(checkout: Path) -> None:
    sums(checkout)
    wheel = next((checkout / "dist").glob("*.whl"))
    wheel.write_bytes(b"other")
    with pytest.raises(ReleaseError, match="is not the file of its sum"):
        sums(checkout)
    wheel.unlink()
    with pytest.raises(ReleaseError, match="incomplete"):
        sums(checkout)
    (checkout / "dist" / "SHA256SUMS").write_text("")
    with pytest.raises(ReleaseError, match="no wheel of version"):
        sums(checkout)


def test_the_target_makes_every_part_of_a_release() -> None:
    done = subprocess.run(
        ["make", "-n", "-B", "release.pack"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    parts = ("hatchling build", "sbom.json", "licences.txt", "changelog.md", "SHA256SUMS")
    assert all(part in done.stdout for part in parts)
    assert re.search(r"SOURCE_DATE_EPOCH=\$\(git log -1 --format=%ct\)", done.stdout)
