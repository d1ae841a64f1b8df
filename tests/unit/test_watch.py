import argparse
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from configs.schema import ExporterConfig
from ops import watch
from ops.exporter import State, _decode, address, ask
from ops.frame import Trace, frame
from sinks.server import Server
from sinks.state import state
from sources.udp import listener
from tests.shown import NAN, Time, events, finding, packet, report, ticks

ROOT = Path(__file__).parents[2]
WELL = {"phase_diff": 0.01, "coherence": 0.95, "sync_quality": 0.9, "entropy_ratio": 0.1}


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def serve(port):
    """Return what starts a flow's server anew; the last is stopped at the end."""
    servers = []

    def _serve(*packets):
        for server in servers:
            server.stop()
        board = Time().board()
        board.tell([*packets])
        servers.append(Server(ExporterConfig(http_port=port), board, listener))
        servers[-1].start()

    yield _serve
    servers[-1].stop()


def told(
    first=0, n=1, channel="osc_1:p", ended=False, mode=0, sources=("osc_1", "ure"), **indicators
):
    fused = ticks(first, mode=mode, **{**WELL, **indicators})
    ends = tuple(end for source in sources for end in events(source, n))
    return packet(fused, sync=(report(channel),), ends=ends, evidence=(finding(1.0),), end=ended)


def shown(*packets, width=80, trace=None, later_s=0.0):
    """Return the frame of a board that was told the packets."""
    time_ = Time()
    board = time_.board()
    board.tell([*packets])
    time_.now += later_s
    seen: State = _decode(state(board))
    trace = trace or Trace()
    trace.add(seen)
    return [line.text for line in frame(seen, trace, width)]


@pytest.mark.parametrize("width", [40, 62, 80, 132, 300])
def test_every_number_is_there_at_any_width(width):
    lines = shown(told(), width=width)
    assert max(map(len, lines)) <= width
    for word in ("osc_1:p", "live", "2.10 ±0.10", "180.0 ±1.0", "0.97", "0.25", "87.0 ±0.5", "50.0",
                 "12.0", "phase_diff", "≤ 0.02", "≥ 0.85", "risk low"):  # fmt: skip
        assert any(word in line for line in lines), word


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ([], "Waiting for the first tick"),
        ([told()], "In sync: 2 channels live, within 2.0 ms, indicators within their budgets"),
        ([told(coherence=NAN)], "In sync: 2 channels live, within 2.0 ms; not known: coherence"),
        ([told(phase_diff=0.03)], "NOT IN SYNC: phase_diff 0.030 above 0.02"),
        ([told(coherence=0.5)], "NOT IN SYNC: coherence 0.500 below 0.9"),
        ([told(mode=1)], "NOT IN SYNC: mode ure_only"),
        ([told(sources=("osc_1",))], "NOT IN SYNC: ure down"),
        ([told(ended=True)], "The data have ended; all was well at the end"),
    ],
)
def test_the_verdict_says_what_speaks_against_it(what, says):
    assert shown(*what, width=100)[1] == says


def test_a_flow_that_hangs_is_not_well():
    assert shown(told(), later_s=31.0)[1].startswith("NO FRESH DATA")


def test_the_value_is_drawn_within_its_band():
    trace = Trace()
    for first in range(30):
        lines = shown(told(first), trace=trace)
    curve = lines[3:8]
    assert curve[1].endswith("•")
    assert [line[-1] for line in curve[::2]] == ["░", "░", " "]
    assert sum(line.count("•") for line in curve) == 30
    lowest = [next(r for r, line in enumerate(curve) if line[9 + k] == "•") for k in range(30)]
    assert lowest == sorted(lowest, reverse=True), "the value rises"
    assert "·" * 30 in lines[8]


def test_a_flow_that_began_anew_is_said_and_its_curve_too():
    trace = Trace()
    shown(told(0, n=50), trace=trace)
    shown(told(1, n=60), trace=trace)
    assert len(trace.moments["r"]) == 2
    assert not any("began anew" in line for line in shown(told(2, n=60), trace=trace))
    assert "began anew" in shown(told(0, n=3), trace=trace)[0]
    assert len(trace.moments["r"]) == 1


def test_a_name_cannot_command_the_terminal():
    text = "".join(shown(told(channel="o:\x1b[2J\x07\n")))
    assert "o:?[2J??" in text
    assert text.isprintable()


def lumen(*words, **environ):
    return subprocess.run(
        [sys.executable, "-m", "ops", "watch", *words], cwd=ROOT, capture_output=True, text=True,
        timeout=30, check=False, env={**os.environ, "PYTHONUTF8": "1", **environ},
    )  # fmt: skip


