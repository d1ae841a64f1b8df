"""The pages of three users: at most ten commands each, and every one of them runs.

Packages come from `.fresh` (`make fresh`) in the place of a registry, and the project itself is
built here. Fixed ports become free ones, `/opt/lumen` and `/etc` folders of the test.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.fakes.ports import free_port
from ops.services.unit_file import last, parse
from tests.support import skips
from tests.support.waiting import HUNG_S, until

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "ops" / "docs"
PAGES = ("ARTIST", "LABORATORY", "OPERATOR")
TOOLS, WHEELS = ROOT / ".tools" / "bin", ROOT / ".fresh"
MAX_COMMANDS = 10
MAX_ENVIRONMENT_MB = 250
needs_fresh = pytest.mark.skipif(
    not (WHEELS.exists() and (TOOLS / "pipx").exists()),
    reason=skips.reason(["pipx", "wheels"], "fresh"),
)


def commands(page: str) -> list[str]:
    """Return the commands of a page, without their comments."""
    text = (DOCS / f"{page}.md").read_text("utf-8")
    (block,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line.partition("  #")[0].strip() for line in block.splitlines()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    shutil.copy(ROOT / "requirements.run.lock", folder)
    return next(folder.glob("*.whl"))


class Shell:
    """Runs commands in an empty folder, with packages from files alone."""

    def __init__(self, folder: Path, wheel: Path, path: str) -> None:
        self.folder, self.page = folder / "empty", free_port()
        self.folder.mkdir()
        offline = {"NO_INDEX": "1", "FIND_LINKS": f"{WHEELS} {wheel.parent}"}
        self.environ = {
            "HOME": str(folder), "PATH": path, "LUMEN_URL": f"http://127.0.0.1:{self.page}",
            "LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1",
            **{f"PIP_{name}": value for name, value in offline.items()},
            "UV_OFFLINE": "1", "UV_CACHE_DIR": str(folder / "uv"),
            "PIPX_DEFAULT_PYTHON": sys.executable, "PIPX_DEFAULT_BACKEND": "pip",
        }  # fmt: skip

    def run(self, command: str, *, code: int = 0) -> str:
        """Run a command; return its output."""
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self.environ, capture_output=True,
            text=True, timeout=500,
        )  # fmt: skip
        assert done.returncode == code, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout + done.stderr

    @contextmanager
    def running(self, command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command until the end of the block, where Ctrl-C ends it with code 0."""
        log = self.folder.parent / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                shlex.split(command), cwd=self.folder, env=self.environ, stdout=file, stderr=file
            )
        try:
            yield process
            process.send_signal(signal.SIGINT)
            assert process.wait(HUNG_S) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()

    def watched(self, process: subprocess.Popen[bytes]) -> str:
        """Wait for the page of a run; return what `lumen watch --once` shows."""
        shown: list[str] = []

        def answers() -> bool:
            done = subprocess.run(
                ["lumen", "watch", "--once"], cwd=self.folder, env=self.environ,
                capture_output=True, text=True,
            )  # fmt: skip
            shown[:] = [done.stdout]
            return done.returncode == 0

        until(answers, lambda: (self.folder.parent / "log").read_text(), process, every_s=0.2)
        return shown[0]


