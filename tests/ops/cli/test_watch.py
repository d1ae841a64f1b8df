import argparse
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
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from configs.outputs import ExporterConfig
from operators.records import DeadLetter
from operators.settings.channels import ChannelConfig
from ops.cli import watch
from ops.cli.state_client import _decode, address, ask
from ops.cli.terminal_view import Trace, frame
from ops.fakes.ports import free_port
from sinks.exporter.server import Server
from sinks.exporter.state_json import state
from sources.osc.udp import listener
from tests.support.bridge_frames import status
from tests.support.shown import NAN, Time, config, events, finding, packet, report, ticks
from tests.support.waiting import HUNG_S

ROOT = Path(__file__).parents[3]
WELL = {"phase_diff": 0.01, "coherence": 0.95, "sync_quality": 0.9, "entropy_ratio": 0.1}


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def serve(port):
    """Return what starts a flow's server anew; the last is stopped at the end."""
    servers = []

    def _serve(*packets):
        for server in servers:
            server.stop()
        time_ = Time()
        time_.wall += len(servers)
        board = time_.board()
        for each in packets:
            board.update([each])
        servers.append(Server(ExporterConfig(http_port=port), board, listener))
        servers[-1].start()

    yield _serve
    servers[-1].stop()


def published(first=0, n=1, channel="osc_1:p", mode=0, **indicators):
    ends = tuple(end for source in ("osc_1", "ure") for end in events(source, n))
    well = ticks(first, 20, hz=5.0, mode=mode, **{**WELL, **indicators})
    return packet(well, sync=(report(channel),), ends=ends, evidence=(finding(1.0),))


def shown(*packets, width=80, trace=None, began=1.7e9, of=None):
    """Return the frame of a live state after the packets."""
    time_ = Time()
    time_.wall = began
    board = time_.board(of)
    for each in packets:
        board.update([each])
    trace = trace or Trace()
    seen = _decode(state(board, "r", trace.versions.get("r", 0)))
    trace.add(seen)
    return [line.text for line in frame(seen, trace, width)]


def test_a_curve_ends_at_the_time_of_its_newest_tick_and_not_now():
    (legend,) = [line for line in shown(published(first=500)) if "one sd" in line]
    assert legend.endswith(f"4 s to {datetime.fromtimestamp(103):%H:%M:%S}")


@pytest.mark.parametrize("state", ["E0", "E1", "E2", "E3", "E4"])
def test_the_state_of_the_bridge_is_there_with_its_unmet_conditions(state):
    unmet = ("E2, 9 s of 300 s below sync 0.85; then E1",)
    lines = shown(packet(bridge_status=status(10.0, state=state, unmet=unmet)))
    assert [line for line in lines if line.startswith(f"bridge: {state} ")]
    assert f"  {unmet[0]}" in lines


def test_a_flow_without_a_bridge_shows_none():
    assert not [line for line in shown(published()) if "bridge" in line]


@pytest.mark.parametrize("width", [40, 62, 80, 132, 300])
def test_every_number_is_there_at_any_width(width):
    lines = shown(published(), width=width)
    assert max(map(len, lines)) <= width
    for word in ("osc_1:p", "live", "100.00 ±0.10", "10.0 ±1.0", "1.00", "0.25", "1.00 ±0.10",
                 "100.0", "phase_diff", "≤ 0.02", "≥ 0.85", "risk low"):  # fmt: skip
        assert any(word in line for line in lines), word


def test_the_verdict_comes_first():
    assert shown()[0].startswith("r: Waiting for the first tick")
    assert shown(published())[0] == "r: In sync, within 2 ms; 2 of 2 streams live"
    assert "coherence 0.5 is below 0.72" in shown(published(coherence=0.5, channel="ure:p"))[0]
    assert shown(published(), packet(end=True))[0].startswith("r: The data have ended")


def test_without_two_compared_members_nothing_is_in_sync():
    alone = replace(ticks(0, sync_quality=NAN), sync_bound_s=np.array([NAN]))
    lines = shown(packet(alone, sync=(report("osc_1:p"),), ends=events("osc_1")))
    assert lines[0].startswith("r: Not compared, one channel live; nothing came from ure:p")
    assert any("sync not compared" in line for line in lines)
    assert not any("In sync" in line or "within" in line for line in lines)
    assert any("sync within 2.0 ms" in line for line in shown(published()))


def test_values_beyond_their_thresholds_have_levels_of_their_own():
    lines = shown(published(phase_diff=0.028, coherence=0.5, entropy_ratio=NAN))
    levels = {line.split()[0]: line.split()[-1] for line in lines if line.startswith(tuple(WELL))}
    assert levels == {
        "phase_diff": "warn", "coherence": "crit", "sync_quality": "good", "entropy_ratio": "-",
    }  # fmt: skip


