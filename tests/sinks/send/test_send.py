"""Outputs to play with: what is sent, how often, and what is never sent."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from math import inf, nan
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.osc_message import OscMessage

from configs.load import load
from configs.outputs import MidiDestination, OscDestination
from configs.schema import Config
from operators.records import Fused, FusedSignal, Packet
from sinks.send.destination import MidiOutput, OscOutput, encoded, packed
from sinks.send.send import ExpressionMap, Send, played
from sinks.send.send_worker import SendWorker
from sources.midi.midi import decoded
from sources.midi.port import MidiPortError
from tests.support.waiting import HUNG_S, until

CONFIG = msgspec.convert(
    {
        "version": 2,
        "streams": [{"name": "a", "type": "osc", "addr": "127.0.0.1:9000"}],
        "signals": {"pulse": {"members": {"a:/x": {}}}},
        "facts": ["a:level"],
    },
    Config,
)


def fused(
    *value: float, first: int = 0, entropy: float = 0.25, sync: float = 0.9, fact: float = nan
) -> Fused:
    """Ticks at 5 Hz from tick `first` on."""
    k = len(value)
    ts, whole = (first + np.arange(k)) / 5, np.zeros(k, np.int64)
    signal = FusedSignal("pulse", ("a:/x",), np.array(value), ts, ts, whole, whole, np.ones((k, 1)))
    five = np.tile([0.1, 0.2, 0.3, sync, entropy], (k, 1))
    facts = np.full((k, 1), fact)
    return Fused(ts, ts, whole, whole + 1, (signal,), five, five, five, facts, ("a:level",), ts, ts)


def osc(to: str = "127.0.0.1:9", **mapped: str) -> OscDestination:
    return OscDestination(name="music", to=to, map={f"/{k}": text for k, text in mapped.items()})


def score(**mapped: str) -> ExpressionMap:
    return ExpressionMap(osc(**mapped), CONFIG.plan())


def test_the_music_of_the_seed_is_loud_when_it_is_sure_and_long_when_it_agrees() -> None:
    music = score(velocity="127*(1-entropy_ratio)", note_len="clamp(sync_quality, 0.1, 1.2)")
    assert music.values(fused(1.0, entropy=0.25, sync=0.9)) == {
        "/velocity": 127 * 0.75, "/note_len": 0.9
    }  # fmt: skip
    assert music.values(fused(1.0, entropy=0.0, sync=0.0))["/note_len"] == 0.1


def test_sent_values_are_those_of_the_newest_tick() -> None:
    assert score(x="pulse", y="level").values(fused(1.0, 2.0, 3.0, fact=7.0)) == {
        "/x": 3.0, "/y": 7.0
    }  # fmt: skip


def test_null_is_not_sent() -> None:
    music = score(x="pulse", y="level", z="1/(pulse - pulse)", w="2")
    assert music.values(fused(1.0, nan)) == {"/w": 2.0}


def test_a_window_looks_back_over_all_ticks_however_they_come() -> None:
    whole, parts = score(x="mean(pulse, 1s)"), score(x="mean(pulse, 1s)")
    at_once = whole.values(fused(1.0, 2.0, 3.0, 4.0, 9.0))
    parts.values(fused(1.0, 2.0))
    assert parts.values(fused(3.0, 4.0, 9.0, first=2)) == at_once == {"/x": 3.8}


@given(
    st.from_regex(r"/[a-z/]{1,40}", fullmatch=True),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)
def test_osc_messages_are_read_by_another_library(address: str, value: float) -> None:
    message = OscMessage(packed(address, value))
    assert (message.address, message.params) == (address, [value])


def test_values_beyond_float32_are_its_largest() -> None:
    assert OscMessage(packed("/x", -1e300)).params == [-3.4028234663852886e38]


@pytest.mark.parametrize(
    ("key", "value", "received"),
    [
        ("cc/1/74", 63.6, 64.0),
        ("cc/16/127", 900.0, 127.0),
        ("cc/1/1", -3.0, 0.0),
        ("note/1/60", 100.0, 100.0),
        ("program/2", 4.0, 4.0),
        ("pressure/3", 5.0, 5.0),
        ("pressure/3/60", 5.0, 5.0),
        ("pitch/1", -8192.0, -8192.0),
        ("pitch/1", 1e9, 8191.0),
        ("pitch/1", 0.4, 0.0),
    ],
)
def test_a_sent_controller_has_the_key_of_a_received_one(
    key: str, value: float, received: float
) -> None:
    event = decoded(encoded(key, value), 0.0, "")
    assert (event.key, event.value) == (key, received)  # type: ignore[union-attr]


class Wire:
    """A MIDI port that keeps what is sent."""

    def __init__(self) -> None:
        self.plugged = True
        self.sent: list[tuple[str, float]] = []
        self.facts: tuple[str, ...] = ("synth",)
        self.calls: list[str] = []

    def open(self) -> None:
        self.calls.append("open")
        if not self.plugged:
            raise MidiPortError("no port fits 'synth'; present: none")

    def there(self) -> bool:
        return self.plugged

    def send(self, message: Sequence[int]) -> None:
        if not self.plugged:
            raise MidiPortError("synth: gone")
        event = decoded(message, 0.0, "")
        self.sent.append((event.key, event.value))  # type: ignore[union-attr]

    def release(self) -> None:
        self.calls.append("release")

    def close(self) -> None:
        self.calls.append("close")


def midi(*keys: str) -> tuple[MidiOutput, Wire]:
    wire = Wire()
    made = MidiOutput(keys, wire)
    made.open()
    return made, wire


def test_a_controller_is_sent_when_its_value_changes() -> None:
    made, wire = midi("cc/1/7")
    for value in (1.0, 1.2, 2.0, 2.0):
        made.play({"cc/1/7": value}, 0.0)
    assert wire.sent == [("cc/1/7", 1.0), ("cc/1/7", 2.0)]


def test_a_note_ends_when_its_length_is_over() -> None:
    made, wire = midi("note/1/60", "note/1/60/length")
    made.play({"note/1/60": 90.0, "note/1/60/length": 0.3}, 10.0)
    assert made.rest(10.1) == pytest.approx(10.3)
    assert wire.sent == [("note/1/60", 90.0)]
    assert made.rest(10.4) == inf
    assert wire.sent[1:] == [("note/1/60", 0.0)]


def test_a_note_without_a_length_ends_with_the_next() -> None:
    made, wire = midi("note/1/60")
    for velocity in (90.0, 80.0, 0.0, 0.0):
        made.play({"note/1/60": velocity}, 0.0)
    assert [value for _, value in wire.sent] == [90.0, 0.0, 80.0, 0.0]


def test_a_note_of_unknown_length_or_velocity_is_not_played() -> None:
    made, wire = midi("note/1/60", "note/1/60/length")
    made.play({"note/1/60": 90.0}, 0.0)
    made.play({"note/1/60/length": 1.0}, 0.0)
    assert wire.sent == []


def test_all_notes_end_with_the_run() -> None:
    made, wire = midi("note/1/60", "note/2/61")
    made.play({"note/1/60": 90.0, "note/2/61": 80.0}, 0.0)
    made.close()
    assert set(wire.sent[2:]) == {("note/1/60", 0.0), ("note/2/61", 0.0)}
    assert wire.calls == ["open", "release", "close"]


def test_a_synthesizer_removed_during_a_note_is_released() -> None:
    made, wire = midi("note/1/60")
    made.play({"note/1/60": 90.0}, 0.0)
    wire.plugged = False
    made.close()
    assert wire.calls == ["open", "release", "close"]


class Instrument:
    """Notes when it is played; `slow` (s) to play, `broken` if it cannot be."""

    def __init__(self, slow: float = 0.0, broken: bool = False) -> None:
        self.slow, self.broken = slow, broken
        self.played: list[tuple[float, dict[str, float]]] = []
        self.tries = self.closed = 0

    def open(self) -> str:
        self.tries += 1
        if self.broken:
            raise OSError("not there")
        return "somewhere"

    def there(self) -> bool:
        return not self.broken

    def play(self, values: Mapping[str, float], now: float) -> None:
        time.sleep(self.slow)
        self.played.append((now, dict(values)))

    def rest(self, now: float) -> float:
        return inf

    def release(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1


def playing(instrument: Instrument, rate_hz: float) -> SendWorker:
    player = SendWorker("music", rate_hz, instrument)
    player.start()
    return player


def test_values_are_sent_no_faster_than_configured() -> None:
    instrument = Instrument()
    player = playing(instrument, 20.0)
    started = time.monotonic()
    n = 0
    while time.monotonic() - started < 1.0:
        n += 1
        player.put({"x": float(n)})
        time.sleep(0.002)
    player.stop()
    assert n > 100
    assert 10 <= len(instrument.played) <= 22
    values = [values["x"] for _, values in instrument.played]
    assert values == sorted(values)
    assert values[-1] > n - 60


def test_the_rhythm_is_even_for_any_ticks() -> None:
    instrument = Instrument()
    player = playing(instrument, 10.0)
    for n in range(30):
        player.put({"x": float(n)})
        time.sleep(0.04)
    player.stop()
    gaps = np.diff([at for at, _ in instrument.played])
    assert np.median(gaps) == pytest.approx(0.1, abs=0.015)


def test_a_value_without_repetition_is_sent_once() -> None:
    instrument = Instrument()
    player = playing(instrument, 1000.0)
    player.put({"x": 1.0})
    until(lambda: instrument.played)
    time.sleep(0.05)
    player.stop()
    assert len(instrument.played) == 1


def test_values_are_repeated_until_newer_ones_arrive() -> None:
    instrument = Instrument()
    player = SendWorker("music", 200.0, instrument, repeat_s=60.0)
    player.start()
    player.put({"x": 1.0, "y": 1.0})
    until(lambda: len(instrument.played) >= 10)
    player.put({"x": 2.0})  # y has become null
    until(lambda: sum(values == {"x": 2.0} for _, values in instrument.played) >= 10)
    gaps = np.diff([at for at, _ in instrument.played])
    player.put({})
    time.sleep(0.02)
    n = len(instrument.played)
    time.sleep(0.05)
    player.stop()
    assert len(instrument.played) == n
    assert gaps.min() >= 0.5 / 200.0
    values = [values["x"] for _, values in instrument.played]
    assert values == sorted(values)


def test_values_are_repeated_for_a_limited_time() -> None:
    instrument = Instrument()
    player = SendWorker("music", 200.0, instrument, repeat_s=0.1)
    player.start()
    player.put({"x": 1.0})
    time.sleep(0.4)
    player.stop()
    assert 2 <= len(instrument.played) <= 21


def test_osc_is_repeated_while_ticks_are_late() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(5)
        sent = run(f"127.0.0.1:{peer.getsockname()[1]}", x="pulse")
        sent.start()
        sent.consume([packet(fused(0.5))])
        for _ in range(5):
            assert OscMessage(peer.recv(100)).params == [0.5]
        sent.stop()


def test_a_slow_destination_does_not_delay_the_flow() -> None:
    instrument = Instrument(slow=0.2)
    player = playing(instrument, 1000.0)
    started = time.monotonic()
    for n in range(1000):
        player.put({"x": float(n)})
    assert time.monotonic() - started < HUNG_S  # a flow that waits needs 200 s
    player.stop()
    assert len(instrument.played) <= 2
    assert instrument.closed == 1


def test_a_missing_destination_is_reported_once_and_tried_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinks.send.send_worker._FIRST_PAUSE_S", 0.01)
    instrument = Instrument(broken=True)
    player = playing(instrument, 1000.0)
    for _ in range(50):
        player.put({"x": 1.0})
        time.sleep(0.005)
    assert 2 <= instrument.tries <= 10
    instrument.broken = False

    def was_played() -> bool:
        player.put({"x": 1.0})
        return bool(instrument.played)

    until(was_played)
    player.stop()
    assert capsys.readouterr().err == (
        "lumen: music is silent: not there\nlumen: music plays: somewhere\n"
    )


def run(to: str, **mapped: str) -> Send:
    config = msgspec.structs.replace(CONFIG, send=[osc(to, **mapped)])
    return Send(config, lambda *_: Wire())


def packet(ticks: Fused | None) -> Packet:
    return Packet("studio", 0.0, False, np.empty(0), fused=ticks)


def test_ticks_become_datagrams() -> None:
    before = threading.active_count()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(5)
        sent = run(f"127.0.0.1:{peer.getsockname()[1]}", x="pulse", y="level")
        sent.start()
        sent.consume([packet(None)])
        sent.consume([packet(fused(nan))])
        sent.consume([packet(fused(0.5))])
        message = OscMessage(peer.recv(100))
        sent.stop()
    assert (message.address, message.params) == ("/x", [0.5])
    assert threading.active_count() == before


def test_osc_without_a_receiver_does_not_fail() -> None:
    sent = run("127.0.0.1:9", x="pulse")
    sent.start()
    for n in range(5):
        sent.consume([packet(fused(1.0, first=n))])
        time.sleep(0.06)
    sent.stop()


def test_an_unknown_host_is_an_error_with_a_reason() -> None:
    with pytest.raises(OSError, match=r"\S"):
        OscOutput("no.such.host.invalid:9").open()


MUSIC = Path("configs/music.yaml")


def test_the_shipped_music_is_that_of_the_seed_every_half_second() -> None:
    music, notes = load(MUSIC).config.send
    assert isinstance(notes, MidiDestination)
    assert music.rate_hz == notes.rate_hz == 2
    ticks = fused(1.0, entropy=0.14, sync=2.0)
    plan = load(MUSIC).config.plan()
    assert list(ExpressionMap(music, plan).values(ticks).values()) == [127 * (1 - 0.14), 1.2]
    assert list(ExpressionMap(notes, plan).values(ticks)) == ["note/1/60", "note/1/60/length"]


def test_a_replay_plays_at_a_speed_and_not_as_fast_as_it_goes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = load(MUSIC).config
    (stream,) = config.streams
    fast = [msgspec.structs.replace(stream, speed=0.0)]
    assert played(config, lambda *_: Wire()) is not None
    assert capsys.readouterr().err == ""
    assert played(msgspec.structs.replace(config, streams=fast), lambda *_: Wire()) is None
    assert "nothing is sent" in capsys.readouterr().err
    assert played(CONFIG, lambda *_: Wire()) is None


@pytest.mark.parametrize(
    "to",
    [
        '"127.0.0.1:9001"',
        '"127.0.0.1:9000", loop: true',
        '"192.0.2.1:9000"',
        '"a.house.invalid:9000"',
    ],
)
def test_an_own_address_is_a_destination_only_with_loop(to: str, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "version: 2\n"
        'streams: [{name: o, type: osc, addr: "0.0.0.0:9000"}]\n'
        'signals: {pulse: {members: {"o:/x": {}}}}\n'
        f"send: [{{name: m, type: osc, map: {{/y: pulse}}, to: {to}}}]\n"
    )
    assert load(config).config.send[0].name == "m"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_any_end_of_the_worker_ends_all_notes() -> None:
    made, wire = midi("note/1/60")
    player = playing(made, 1000.0)  # type: ignore[arg-type]
    player.put({"note/1/60": 90.0})
    until(lambda: wire.sent)
    player.put({"note/1/60": "loud"})  # type: ignore[dict-item]
    until(lambda: "close" in wire.calls)
    player.stop()  # the thread's exception belongs to this test
    assert wire.sent == [("note/1/60", 90.0), ("note/1/60", 0.0)]


ENDS = {
    "an exception": "raise OSError",
    "exit": "sys.exit(3)",
    "an interrupt": "raise KeyboardInterrupt",
}
LEAVING = """
import sys, time
from sinks.send import send
from tests.sinks.send import test_send as t
wire = t.Wire()
send._worker = lambda *_: t.SendWorker("music", 1000.0, t.MidiOutput(["note/1/60"], wire))
sent = t.run("127.0.0.1:9", x="1")
wire.send = lambda message: print(message, file=sys.stderr, flush=True)
sent.start()
sent._parts[0][1].put({{"note/1/60": 90.0}})
time.sleep(0.5)
{end}
"""


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_notes_end_with_the_process_however_python_leaves_it(end: str) -> None:
    leaving = subprocess.run(
        [sys.executable, "-c", LEAVING.format(end=end)], capture_output=True, text=True, check=False
    )
    assert leaving.returncode != 0
    notes = [line for line in leaving.stderr.splitlines() if line.startswith("[")]
    assert notes == ["[144, 60, 90]", "[144, 60, 0]"], leaving.stderr
