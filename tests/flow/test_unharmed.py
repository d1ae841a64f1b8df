"""A live flow in a process of its own, whose clock is set or whose messages nobody reads."""

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ops.bench.clock_steps import Flow, made
from ops.bench.osc_fuzz import message
from ops.fakes.ports import free_port
from tests.support.json_lines import json_lines
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
CONFIG = """version: 2
streams:
  - {{name: osc_1, type: osc, addr: "127.0.0.1:{port}"}}
signals:
  pulse: {{members: {{"osc_1:/v": {{lag_s: 0.0}}}}}}
resample: {{target_hz: 20}}
failover: {{fallback: sensors_only}}
output: {{dir: {folder}/out}}
"""
HUNG_S = 90


def valued(folder):
    """Return how many ticks have a value by now."""
    rows = json_lines(folder / "out" / "fused.jsonl")
    return sum(row["signals"]["pulse"]["value"] is not None for row in rows)


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_clock_that_is_set_stops_neither_ticks_nor_the_end_and_is_on_the_tape(step, tmp_path):
    library = made(tmp_path)
    if library is None:
        pytest.skip("no C compiler: the clock cannot be shifted here")
    flow = Flow(tmp_path, library)
    try:
        flow.wait_up()
        until(lambda: valued(tmp_path) > 20, process=flow.process)
        flow.step(step)
        before = valued(tmp_path)
        until(lambda: valued(tmp_path) > before + 60, process=flow.process)
        ready = flow.ready()
        _, code = flow.end(HUNG_S)
    finally:
        flow.process.kill()
    assert code == 0
    assert "late" not in ready
    assert flow.taped_steps() == [pytest.approx(step, abs=0.001)]
    assert f"by {abs(step):g} s: host time goes on" in flow.log()
    ts = [tick["ts"] for tick in flow.ticks()]
    assert ts[-1] - ts[0] < HUNG_S
    assert flow.replays_alike()


def gone():
    out, into = os.pipe()
    os.close(out)
    return into, lambda: None


def stalled():
    out, into = os.pipe()
    fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 4096)
    os.write(into, bytes(4096))
    return into, lambda: os.close(out)


def closed():
    return os.open(os.devnull, os.O_WRONLY), lambda: None


@pytest.mark.parametrize("end", [gone, stalled, closed])
def test_whoever_reads_standard_error_cannot_stop_a_flow(end, tmp_path):
    port = free_port()
    config = tmp_path / "live.yaml"
    config.write_text(CONFIG.format(port=port, folder=tmp_path))
    into, release = end()
    process = subprocess.Popen(
        [sys.executable, "-m", "bytewax.run", f"flows.fusion:flow({str(config)!r})"],
        cwd=ROOT, stderr=into, preexec_fn=(lambda: os.close(2)) if end is closed else None,
    )  # fmt: skip
    os.close(into)
    done = threading.Event()

    def send_values():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            while not done.wait(0.01):
                out.sendto(message("/v", "f", struct.pack(">f", time.monotonic() % 1)),
                           ("127.0.0.1", port))  # fmt: skip

    sender = threading.Thread(target=send_values)
    sender.start()
    try:
        until(lambda: valued(tmp_path) > 20, process=process)
        process.send_signal(signal.SIGTERM)
        code = process.wait(HUNG_S)
    finally:
        process.kill()
        process.wait()
        done.set()
        sender.join()
        release()
    assert code == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (run["ended"], run["balanced"]) == (True, True)
    lost = run["messages_lost"]
    assert lost["why"] == ("Broken pipe" if end is gone else None)
    assert (lost["count"] > 0) == (end is not closed)