def test_one_frame_is_plain_text(serve, port):
    serve(told())
    done = lumen("--once", f"http://127.0.0.1:{port}/", COLUMNS="100")
    assert (done.returncode, done.stderr) == (0, "")
    assert "In sync" in done.stdout
    assert "\x1b" not in done.stdout
    # Whoever gives no address is led by the environment, and not to a proxy.
    again = lumen("--once", COLUMNS="100", LUMEN_URL=f"127.0.0.1:{port}", http_proxy="127.0.0.1:9")
    assert again.stdout == done.stdout
    plain = lumen("--once", f"127.0.0.1:{port}", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert plain.stdout.isascii()
    assert "2.10 +0.10" in plain.stdout


def test_without_a_flow_there_is_one_line(port):
    done = lumen("--once", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert done.stderr == (
        f"lumen watch: no answer from http://127.0.0.1:{port}: Connection refused\n"
    )


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:99999", "http://[", "file:///x"])
def test_what_is_no_address_is_refused(url, capsys):
    assert watch.main(argparse.Namespace(url=url)) == 2
    assert f"lumen watch: '{url}' is no address" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.0 404 No\r\n\r\n", "is no flow: /state is answered with 404"),
        (b"HTTP/1.0 200 OK\r\n\r\n<html>", "does not answer as a flow does"),
        (b"HTTP/1.0 200 OK\r\n\r\n{}", "does not answer as a flow does"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\n{", "does not answer as a flow does"),
        (b"SSH-2.0-OpenSSH\x1b\r\n", "does not answer as a flow does: no HTTP"),
        (b"", "no answer from"),
    ],
)
def test_whoever_is_no_flow_is_named(answer, says):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = address(f"127.0.0.1:{server.getsockname()[1]}")
        code = f"from ops.exporter import *\ntry: ask({url!r})\nexcept NoAnswerError as e: print(e)"
        asking = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
        client, _ = server.accept()
        with client:
            client.recv(4096)
            client.sendall(answer)
        said = asking.communicate(timeout=20)[0].decode()
    assert says in said
    assert said.count("\n") == 1


def test_the_state_is_read_as_it_is_written(serve, port):
    serve(told(), packet(end=True))
    seen = ask(f"http://127.0.0.1:{port}")
    assert seen.rigs["r"].ended
    assert seen.rigs["r"].channels[0].lost == 2
    assert json.loads(state(Time().board())).keys() == set(State.__struct_fields__)


class Terminal:
    """`lumen watch` in a terminal of its own; what it says is collected."""

    def __init__(self, *words, **environ):
        ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ops", "watch", "--every-s", "0.1", *words], cwd=ROOT,
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env={**os.environ, "PYTHONUTF8": "1", "TERM": "xterm", "COLUMNS": "80", "LINES": "60",
                 **environ},
        )  # fmt: skip
        os.close(theirs)
        self.ours, self.said = ours, ""

    def until(self, word):
        """Wait until it says a word; it may then say it again."""
        start, end = len(self.said), time.monotonic() + 20
        while word not in self.said[start:]:
            assert time.monotonic() < end, f"{word!r} was never said: {self.said[-2000:]}"
            if select.select([self.ours], [], [], 0.1)[0]:
                self.said += os.read(self.ours, 65536).decode(errors="replace")

    def end(self, sign):
        self.process.send_signal(sign)
        with suppress(OSError):
            while part := os.read(self.ours, 65536):
                self.said += part.decode(errors="replace")
        os.close(self.ours)
        return self.process.wait(timeout=20)


def test_it_outlives_the_flow_and_says_when_it_began_anew(serve, port):
    terminal = Terminal(f"127.0.0.1:{port}")
    try:
        terminal.until("no answer from")
        serve(told(n=50))
        terminal.until("In sync")
        serve(told(n=3))
        terminal.until("began anew")
    finally:
        code = terminal.end(signal.SIGINT)
    assert code == 0
    assert "Traceback" not in terminal.said


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_the_terminal_is_left_as_it_was(serve, port, sign):
    serve(told())
    terminal = Terminal(f"127.0.0.1:{port}", NO_COLOR="")
    terminal.until("In sync")
    assert terminal.end(sign) == 0
    assert terminal.said.startswith("\x1b[?1049h\x1b[?25l\x1b[?7l")
    assert terminal.said.endswith("\x1b[?7h\x1b[?25h\x1b[?1049l")
    assert "\x1b[32mIn sync" in terminal.said


def test_no_colour_is_no_colour(serve, port):
    serve(told())
    terminal = Terminal(f"127.0.0.1:{port}", NO_COLOR="1")
    terminal.until("In sync")
    terminal.end(signal.SIGINT)
    assert not re.search(r"\x1b\[[0-9;]*m", terminal.said)


def test_what_the_window_is_too_low_for_is_said(serve, port):
    serve(told())
    terminal = Terminal(f"127.0.0.1:{port}", LINES="10")
    terminal.until("more lines, in a higher window")
    terminal.end(signal.SIGINT)
    frames = terminal.said.split("\x1b[H")
    assert all(each.count("\n") == 9 for each in frames[1:-1])
