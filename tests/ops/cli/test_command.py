import subprocess
import sys
from importlib.metadata import version

import pytest

from ops.__main__ import COMMANDS, GROUPS, main


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )


def test_help_names_every_command_and_loads_nothing_heavy():
    done = run_python(
        "import sys\n"
        "from ops.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as e: print('code', e.code)\n"
        "print('heavy', [m for m in ('numpy', 'scipy', 'bytewax', 'yaml') if m in sys.modules])"
    )
    assert all(name in done.stdout for name in COMMANDS)
    assert "code 0" in done.stdout
    assert "heavy []" in done.stdout


@pytest.mark.parametrize(
    "argv",
    [["fuse"], ["run"], ["heartbeat"], ["--wrong"], ["simulate", "--seed", "one"]],
)
def test_a_wrong_call_ends_with_code_2(argv, capsys):
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2
    assert "usage: lumen" in capsys.readouterr().err


def test_the_bare_command_lists_its_groups_with_one_line_each(capsys):
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(GROUPS) == 5
    for group, commands in GROUPS.items():
        begin = lines.index(f"{group}:") + 1
        listed = lines[begin : begin + len(commands)]
        assert [line.split()[0] for line in listed] == list(commands)
    assert max(map(len, lines)) <= 80
    assert not any("smoke" in line or "heartbeat" in line for line in lines)


@pytest.mark.parametrize(
    ("typed", "meant"), [("simulte", "simulate"), ("chek", "check"), ("verfy", "verify")]
)
def test_a_misspelt_command_gets_a_proposal(typed, meant, capsys):
    with pytest.raises(SystemExit):
        main([typed])
    assert f"unknown command '{typed}' (did you mean '{meant}'?)" in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lumen {version('lumen-fusion')}\n"


def test_smoke_is_an_alias_of_watch(capsys):
    with pytest.raises(SystemExit) as end:
        main(["smoke", "--help"])
    assert end.value.code == 0
    assert "usage: lumen watch" in capsys.readouterr().out
    assert main(["smoke", "http://127.0.0.1:9"]) == 1
    assert "no answer from http://127.0.0.1:9" in capsys.readouterr().err


def test_a_judgement_needs_a_single_frame(capsys):
    assert main(["watch", "--judge"]) == 2
    assert "--judge needs --once" in capsys.readouterr().err


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_lists_its_arguments(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"usage: lumen {command}" in capsys.readouterr().out


def test_simulate_writes_a_recording_and_its_truth(tmp_path, capsys):
    out = tmp_path / "studio.ndjson"
    assert main(["simulate", "--seconds", "5", "--out", str(out)]) == 0
    assert out.stat().st_size > 10_000
    assert (tmp_path / "studio.truth.json").exists()
    assert str(out) in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--seconds", "0"], ["--seconds", "nan"], ["--seed", "-1"]])
def test_simulate_refuses_impossible_arguments(wrong, tmp_path):
    with pytest.raises(SystemExit) as end:
        main(["simulate", "--out", str(tmp_path / "x.ndjson"), *wrong])
    assert end.value.code == 2
    assert not list(tmp_path.iterdir())
