"""Units of systemd: sound, hardened, installed, and a flow that runs under their limits."""

from __future__ import annotations

import ctypes.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ops.monitoring import heartbeat
from ops.services import install
from ops.services.install import SHIPPED, flow_name, unit_text
from ops.services.unit_file import parse, read_unit, unit_files

ROOT = Path(__file__).parents[3]
SERVICES = sorted(path.name for path in SHIPPED.glob("*.service"))
NAMES = ("lumen@", "lumen-store@", "lumen-heartbeat", "lumen-snapshot@", "lumen-drill@")
MAX_EXPOSURE = 2.0
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze here"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("root")
    arguments = ["--root", str(made), "--config", str(ROOT / "configs" / "live.yaml")]
    assert install.main([*arguments, "--prometheus", str(made / "etc" / "prometheus")]) == 0
    return made


@pytest.fixture(scope="module")
def units(root: Path) -> Path:
    """The units, their templates as those of the flow `main`."""
    folder = root / "verified"
    folder.mkdir()
    for path in (root / install.UNITS).iterdir():
        if path.suffix in (".service", ".timer"):
            name = path.name.replace("@.", "@main.")
            text = path.read_text().replace(sys.executable, "/bin/true")
            (folder / name).write_text(
                re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.M)
            )
    return folder


def test_the_units_of_the_documents_are_there() -> None:
    assert {f"{name}.service" for name in NAMES} == set(SERVICES)
    timers = {path.stem for path in SHIPPED.glob("*.timer")}
    assert timers == {"lumen-heartbeat", "lumen-snapshot", "lumen-drill"}


@needs_systemd
def test_systemd_takes_every_unit_without_a_remark(units: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", *sorted(map(str, units.iterdir()))],
        capture_output=True, text=True,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if "lumen" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


@needs_systemd
def test_a_misspelt_key_is_found(units: Path, tmp_path: Path) -> None:
    text = (units / "lumen@main.service").read_text().replace("ProtectHome", "ProtectHom")
    (tmp_path / "lumen@main.service").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "lumen@main.service")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert "ProtectHom" in done.stderr


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_the_exposure_of_each_service_is_small(units: Path, name: str) -> None:
    path = units / name.replace("@.", "@main.")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None
    assert float(found[1]) <= MAX_EXPOSURE


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="no systemctl here")
def test_the_units_can_be_enabled(root: Path) -> None:
    wanted = ["lumen@main.service", "lumen-heartbeat.timer", "lumen-snapshot.timer"]
    subprocess.run(["systemctl", f"--root={root}", "enable", *wanted], check=True,
                   capture_output=True)  # fmt: skip
    folder = root / install.UNITS
    assert (folder / "multi-user.target.wants" / "lumen@main.service").is_symlink()
    assert (folder / "timers.target.wants" / "lumen-heartbeat.timer").is_symlink()


def test_a_bad_configuration_is_not_restarted() -> None:
    for name in ("lumen@.service", "lumen-store@.service"):
        unit = parse((SHIPPED / name).read_text())
        assert unit["Restart"] == ["on-failure"]
        assert unit["RestartPreventExitStatus"] == ["2"]


def test_every_service_has_the_same_limits() -> None:
    limits = ("ProtectSystem", "PrivateUsers", "NoNewPrivileges", "MemoryDenyWriteExecute",
              "IPAddressDeny", "SystemCallFilter")  # fmt: skip
    units = [parse((SHIPPED / name).read_text()) for name in SERVICES]
    assert all({key: unit[key] for key in limits} == {key: units[0][key] for key in limits}
               for unit in units)  # fmt: skip
    assert all(unit["CapabilityBoundingSet"] == [] for unit in units)


def test_units_of_one_flow_share_its_user_and_folder() -> None:
    for name in SERVICES:
        if "@" not in name:
            continue
        unit = parse((SHIPPED / name).read_text())
        assert (unit["DynamicUser"], unit["User"]) == (["yes"], ["lumen-%i"])
        assert unit["StateDirectory"] == ["lumen/%i"]