def test_the_value_is_drawn_within_its_band_above_the_mode():
    lines = shown(published(0), published(20), published(40, mode=1), published(60), width=120)
    at = next(k for k, line in enumerate(lines) if line.startswith("pulse"))
    curve = [f"{line[9:]:79}" for line in lines[at + 1 : at + 6]]
    columns = ["".join(cells) for cells in zip(*curve, strict=True)]
    tops = [column.index("•") for column in columns]
    assert len(tops) == 79, "all but the newest tick, which the next may still be drawn with"
    assert tops == sorted(tops, reverse=True), "the value rises"
    assert all(
        column[top - 1] == "░" for column, top in zip(columns, tops, strict=True) if top == 1
    )
    modes = lines[at + 6].split()[1]
    assert (len(modes), modes.strip("·").strip("u"), modes.count("u") - 20) == (79, "", 0)
    assert lines[at + 7].strip().startswith("· fused, u ure_only;")
    assert any(line.endswith("mode ure_only") for line in lines)


def test_units_stand_beside_the_numbers():
    of = config(channels={"osc_1:*": ChannelConfig(unit="m/s2"), "ure:p": ChannelConfig(unit="g")})
    lines = shown(published(), of=of)
    assert any(re.match(r"pulse  [-\d.]+ ±[-\d.]+ g  fused", line) for line in lines)
    rows = [line for line in lines if line.startswith("osc_1:p")]
    assert rows[-1].split()[-1] == "m/s2"
    assert not any("unit" in line.split() for line in shown(published())), "no column without one"


def test_a_value_has_the_digits_of_its_sd():
    line = report("osc_1:p", offset_s=1.23456789, offset_sd_s=3.4e-7, lag_s=2.0, lag_sd_s=0.5)
    text = "\n".join(shown(packet(ticks(0), sync=(line,), ends=events("osc_1"))))
    assert "1234.56789 ±0.00034" in text
    assert "2000 ±500" in text


def test_an_indicator_without_a_value_has_its_reason():
    lines = shown(published(sync_quality=NAN, entropy_ratio=NAN), width=120)
    why = "needs 30 s of two channels live together, moving at 0.08 to 1.5 Hz"
    assert f"- sync_quality, entropy_ratio: {why}" in lines
    alone = ticks(0, sync_quality=NAN)
    alone.signals[0].live[:] = 1
    assert "- sync_quality: needs two live channels: 1 of 2 live" in shown(packet(alone))
    assert not any("needs" in line for line in shown(published()))


def test_a_channel_that_flaps_is_one_line():
    def turn(k, state):
        return packet(sync=(report("osc_1:p", ts=100.0 + k, state=state, why="state"),))

    flaps = [turn(k, "stale" if k % 2 else "live") for k in range(20)]
    lines = shown(published(), *flaps)
    rows = [line for line in lines if re.match(r"[\d:]{8}  osc_1:p", line)]
    assert len(rows) == 2, "its first line is long ago"
    assert re.search(r"  osc_1:p stale; stale 10 times since [\d:]{8}$", rows[0])


def test_figures_that_are_old_are_dimmed():
    time = Time()
    board = time.board()
    board.update([published()])

    def kinds():
        seen = [*frame(_decode(state(board, "r", 0)), Trace(), 80)]
        end = next(k for k, line in enumerate(seen) if line.text.startswith("evidence"))
        return [line.kind for line in seen[:end]]

    assert {"good", "plain"} <= set(kinds())
    time.now += 6
    head, *figures = kinds()
    assert head == "crit"
    assert set(figures) == {"soft"}


def test_a_restarted_flow_is_reported_with_a_new_curve():
    trace = Trace()
    shown(published(0), published(20), trace=trace)
    assert not any("restarted" in line for line in shown(published(0), published(20), trace=trace))
    assert "restarted" in shown(published(0), published(20), trace=trace, began=1.8e9)[0]
    assert not trace.points
    lines = shown(published(0), published(20), trace=trace, began=1.8e9)
    assert "restarted" in lines[0]
    assert sum(map(len, trace.points.values())) == 39


def test_a_name_cannot_command_the_terminal():
    text = "".join(shown(published(channel="o:\x1b[2J\x07\n")))
    assert "o:?[2J? " in text
    assert text.isprintable()


def lumen(*argv, **environ):
    return subprocess.run(
        [sys.executable, "-m", "ops", "watch", *argv], cwd=ROOT, capture_output=True, text=True,
        timeout=30, check=False, env={**os.environ, "PYTHONUTF8": "1", **environ},
    )  # fmt: skip


