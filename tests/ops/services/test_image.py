"""The image without a registry: its instructions, and a flow in the tree that they make."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ops.services import image
from ops.services.image import FILE, ImageError, Step, settings, steps
from tests.support import skips

ROOT = Path(__file__).parents[3]
TREE = ROOT / ".image" / "tree"
USER = 10001
MAX_LAYOUT_MB = 200


def test_every_instruction_of_the_container_file_is_known() -> None:
    listed = steps(FILE.read_text())
    assert [step.word for step in listed][:3] == ["FROM", "RUN", "COPY"]
    made = settings(listed)
    pairs = [*zip(made[::2], made[1::2], strict=True)]
    assert ("--config.user", f"{USER}:{USER}") in pairs
    assert ("--config.volume", "/data") in pairs
    assert [value for name, value in pairs if name == "--config.entrypoint"] == ["lumen"]
    assert next(value for name, value in pairs if name == "--config.cmd") == "run"


def test_lines_go_on_and_comments_are_left_out() -> None:
    assert steps("# a\n\nRUN a && \\\n  b\n") == [Step("RUN", "a &&    b")]


@pytest.mark.parametrize("line", ["ADD x y", 'SHELL ["sh"]', "run x"])
def test_an_unknown_instruction_is_refused(line: str) -> None:
    with pytest.raises(ImageError, match="is not known here"):
        steps(f"FROM debian:x\n{line}\n")


def test_every_package_of_the_image_comes_by_hash() -> None:
    runs = [
        rest for word, rest in steps(FILE.read_text()) if word == "RUN" and "pip install" in rest
    ]
    assert len(runs) == 2
    assert all("--require-hashes" in run or "--no-index" in run for run in runs)


def test_missing_programs_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert image.main(["--into", str(tmp_path / "image")]) == 1
    assert capsys.readouterr().err == (
        "lumen: no mmdebstrap and no umoci here: apt install mmdebstrap umoci\n"
    )


def test_files_lent_to_a_command_are_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "_HOST_FILES", ("etc/hostname", "etc/passwd", "etc/group"))
    monkeypatch.setattr(image, "_PIP_FOLDERS", ())
    monkeypatch.setattr(image, "_environment", dict)
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "passwd").write_text("own\n")
    (etc / "group").write_text("own\n")
    with pytest.raises(ZeroDivisionError), image._lent(tmp_path):
        assert (etc / "passwd").read_bytes() == Path("/etc/passwd").read_bytes()
        (etc / "group").write_text("written by the command\n")
        raise ZeroDivisionError
    assert (etc / "passwd").read_text() == "own\n"
    assert (etc / "group").read_text() == "written by the command\n"
    assert not (etc / "hostname").exists()


@pytest.mark.skipif(not TREE.exists(), reason=skips.reason(["image"], "image"))
@pytest.mark.skipif(os.geteuid() != 0, reason="a chroot is for root alone")
def test_a_flow_runs_in_the_tree_as_nobody(tmp_path: Path) -> None:
    """The user of the image, its environment, and /data as the only place that it may write to."""
    values = {}
    for word, rest in steps(FILE.read_text()):
        if word == "ENV":
            name, _, value = rest.partition("=")
            values[name] = value
    shell = "cd /data && lumen replay /opt/lumen/lib/python3*/site-packages/lumen_fusion/configs"
    command = f"{shell}/recordings/rehearsal.ndjson.gz && lumen --version && touch /data/x"
    chroot = shutil.which("chroot") or "/usr/sbin/chroot"
    done = subprocess.run(
        [chroot, f"--userspec={USER}:{USER}", TREE, "/bin/sh", "-ec", command],
        env=values, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Account of events, balanced" in done.stdout
    written = subprocess.run(
        ["find", TREE, "-xdev", "-uid", str(USER), "-not", "-path", f"{TREE}/data*"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert written.stdout == ""
    layout = (TREE.parent / "oci").rglob("*")
    assert sum(path.stat().st_size for path in layout if path.is_file()) <= MAX_LAYOUT_MB * 1e6
    assert not list((TREE / "root").rglob("pip.conf"))
