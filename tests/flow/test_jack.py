"""MIDI in from real senders: a sequencer and a clock of JACK's, on a server without hardware."""

from __future__ import annotations

import json
import os
import pty
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rtmidi

from configs.inputs import MidiStream
from ops.bench import midi_chords
from ops.simulate.devices import Controller, DeviceClock
from sinks.send import destination as instrument
from sinks.send.send_worker import SendWorker
from sources.inbox import Inbox, Message, StreamChange
from sources.midi import MidiReceiver
from sources.midi.port import Port
from tests.support.jack import JackServer, end, jack, needs_jack
from tests.support.json_lines import json_lines
from tests.support.waiting import until

pytestmark = needs_jack


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JackServer]:
    with jack(monkeypatch) as running:
        yield running


CONFIG = """
version: 2
streams: [{{name: midi_1, type: midi, device: Sequencer}}]
signals: {{pulse: {{members: {{"midi_1:note/1/60": {{}}}}}}}}
facts: ["midi_1:note/1/63"]
output: {{dir: {out}}}
"""
"""No setting holds its notes."""


def stream(device: str, virtual: bool = False) -> tuple[MidiReceiver, Inbox]:
    made, inbox = MidiReceiver(MidiStream(name="m", device=device, virtual=virtual)), Inbox("m")
    made.start(inbox)
    return made, inbox


def test_notes_of_a_sequencer_come_in_time(server: JackServer) -> None:
    with server.player("Sequencer"):
        made, inbox = stream("Sequencer")
        until(lambda: inbox.received >= 12)
        made.stop()
    up, *arrived = inbox.take()
    assert isinstance(up, StreamChange)
    assert up.why == "Sequencer:out, Jack"
    notes = [(item.key, item.value) for item in arrived if isinstance(item, Message)]
    assert {key for key, _ in notes} == {"note/1/60", "note/1/63"}
    assert {value for _, value in notes} == {0.0, 64.0}
    begun = [item.rx for item in arrived if isinstance(item, Message) and item.value]
    assert np.diff(begun).mean() == pytest.approx(0.25, abs=0.05)


def test_a_player_that_goes_and_comes_back_is_received_again(
    server: JackServer,
) -> None:
    made, inbox = stream("Sequencer:out")
    for _ in range(3):
        with server.player("Sequencer"):
            until(lambda: inbox.up)
            before = inbox.received
            until(lambda arrived=before: inbox.received > arrived)
        until(lambda: not inbox.up)
    made.stop()
    edges = [item.why for item in inbox.take() if isinstance(item, StreamChange)]
    assert edges[-6:] == ["Sequencer:out, Jack", "Sequencer:out is gone"] * 3


def test_a_clock_that_others_connect_to_our_own_port_is_received(server: JackServer) -> None:
    made, inbox = stream("in", virtual=True)
    until(lambda: inbox.up)
    server.until("lumen:in")
    clock = server.start("jack_midi_clock", "-b", "120", "lumen:in")
    server.run("jack_transport", b"play\nquit\n")
    until(lambda: inbox.received >= 60)
    end(clock)
    made.stop()
    pulses = [item.rx for item in inbox.take() if isinstance(item, Message) and item.key == "clock"]
    assert np.median(np.diff(pulses)) == pytest.approx(60 / 120 / 24, rel=0.15)


def test_a_simulated_clock_is_received_with_its_start_and_stop(server: JackServer) -> None:
    made, inbox = stream("in", virtual=True)
    until(lambda: inbox.up)
    player = Controller(
        MidiStream(name="m", device="lumen:in", virtual=True), [], DeviceClock(0.0), ["clock"]
    )
    player.start()

    def beat() -> bool:
        player.beat(0.0)
        time.sleep(0.01)
        return inbox.received >= 40

    until(beat)
    player.stop()
    until(lambda: not server.ports() or "lumen:out" not in server.ports())
    made.stop()
    arrived = [(item.key, item.value) for item in inbox.take() if isinstance(item, Message)]
    # A busy server may lose one.
    assert {*arrived} <= {("transport", 1.0), ("clock", 1.0), ("transport", 0.0)}
    assert arrived.count(("clock", 1.0)) >= 30


def test_notes_that_are_sent_are_received_and_end(server: JackServer) -> None:
    made, inbox = stream("in", virtual=True)
    until(lambda: inbox.up)
    played = instrument.MidiOutput(["note/1/60", "note/1/60/length", "cc/1/7"], Port("lumen:in"))
    player = SendWorker("notes", 4.0, played)
    player.start()
    for n in range(8):
        player.put({"cc/1/7": float(n), "note/1/60": 90.0, "note/1/60/length": 0.1})
        time.sleep(0.25)
    until(lambda: inbox.received >= 6)
    player.put({"note/1/60": 90.0, "note/1/60/length": 60.0})
    time.sleep(0.5)
    player.stop()
    until(lambda: not server.ports() or "lumen:out" not in server.ports())
    made.stop()
    arrived = [(item.key, item.value) for item in inbox.take() if isinstance(item, Message)]
    notes = [value for key, value in arrived if key == "note/1/60"]
    # A busy server may lose one; what sounds ends, also with the player.
    assert all(after == 0.0 for note, after in pairwise([*notes, None]) if note)
    assert notes.count(90.0) >= 3
    controls = [value for key, value in arrived if key == "cc/1/7"]
    assert controls == sorted(set(controls))


