import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.run import PAUSED, STOPPED, execute
from ops.cli.verify import digests
from ops.results.folder import run_json
from ops.simulate.recording import make
from ops.simulate.scenario import studio
from tests.support.waiting import until

SECONDS = 60.0
HUNG_S = 60
"""Far above the end of a stopped run; `ops.bench.overload` has the figure."""
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("recording") / "studio.ndjson"
    make(studio(SECONDS), 1).write(path)
    return path


@pytest.fixture
def config(recording, tmp_path):
    """Return what writes the demo's configuration for a recording, at a speed."""

    def write(name, speed):
        text = (ROOT / "configs/fusion.yaml").read_text("utf-8")
        text = text.replace("configs/recordings/demo.ndjson.gz", str(recording))
        text = text.replace("configs/", f"{ROOT}/configs/").replace("speed: 0", f"speed: {speed}")
        text = text.replace("{dir: out", f"{{dir: {tmp_path / name}")
        path = tmp_path / f"{name}.yaml"
        path.write_text(f"{text}collect: {{block_s: 1}}\n", "utf-8")
        return path

    return write


def begun(path):
    """Whether a run has written lines."""
    return path.exists() and path.stat().st_size > 0


def stop_soon(number, *argv, written, environ=None):
    """Start a command, signal it after its first lines; return process, output and duration."""
    process = subprocess.Popen(
        [sys.executable, *map(str, argv)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, cwd=ROOT, env=environ,
    )  # fmt: skip
    until(lambda: begun(written), process=process)
    process.send_signal(number)
    asked = time.monotonic()
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err, time.monotonic() - asked


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_drains_the_run_and_prints_the_summary(config, tmp_path, number):
    path = config("out", 1)
    fused = tmp_path / "out/fused.jsonl"
    code, out, err, took = stop_soon(number, "-m", "ops", "run", path, written=fused)
    assert code == 0, err
    assert took < HUNG_S
    assert STOPPED in err
    assert str(fused) in out
    assert "Account of events, balanced\n" in out
    run = run_json(tmp_path / "out")
    assert run["balanced"]
    assert 0 < run["account"]["total"]["received"] < 2000, "the rest has not come yet"


def test_a_run_with_a_closed_terminal_drains(config, tmp_path):
    path = config("out", 1)
    fused = tmp_path / "out/fused.jsonl"
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", "ops", "run", str(path)])
    until(lambda: begun(fused))
    os.close(terminal)
    asked = time.monotonic()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert time.monotonic() - asked < HUNG_S
    run = run_json(tmp_path / "out")
    assert run["ended"]
    assert run["balanced"]
    assert 0 < run["account"]["total"]["received"] < 2000, "the rest has not come yet"


def test_a_run_that_ignores_hang_ups_from_its_start_goes_on(config, tmp_path):
    path = config("out", 1)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops", "run", str(path)], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, cwd=ROOT,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGHUP, before)
    fused = tmp_path / "out/fused.jsonl"
    until(lambda: begun(fused), process=process)
    process.send_signal(signal.SIGHUP)
    time.sleep(1.0)
    size = fused.stat().st_size
    until(lambda: fused.stat().st_size > size, process=process)
    assert process.poll() is None
    process.terminate()
    assert process.wait(20) == 0


def test_the_engine_s_own_command_drains_too(config, tmp_path):
    path = config("out", 1)
    argv = ("-m", "bytewax.run", f"flows.fusion:flow({str(path)!r})")
    code, _, err, took = stop_soon(
        signal.SIGINT, *argv, written=tmp_path / "out/fused.jsonl"
    )  # fmt: skip
    assert code == 0, err
    assert took < HUNG_S
    assert run_json(tmp_path / "out")["ended"]


def test_a_paused_run_goes_on_and_repeats_nothing(config, tmp_path):
    whole = digests(execute(config("whole", 0), progress=False))
    path = config("paused", 20)
    argv = ("-m", "ops", "run", path, "--recover", tmp_path / "store", "--snapshot-s", "0.2")
    code, out, err, took = stop_soon(
        signal.SIGINT, *argv, written=tmp_path / "paused/fused.jsonl"
    )  # fmt: skip
    assert code == 0, err
    assert took < HUNG_S
    assert PAUSED in err
    assert "so far; the data has not ended" in out
    before = run_json(tmp_path / "paused")
    assert not before["ended"]
    again = subprocess.run(
        [sys.executable, *map(str, argv)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert PAUSED not in again.stderr
    assert digests(tmp_path / "paused") == whole
    assert run_json(tmp_path / "paused")["ended"]


def test_after_a_run_signals_mean_what_they_did_before(config):
    def mine(number, frame):
        """Do nothing."""

    before = signal.signal(signal.SIGTERM, mine)
    try:
        execute(config("out", 0), progress=False)
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_summary_that_nobody_reads_is_no_fault_of_the_run(config, tmp_path):
    out, into = os.pipe()
    os.close(out)
    done = subprocess.run(
        [sys.executable, "-m", "ops", "run", str(config("out", 0))],
        cwd=ROOT, stdout=into, stderr=subprocess.PIPE, timeout=120,
    )  # fmt: skip
    os.close(into)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert run_json(tmp_path / "out")["ended"]