def stage(shell: Shell) -> tuple[Path, int]:
    """Write the shipped stage with free ports; return it and the port of a phone."""
    ports = {"9000": free_port(), "9001": free_port(), "9010": free_port()}
    text = (ROOT / "configs" / "stage.yaml").read_text()
    for old, new in ports.items():
        text = text.replace(f":{old}", f":{new}")
    text = text.replace("exporter: {}", f"exporter: {{http_port: {shell.page}}}")
    path = shell.folder.parent / "stage.yaml"
    path.write_text(text)
    return path, ports["9000"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_ten_commands_at_most(page: str) -> None:
    assert 5 < len(commands(page)) <= MAX_COMMANDS


@pytest.mark.parametrize("page", PAGES)
def test_the_first_page_names_it(page: str) -> None:
    assert f"({page}.md)" in (ROOT / "README.md").read_text() or (
        f"(ops/docs/{page}.md)" in (ROOT / "README.md").read_text()
    )


@needs_fresh
def test_the_page_of_artists(tmp_path: Path, wheel: Path) -> None:
    shell = Shell(tmp_path, wheel, f"{tmp_path}/.local/bin:{TOOLS}:/usr/bin:/bin")
    config, port = stage(shell)
    install, demo, doctor, check, devices, run, watch, listen, heard = commands("ARTIST")
    shell.run(install)
    (environment,) = tmp_path.glob(".local/**/venvs/lumen-fusion")
    size = sum(path.lstat().st_size for path in environment.rglob("*") if not path.is_dir())
    assert size <= MAX_ENVIRONMENT_MB * 1e6
    assert "Account of events, balanced" in shell.run(demo)
    done = subprocess.run(shlex.split(doctor), cwd=shell.folder, env=shell.environ,
                          capture_output=True, text=True)  # fmt: skip
    assert done.stdout.startswith("ok    python")
    assert "rig stage" in shell.run(check)
    with shell.running(run.replace("stage", str(config))) as process:
        assert watch == "lumen watch --once"
        shell.watched(process)
        shell.run(devices.replace("stage", str(config)).replace("30 &", "3"))
        assert "motion" in shell.watched(process)
    with shell.running(devices.replace("stage", str(config)).replace("30 &", "60")):
        shell.run(f"{listen.replace('20', '6')} --osc {port}")
    written = shell.folder / "heard.yaml"
    text = re.sub(r"^exporter:.*$", f"exporter: {{http_port: {shell.page}}}", written.read_text(),
                  flags=re.MULTILINE)  # fmt: skip
    written.write_text(text)
    with shell.running(heard) as process:
        shell.watched(process)


@needs_fresh
def test_the_command_without_an_installation(tmp_path: Path, wheel: Path) -> None:
    shell = Shell(tmp_path, wheel, f"{TOOLS}:/usr/bin:/bin")
    assert "`uvx lumen-fusion demo`" in (DOCS / "ARTIST.md").read_text()
    places = f"--find{'-links'} {WHEELS} --find{'-links'} {wheel.parent} --prerelease allow"
    shown = shell.run(f"uvx --offline --python {sys.executable} {places} lumen-fusion demo")
    assert "Account of events, balanced" in shown
    assert {path.name for path in shell.folder.iterdir()} == {"out"}


@needs_fresh
def test_the_page_of_laboratories(tmp_path: Path, wheel: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "lab")], check=True)
    # Another project's package of a name that this one has in its checkout.
    (found,) = (tmp_path / "lab").glob("lib/python*/site-packages")
    (found / "ops").mkdir()
    (found / "ops" / "__init__.py").write_text("class CharmBase: ...\n")
    shell = Shell(tmp_path, wheel, f"{tmp_path}/lab/bin:/usr/bin:/bin")
    install, *rest = commands("LABORATORY")
    shell.run(install.replace("pip install", "pip install --pre --no-compile"))
    for command in rest:
        shell.run(command)
    names = {path.name for path in shell.folder.iterdir()}
    assert {"take.ndjson", "take.parquet", "out", "out.report"} <= names
    assert (shell.folder / "out.report" / "methods.txt").stat().st_size
    shell.run('python -c "import ops; ops.CharmBase"')
    shell.run(
        "python -c \"import lumen_fusion.ops.results as r; print(r.open('out').fused['ts'])\""
    )


@needs_fresh
def test_the_page_of_operators(tmp_path: Path, wheel: Path) -> None:
    home = tmp_path / "opt"
    shell = Shell(tmp_path, wheel, f"{home}/bin:{Path(sys.executable).parent}:/usr/bin:/bin")
    for path in wheel.parent.iterdir():
        shutil.copy(path, shell.folder)
    config, _ = stage(shell)
    shutil.copy(config, shell.folder / "main.yaml")
    packages, venv, locked, own, check, install, enable, restart, doctor, watch = (
        line.replace("/opt/lumen", str(home)) for line in commands("OPERATOR")
    )
    for command in (venv, locked, own):
        shell.run(command.replace("python3 ", f"{sys.executable} ", 1))
    assert "rig stage" in shell.run(check)
    root = tmp_path / "root"
    shell.run(install.replace("/etc/prometheus", f"{root}/etc/prometheus") + f" --root {root}")
    unit = parse((root / "etc/systemd/system/lumen@.service").read_text())
    start = last(unit, "ExecStart").replace("%i", "main").replace("/etc/", f"{root}/etc/")
    assert start.startswith(f"{home}/bin/lumen run ")
    if shutil.which("systemctl"):
        shell.run(enable.replace("systemctl", f"systemctl --root={root}").replace(" --now", ""))
        assert (root / "etc/systemd/system/timers.target.wants/lumen-drill.timer").is_symlink()
    assert restart.split()[2:] == ["prometheus", "prometheus-alertmanager"]
    assert set(restart.split()[2:]) <= set(packages.split())
    assert "lumen@main.service" in shell.run(doctor, code=1)
    beat = parse((root / "etc/systemd/system/lumen-heartbeat.service").read_text())
    shell.run(last(beat, "ExecStart").replace("%S/lumen-heartbeat", str(tmp_path)))
    assert (tmp_path / "heartbeat_prod.prom").exists()
    with shell.running(start) as process:
        shell.watched(process)
    assert watch == f"{home}/bin/lumen watch --once"
    assert os.access(shell.folder / "state", os.W_OK)