def test_a_sysex_without_end_takes_no_memory_and_what_follows_it_is_received(
    server: JackServer,
) -> None:
    sender = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, name="peer")
    sender.open_virtual_port("out")
    server.until("peer:out")
    made, inbox = stream("peer")
    until(lambda: inbox.up)
    before = memory()
    for _ in range(300):
        sender.send_message([0xF0, *[1] * 2999])
        time.sleep(0.006)
    assert memory() - before < 0.5 * 2**20
    sender.send_message([0xF7])
    time.sleep(0.1)
    sender.send_message([0x90, 60, 64])
    until(lambda: inbox.received)
    made.stop()
    sender.delete()
    assert [x.key for x in inbox.take() if isinstance(x, Message)] == ["note/1/60"]


def test_of_two_alike_each_is_received_by_its_own_stream_and_none_by_two(
    server: JackServer,
) -> None:
    left, right = (rtmidi.MidiOut(rtmidi.API_UNIX_JACK, name="nano") for _ in range(2))
    for device in (left, right):
        device.open_virtual_port("out")
    server.until("nano-01:out")
    # Of two that fit one port the first to open it has it.
    streams = [stream(name) for name in ("nano#1", "nano#2")]
    (_, first), (_, second) = streams
    until(lambda: first.up and second.up)
    streams.append(stream("nano:out"))
    third = streams[2][1]
    until(lambda: third.why != "not started")
    taken = "'nano:out' is the port of another stream of this run: name each port, such as "
    assert third.why.startswith(taken), third.why
    for n in range(20):
        left.send_message([0xB0, 1, n])
        right.send_message([0xB0, 2, n])
        time.sleep(0.02)
    until(lambda: first.received >= 15 and second.received >= 15)
    left.delete()
    until(lambda: not first.up)
    time.sleep(1.0)
    assert second.up, "the right one goes by the same name, and is there"
    assert not first.up
    for made, _ in streams:
        made.stop()
    right.delete()
    keys = [{x.key for x in inbox.take() if isinstance(x, Message)} for _, inbox in streams]
    assert keys == [{"cc/1/1"}, {"cc/1/2"}, set()]


def test_a_device_that_is_opened_while_another_comes_and_goes_is_the_one_meant(
    server: JackServer,
) -> None:
    assert midi_chords.races(10) == {
        "races": 10, "right": 10, "wrong": 0, "silent": 0, "refused": 0
    }  # fmt: skip


@pytest.mark.parametrize("busy_s", [0.0, 0.1])
def test_of_chords_beside_a_busy_flow_nothing_is_doubled_and_next_to_nothing_lost(
    server: JackServer, tmp_path: Path, busy_s: float
) -> None:
    found = midi_chords.measure(tmp_path, 60, busy_s)
    assert (found["doubled"], found["foreign"]) == (0, 0)
    assert found["note_ons"] == 360
    # A machine on which JACK itself misses periods loses some; the run names each time it does.
    assert found["lost_share"] == 0 or found["named"], found


HANG_UP = """
version: 2
streams: [{{name: keys, type: midi, device: Keys}}]
signals: {{level: {{members: {{"keys:cc/1/1": {{}}}}}}}}
send:
  - name: synth
    type: midi
    to: "Synth:in"
    map: {{note/1/60: "clamp(level, 1, 100)"}}
resample: {{target_hz: 20, profile: low_latency}}
output: {{dir: {out}}}
"""


def test_a_note_that_sounds_when_the_terminal_is_closed_ends(
    server: JackServer, tmp_path: Path
) -> None:
    keys = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, name="Keys")
    keys.open_virtual_port("out")
    synth = rtmidi.MidiIn(rtmidi.API_UNIX_JACK, "Synth")
    synth.open_virtual_port("in")
    config, played = tmp_path / "c.yaml", []
    config.write_text(HANG_UP.format(out=tmp_path / "out"))
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-m", "ops", "run", str(config)])

    def last_velocity() -> int | None:
        while got := synth.get_message():
            played.append(got[0])
        return played[-1][2] if played else None

    def sounds() -> bool:
        keys.send_message([0xB0, 1, 64])
        return bool(last_velocity())

    until(sounds, every_s=0.05)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    until(lambda: last_velocity() == 0)
    keys.delete()
    synth.delete()
    assert os.waitstatus_to_exitcode(status) == 0
    assert played[-1] == [0x90, 60, 0]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["ended"]


def memory() -> int:
    """Return what this process holds (bytes)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_server_that_dies_is_a_stream_that_is_down(server: JackServer) -> None:
    made, inbox = stream("in", virtual=True)
    until(lambda: inbox.up)
    server.server.kill()
    until(lambda: not inbox.up)
    until(lambda: "no JACK server" in inbox.why)
    made.stop()


def test_a_live_run_waits_for_its_device_and_accounts_for_every_note(
    server: JackServer, tmp_path: Path
) -> None:
    config, out, log = tmp_path / "midi.yaml", tmp_path / "out", tmp_path / "log"
    config.write_text(CONFIG.format(out=out))
    command = [sys.executable, "-m", "bytewax.run", f"flows.fusion:flow('{config}')"]
    with log.open("wb") as output:
        run = subprocess.Popen(command, stderr=output)
    try:
        until(lambda: "midi_1 is down: no port fits 'Sequencer'" in log.read_text())
        with server.player("Sequencer"):
            until(lambda: "midi_1 is up: Sequencer:out, Jack" in log.read_text())
            time.sleep(8)
            run.terminate()
            assert run.wait(20) == 0
    finally:
        run.kill()
    account = json.loads((out / "run.json").read_text())["account"]["by_source"]["midi_1"]
    # Notes between the signal and the next look at the inbox are dropped.
    assert account["received"] == account["used"] + account["dropped"]
    assert account["used"] > 40
    assert account["dropped"] <= 4
    lines = json_lines(out / "fused.jsonl")
    values = {line["signals"]["pulse"]["value"] for line in lines}
    assert {0.0, 64.0} <= values <= {0.0, 64.0, None}
