import subprocess
import sys

import pytest

from ops.__main__ import COMMANDS, main


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


@pytest.mark.parametrize("words", [[], ["fuse"], ["run"], ["simulate", "--seed", "one"]])
def test_a_wrong_call_ends_with_code_2(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage: lumen" in capsys.readouterr().err


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_says_what_it_takes(command, capsys):
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
def test_simulate_refuses_what_cannot_be(wrong, tmp_path):
    with pytest.raises(SystemExit) as end:
        main(["simulate", "--out", str(tmp_path / "x.ndjson"), *wrong])
    assert end.value.code == 2
    assert not list(tmp_path.iterdir())
