"""`lumen doctor --service`: what a hardened unit refuses that a configuration needs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ops.__main__ import main
from ops.services import install, service_findings
from ops.services.service_findings import SHOWN, examine_service
from ops.services.unit_file import last, parse, read_unit, unit_files

LIVE = """version: 2
streams: [{{name: a, type: osc, addr: "{addr}"}}{more}]
signals: {{s: {{members: {{"a:/x": {{}}}}}}}}
failover: {{fallback: sensors_only}}
output: {{dir: {out}}}
"""
ACTIVE = dict(zip(SHOWN, ("loaded", "active", "running", "success", "0", "0"), strict=True))


def quiet(_: str) -> dict[str, str]:
    return ACTIVE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    assert install.main(["--root", str(tmp_path)]) == 0
    python = tmp_path / "opt/lumen/bin/python"
    python.parent.mkdir(parents=True)
    for name in ("python", "lumen"):
        python.with_name(name).touch(0o755)
    install.install(tmp_path, Path("/opt/lumen/bin/python"), None, "main", None)
    for path in (tmp_path / install.UNITS).glob("*.service"):
        text = path.read_text().replace("/opt/lumen/bin/python -P -m ops ", "/opt/lumen/bin/lumen ")
        path.write_text(text)
    configure(tmp_path)
    return tmp_path


def configure(root: Path, addr: str = "127.0.0.1:9000", more: str = "", out: str = "out") -> Path:
    path = root / "etc/lumen/main.yaml"
    path.write_text(LIVE.format(addr=addr, more=more, out=out))
    path.chmod(0o644)
    return path


def found(root: Path, show: Callable[[str], dict[str, str]] = quiet) -> dict[str, str]:
    """Return the findings that are not ok, by subject."""
    lines = list(examine_service("main", root, show))
    return {line.subject: str(line) for line in lines if line.verdict != "ok"}


def drop_in(root: Path, text: str, name: str = "10-own.conf") -> None:
    folder = root / "etc/systemd/system/lumen@.service.d"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"[Service]\n{text}\n")


def enable(root: Path) -> None:
    wanted = root / "etc/systemd/system/timers.target.wants"
    wanted.mkdir()
    for timer in service_findings.TIMERS:
        (wanted / timer).symlink_to(f"/etc/systemd/system/{timer}")


def test_a_sound_service_has_no_fault(root: Path) -> None:
    enable(root)
    assert found(root) == {}


def test_without_units_the_installer_is_named(tmp_path: Path) -> None:
    (only,) = examine_service("main", tmp_path, quiet)
    assert (only.verdict, only.todo) == ("bad", "python -m ops.services.install")


def test_timers_that_are_not_enabled(root: Path) -> None:
    assert "systemctl enable --now" in found(root)["timer"]


def test_a_network_that_the_unit_refuses(root: Path) -> None:
    enable(root)
    configure(root, addr="0.0.0.0:9000")
    assert "not udp 0.0.0.0:9000: systemctl edit lumen@" in found(root)["network"]
    drop_in(root, "IPAddressAllow=192.168.0.0/16")
    assert found(root) == {}


def test_a_network_of_lsl_that_the_unit_refuses(root: Path) -> None:
    enable(root)
    configure(root, more=", {name: eeg, type: lsl}")
    assert "not LSL eeg: systemctl edit lumen@" in found(root)["network"]


def test_a_midi_device_that_the_unit_does_not_open(root: Path) -> None:
    enable(root)
    configure(root, more=", {name: pad, type: midi, device: nano}")
    assert "pad: the unit opens no device" in found(root)["midi"]
    drop_in(root, "PrivateDevices=no\nDeviceAllow=char-alsa rw\nSupplementaryGroups=audio")
    assert found(root) == {}


def test_folders_that_the_unit_does_not_open(root: Path) -> None:
    enable(root)
    configure(root, out="/srv/lumen/out")
    assert "/srv/lumen/out cannot be written" in found(root)["folder"]
    drop_in(root, "ReadWritePaths=-/srv/lumen")
    assert found(root) == {}
    configure(root, out="../other")
    assert "../other cannot be written" in found(root)["folder"]


def test_a_configuration_that_is_absent_faulty_or_closed(root: Path) -> None:
    enable(root)
    path = configure(root)
    path.chmod(0o600)
    assert "chmod o+r" in found(root)["config"]
    path.write_text("version: 2\n")
    assert "main.yaml:1:1:" in found(root)["config"]
    path.unlink()
    assert "No such file" in found(root)["config"]


def test_secrets_that_others_can_read(root: Path) -> None:
    enable(root)
    secrets = root / "etc/lumen/main.env"
    secrets.write_text("LUMEN_STORE_DSN=postgresql://u:p@h/d\n")
    secrets.chmod(0o644)
    assert "chmod 600" in found(root)["config"]
    secrets.chmod(0o600)
    assert found(root) == {}


def test_a_program_that_is_gone_or_behind_a_closed_door(root: Path) -> None:
    enable(root)
    drop_in(root, "ExecStart=\nExecStart=/opt/gone/lumen run x")
    assert "/opt/gone/lumen is not there" in found(root)["program"]
    drop_in(root, "ExecStart=\nExecStart=/home/me/.venv/bin/lumen run x")
    assert "install into /opt/lumen" in found(root)["program"]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "2"}, "is refused"),
        ({"ActiveState": "failed", "Result": "oom-kill", "ExecMainStatus": "9"}, "oom-kill"),
        ({"NRestarts": "7"}, "restarted 7 times"),
        ({"ActiveState": "inactive", "SubState": "dead"}, "systemctl enable --now"),
    ],
)
def test_the_state_of_the_service(root: Path, state: dict[str, str], expected: str) -> None:
    enable(root)
    assert expected in found(root, lambda _: {**ACTIVE, **state})["state"]


def test_without_systemd_there_is_a_warning(root: Path) -> None:
    enable(root)
    assert "systemd does not run here" in found(root, lambda _: {})["state"]


def test_the_command_returns_1_for_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--service", "no-such-flow"])
    assert (code, capsys.readouterr().out.startswith("bad   unit")) == (1, True)


def test_an_answer_of_systemctl_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not Path("/run/systemd/system").is_dir():
        assert service_findings.shown_by_systemd("lumen@main.service") == {}

    def answer(asked: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(asked, 0, "ActiveState=failed\nResult=x=y\n")

    monkeypatch.setattr(service_findings.shutil, "which", lambda _: "/bin/systemctl")
    monkeypatch.setattr(service_findings.Path, "is_dir", lambda _: True)
    monkeypatch.setattr(service_findings.subprocess, "run", answer)
    assert service_findings.shown_by_systemd("x") == {"ActiveState": "failed", "Result": "x=y"}


# -- unit files ----------------------------------------------------------------------------------


def test_keys_add_up_and_an_empty_one_begins_anew() -> None:
    unit = parse("[Service]\n# A=1\n;B=2\nA=1\nA=2 \\\n 3\nB=\nC = x=y\n")
    assert unit == {"A": ["1", "2   3"], "B": [], "C": ["x=y"]}
    assert parse("A=\nA=4\n", unit)["A"] == ["4"]
    assert (last(unit, "A"), last(unit, "B"), last(unit, "no")) == ("4", "", "")


def test_files_and_drop_ins_have_the_order_of_systemd(tmp_path: Path) -> None:
    for name, text in {
        "usr/lib/systemd/system/lumen@.service": "A=shipped",
        "usr/lib/systemd/system/lumen@.service.d/20-b.conf": "A=b",
        "etc/systemd/system/lumen@.service.d/10-a.conf": "A=a",
        "etc/systemd/system/lumen@x.service.d/20-b.conf": "A=of x",
        "etc/systemd/system/lumen@.service.d/note.txt": "A=no",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert read_unit(unit_files(tmp_path, "lumen@x.service"))["A"] == ["shipped", "a", "of x"]
    assert read_unit(unit_files(tmp_path, "lumen@y.service"))["A"] == ["shipped", "a", "b"]
    (tmp_path / "etc/systemd/system/lumen@.service").write_text("A=own")
    assert read_unit(unit_files(tmp_path, "lumen@y.service"))["A"][0] == "own"
