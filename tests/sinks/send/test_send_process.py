"""OSC out of a process of its own: it follows the run, never holds it up, and never outlives it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pythonosc.osc_message import OscMessage

from sinks.send.send_process import SendProcess
from tests.support.waiting import until

PATIENCE_S = 20.0


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(PATIENCE_S)
        yield made


@pytest.fixture
def sender(peer: socket.socket) -> Iterator[SendProcess]:
    made = SendProcess("music", 100.0, f"127.0.0.1:{peer.getsockname()[1]}", 60.0)
    made.start()
    yield made
    made.stop()


def process(sender: SendProcess) -> subprocess.Popen[bytes]:
    assert sender._child._process is not None
    return sender._child._process


def receive(peer: socket.socket) -> tuple[str, float]:
    message = OscMessage(peer.recv(2048))
    return message.address, message.params[0]


def test_the_newest_values_are_repeated(sender: SendProcess, peer: socket.socket) -> None:
    sender.put({"/x": 1.0})
    assert [receive(peer) for _ in range(5)] == [("/x", 1.0)] * 5
    sender.put({"/x": 2.0})
    until(lambda: receive(peer) == ("/x", 2.0))


def test_a_stopped_worker_does_not_delay_the_flow(sender: SendProcess, peer: socket.socket) -> None:
    sender.put({"/x": 0.0})
    receive(peer)
    os.kill(process(sender).pid, signal.SIGSTOP)
    many = {f"/{n}": 0.0 for n in range(100)}
    for n in range(1, 2001):  # 2 MB: more than any pipe holds
        sender.put({**many, "/x": float(n)})
    os.kill(process(sender).pid, signal.SIGCONT)

    def newest() -> bool:
        sender.put({"/x": 3000.0})
        return receive(peer) == ("/x", 3000.0)

    until(newest)


def test_null_ends_the_repetition(sender: SendProcess, peer: socket.socket) -> None:
    sender.put({"/x": 1.0})
    receive(peer)
    sender.put({})
    peer.settimeout(0.5)
    with pytest.raises(TimeoutError):
        for _ in range(1000):
            receive(peer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_to_the_group_are_the_run_s(
    number: signal.Signals, sender: SendProcess, peer: socket.socket
) -> None:
    sender.put({"/x": 1.0})
    receive(peer)  # from then on signals are set up
    os.kill(process(sender).pid, number)
    sender.put({"/x": 2.0})
    until(lambda: receive(peer) == ("/x", 2.0))
    ended = process(sender)
    sender.stop()
    assert ended.returncode == 0


def test_a_killed_worker_is_started_again(
    sender: SendProcess, peer: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinks.processes.child_process._RESTART_S", 0.0)
    sender.put({"/x": 1.0})
    receive(peer)
    process(sender).kill()
    process(sender).wait()

    def again() -> bool:
        sender.put({"/x": 2.0})
        return receive(peer) == ("/x", 2.0)

    until(again)


RUN = """
import os, signal, sys
from sinks.send.send_process import SendProcess
sender = SendProcess("music", 100.0, sys.argv[1], 60.0)
sender.start()
sender.put({"/x": 1.0})
print(sender._child.pid, flush=True)
signal.pause()
"""


def test_the_worker_ends_with_a_killed_run(peer: socket.socket) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, f"127.0.0.1:{peer.getsockname()[1]}"], stdout=subprocess.PIPE
    )
    assert run.stdout is not None
    pid = int(run.stdout.readline())
    receive(peer)
    run.kill()
    run.communicate()
    until(lambda: _ended(pid))


def _ended(pid: int) -> bool:
    """Whether a process is gone, or has ended and nobody has asked for its code."""
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"