def test_one_frame_is_plain_text(serve, port):
    serve(published())
    done = lumen("--once", f"http://127.0.0.1:{port}/", COLUMNS="100")
    assert (done.returncode, done.stderr) == (0, "")
    assert "r: In sync" in done.stdout
    assert "\x1b" not in done.stdout
    # Whoever gives no address is led by the environment, and not to a proxy.
    again = lumen("--once", COLUMNS="100", LUMEN_URL=f"127.0.0.1:{port}", http_proxy="127.0.0.1:9")
    assert again.stdout == done.stdout
    plain = lumen("--once", f"127.0.0.1:{port}", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert plain.stdout.isascii()
    assert "100.00 +0.10" in plain.stdout


def test_without_a_flow_there_is_one_line(port):
    done = lumen("--once", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert done.stderr == (
        f"lumen watch: no answer from http://127.0.0.1:{port}: Connection refused\n"
    )


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:99999", "http://[", "file:///x"])
def test_an_invalid_address_is_refused(url, capsys):
    assert watch.main(argparse.Namespace(url=url)) == 2
    assert f"lumen watch: '{url}' is no address" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.0 404 No\r\n\r\n", "is no flow: /state returned 404"),
        (b"HTTP/1.0 200 OK\r\n\r\n<html>", "does not answer like a flow"),
        (b"HTTP/1.0 200 OK\r\n\r\n{}", "does not answer like a flow"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\n{", "does not answer like a flow"),
        (b"SSH-2.0-OpenSSH\x1b\r\n", "does not answer like a flow: no HTTP"),
        (b"", "no answer from"),
    ],
)
def test_a_server_that_is_no_flow_is_named(answer, expected):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = address(f"127.0.0.1:{server.getsockname()[1]}")
        code = (
            f"from ops.cli.state_client import *\ntry: ask({url!r})\n"
            "except NoAnswerError as e: print(e)"
        )
        asking = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
        client, _ = server.accept()
        with client:
            client.recv(4096)
            client.sendall(answer)
        printed = asking.communicate(timeout=20)[0].decode()
    assert expected in printed
    assert printed.count("\n") == 1


def test_only_new_points_are_requested(serve, port):
    serve(published(0), published(20))
    trace = Trace()
    for _ in range(3):
        seen = watch.look(f"http://127.0.0.1:{port}", trace)
    assert seen.rigs["r"].channels[0].lost == 5
    assert sum(map(len, trace.points.values())) == 39
    assert ask(f"http://127.0.0.1:{port}", rig="r", since=trace.versions["r"]).history.ts == []


class Terminal:
    """`lumen watch` in a terminal of its own; its output is collected."""

    def __init__(self, *argv, **environ):
        ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ops", "watch", "--every-s", "0.1", *argv], cwd=ROOT,
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env={**os.environ, "PYTHONUTF8": "1", "TERM": "xterm", "COLUMNS": "80", "LINES": "60",
                 **environ},
        )  # fmt: skip
        os.close(theirs)
        self.ours, self.printed = ours, ""

    def until(self, word):
        """Wait until it prints a word after this call."""
        start, end = len(self.printed), time.monotonic() + HUNG_S
        while word not in self.printed[start:]:
            assert time.monotonic() < end, f"{word!r} was never printed: {self.printed[-2000:]}"
            if select.select([self.ours], [], [], 0.1)[0]:
                self.printed += os.read(self.ours, 65536).decode(errors="replace")

    def end(self, sign):
        self.process.send_signal(sign)
        with suppress(OSError):
            while part := os.read(self.ours, 65536):
                self.printed += part.decode(errors="replace")
        os.close(self.ours)
        return self.process.wait(timeout=20)


def test_watch_outlives_the_flow_and_reports_its_restart(serve, port):
    terminal = Terminal(f"127.0.0.1:{port}")
    try:
        terminal.until("no answer from")
        serve(published(n=50))
        terminal.until("In sync")
        serve(published(n=3))
        terminal.until("restarted")
    finally:
        code = terminal.end(signal.SIGINT)
    assert code == 0
    assert "Traceback" not in terminal.printed


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_the_terminal_is_left_as_it_was(serve, port, sign):
    serve(published())
    terminal = Terminal(f"127.0.0.1:{port}", NO_COLOR="")
    terminal.until("In sync")
    assert terminal.end(sign) == 0
    assert terminal.printed.startswith("\x1b[?1049h\x1b[?25l\x1b[?7l")
    assert terminal.printed.endswith("\x1b[?7h\x1b[?25h\x1b[?1049l")
    assert "\x1b[32mr: In sync" in terminal.printed


def test_no_colour_is_no_colour(serve, port):
    serve(published())
    terminal = Terminal(f"127.0.0.1:{port}", NO_COLOR="1")
    terminal.until("In sync")
    terminal.end(signal.SIGINT)
    assert not re.search(r"\x1b\[[0-9;]*m", terminal.printed)


def test_lines_beyond_the_window_are_counted(serve, port):
    serve(published())
    terminal = Terminal(f"127.0.0.1:{port}", LINES="10")
    terminal.until("more lines, in a higher window")
    terminal.end(signal.SIGINT)
    frames = terminal.printed.split("\x1b[H")
    assert all(each.count("\n") == 9 for each in frames[1:-1])


def test_a_refused_stream_is_reported():
    time = Time()
    board = time.board()
    for _ in range(10):
        time.now += 0.5
        letter = DeadLetter(1.0, "receive", "osc_limit", "osc_1", "10.0.0.7:9", "#bundle", 5)
        board.update([packet(ticks(0), letters=(letter,))])
    lines = frame(_decode(state(board, "r", 0)), Trace(), 80)
    assert any("osc_1: " in line.text and "not used" in line.text for line in lines)