def test_the_heartbeat_of_the_unit_beats(root: Path, tmp_path: Path) -> None:
    unit = read_unit(unit_files(root, "lumen-heartbeat.service"))
    (command,) = unit["ExecStart"]
    assert command.startswith(f"{sys.executable} -P -m {heartbeat.__name__} ")
    asked = [*command.split()[:-1], str(tmp_path)]
    subprocess.run(asked, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (tmp_path / "heartbeat_prod.prom").exists()


CONFINED = """
import ctypes, os, subprocess, sys

def names(group):
    asked = ["systemd-analyze", "syscall-filter", group]
    lines = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    found = set()
    for word in (line.strip() for line in lines[1:]):
        if word and not word.startswith("#"):
            found |= names(word) if word.startswith("@") else {word}
    return found

admitted = names("@system-service") - names("@privileged") - names("@resources")
seccomp, libc = ctypes.CDLL("libseccomp.so.2"), ctypes.CDLL(None)
seccomp.seccomp_init.restype = ctypes.c_void_p
seccomp.seccomp_rule_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint]
seccomp.seccomp_load.argtypes = [ctypes.c_void_p]
REFUSED, ADMITTED = 0x00050001, 0x7FFF0000
rules = seccomp.seccomp_init(REFUSED)
for name in admitted:
    if (number := seccomp.seccomp_syscall_resolve_name(name.encode())) >= 0:
        assert seccomp.seccomp_rule_add(rules, ADMITTED, number, 0) == 0
PR_SET_MDWE, PR_SET_NO_NEW_PRIVS = 65, 38
written = libc.prctl(PR_SET_MDWE, ctypes.c_ulong(1), 0, 0, 0)
assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert seccomp.seccomp_load(rules) == 0
os.umask(0o077)
print("write xor execute:", "yes" if written == 0 else "this kernel cannot")
sys.stdout.flush()
os.execv(sys.argv[1], sys.argv[1:])
"""


@needs_systemd
@pytest.mark.skipif(ctypes.util.find_library("seccomp") is None, reason="no libseccomp here")
def test_a_flow_runs_under_the_calls_and_memory_that_the_unit_admits(tmp_path: Path) -> None:
    """Covers SystemCallFilter, NoNewPrivileges, UMask and MemoryDenyWriteExecute."""
    unit = parse((SHIPPED / "lumen@.service").read_text())
    assert unit["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]
    recording = ROOT / "configs" / "recordings" / "rehearsal.ndjson.gz"
    done = subprocess.run(
        [sys.executable, "-c", CONFINED, sys.executable, "-m", "ops", "replay", str(recording)],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Account of events, balanced" in done.stdout


# -- installation --------------------------------------------------------------------------------


def test_the_program_is_that_of_the_interpreter(tmp_path: Path) -> None:
    python = tmp_path / "50 % off" / "python"
    python.parent.mkdir()
    text = unit_text("ExecStart=@LUMEN@ run\n", python)
    assert text == f'ExecStart="{tmp_path}/50 %% off/python" -P -m ops run\n'
    python.with_name("lumen").touch()
    text = unit_text("ExecStart=@LUMEN@ run\n", python)
    assert text == f'ExecStart="{tmp_path}/50 %% off/lumen" run\n'


def test_another_configuration_stays(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (root / "etc/lumen/main.yaml").read_bytes()
    other = str(ROOT / "configs" / "stage.yaml")
    assert install.main(["--root", str(root), "--config", other]) == 2
    assert "another configuration" in capsys.readouterr().err
    assert (root / "etc/lumen/main.yaml").read_bytes() == before
    assert install.main(["--root", str(root), "--config", other, "--name", "stage"]) == 0
    assert (root / "etc/lumen/stage.yaml").exists()


def test_a_bad_configuration_installs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text("version: 2\n")
    assert install.main(["--root", str(tmp_path), "--config", str(tmp_path / "c.yaml")]) == 2
    assert "c.yaml:1:1:" in capsys.readouterr().err
    assert not (tmp_path / "etc").exists()


def test_the_configuration_of_prometheus_before_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "prometheus"
    folder.mkdir()
    (folder / "prometheus.yml").write_text("global: {}\n")
    for _ in range(2):
        assert install.main(["--root", str(tmp_path), "--prometheus", str(folder)]) == 0
    assert (folder / "prometheus.yml.before").read_text() == "global: {}\n"
    assert (folder / "rules" / "energy.yml").exists()


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "etc").write_text("a file")
    assert install.main(["--root", str(tmp_path)]) == 1
    assert f"{tmp_path}/etc" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "a/b", "a b", "x" * 26, "%i", "ü"])
def test_names_that_are_no_user_s_are_refused(name: str) -> None:
    with pytest.raises(Exception, match="is not 1 to 25"):
        flow_name(name)
