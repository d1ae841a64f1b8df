"""OSC over TCP to others: both framings, receivers that are slow, stuck, away and back."""

from __future__ import annotations

import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.inputs import OscStream
from ops.fakes.ports import free_port
from sinks.send.destination import packed
from sinks.send.osc_tcp import LENGTH, SLIP, OscTcpOutput, osc_output, prefixed, slip
from sinks.send.send_process import SendProcess
from sinks.send.send_worker import SendWorker
from sources.inbox import Inbox, Message
from sources.osc import OscReceiver
from sources.osc.frames import Frames
from tests.support.programs import PEERS, environment, needs
from tests.support.waiting import HUNG_S, until

OSCDUMP = PEERS / "usr/bin/oscdump"
FRAMINGS = pytest.mark.parametrize("framing", [SLIP, LENGTH])


@pytest.fixture
def begun() -> Iterator[ExitStack]:
    """What a test has to end."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of a test, not of a stage."""
    monkeypatch.setattr("sinks.send.send_worker._FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("sinks.send.send_worker._MAX_PAUSE_S", 0.05)


def listening(begun: ExitStack, port: int = 0) -> socket.socket:
    made = begun.enter_context(socket.create_server(("127.0.0.1", port)))
    made.settimeout(HUNG_S)
    return made


def address(listener: socket.socket) -> str:
    return f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def connected(begun: ExitStack, framing: str = SLIP) -> tuple[OscTcpOutput, socket.socket]:
    listener = listening(begun)
    output = OscTcpOutput(address(listener), framing)
    begun.callback(output.close)
    output.open()
    peer = begun.enter_context(listener.accept()[0])
    peer.settimeout(HUNG_S)
    return output, peer


@given(st.lists(st.binary(min_size=1, max_size=64), min_size=1, max_size=8))
@pytest.mark.parametrize("wrap", [slip, prefixed])
def test_frames_are_those_of_the_receiver(
    wrap: Callable[[bytes], bytes], packets: list[bytes]
) -> None:
    assert Frames(8192).feed(b"".join(map(wrap, packets))) == packets


def test_an_address_with_tcp_is_a_connection() -> None:
    assert isinstance(osc_output("tcp://127.0.0.1:9", LENGTH), OscTcpOutput)
    assert not isinstance(osc_output("127.0.0.1:9", SLIP), OscTcpOutput)


@FRAMINGS
def test_values_arrive_at_a_stream_of_our_own(begun: ExitStack, framing: str) -> None:
    port, inbox = free_port(), Inbox("a")
    stream = OscReceiver(OscStream(name="a", addr=f"tcp://127.0.0.1:{port}"))
    stream.start(inbox)
    begun.callback(stream.stop)
    until(lambda: inbox.up)
    output = OscTcpOutput(f"tcp://127.0.0.1:{port}", framing)
    begun.callback(output.close)
    assert output.open() == f"tcp 127.0.0.1:{port}"
    for n in range(100):
        output.play({"/x": float(n), "/y": -float(n)}, 0.0)
    found: list = []
    until(lambda: found.extend(inbox.take()) or len(found) > 200)
    assert [(x.key, x.value) for x in found if isinstance(x, Message)] == [
        (key, value) for n in range(100) for key, value in (("/x", float(n)), ("/y", -float(n)))
    ]


@needs(OSCDUMP)
@FRAMINGS
def test_liblo_receives_either_framing(begun: ExitStack, framing: str, tmp_path: Path) -> None:
    port, shown = free_port(), tmp_path / "shown"
    with shown.open("wb") as file:
        dump = subprocess.Popen(
            ["stdbuf", "-oL", OSCDUMP, "-L", f"osc.tcp://:{port}/"],
            env=environment(tmp_path), stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    begun.callback(dump.wait)
    begun.callback(dump.terminate)
    output = OscTcpOutput(f"tcp://127.0.0.1:{port}", framing)
    begun.callback(output.close)
    until(lambda: _opens(output), process=dump)
    output.play({"/stage/motion": 0.5, "/x": -2.0}, 0.0)
    until(lambda: shown.read_text().count("\n") >= 2, process=dump)
    messages = [line.split(" ", 1)[1] for line in shown.read_text().splitlines()]
    assert messages == ["/stage/motion f 0.500000", "/x f -2.000000"]


def _opens(output: OscTcpOutput) -> bool:
    try:
        return bool(output.open())
    except OSError:
        return False


@FRAMINGS
def test_a_receiver_that_is_stuck_gets_whole_frames_of_newer_values_later(
    begun: ExitStack, framing: str
) -> None:
    output, peer = connected(begun, framing)
    sent = 0
    while output.send(packed("/x", float(sent))):  # returns at once, also where nothing fits
        sent += 1
    for _ in range(10_000):
        output.play({f"/{n}": 0.0 for n in range(64)}, 0.0)
    assert output.there()
    frames = Frames(8192)
    found: list[bytes] = []

    def read_on() -> bool:
        found.extend(frames.feed(peer.recv(1 << 16)))
        return output.send(packed("/x", -1.0))

    until(read_on)
    until(lambda: found.extend(frames.feed(peer.recv(1 << 16))) or packed("/x", -1.0) in found)
    before = found[: found.index(packed("/x", -1.0))]
    assert before[:sent] == [packed("/x", float(n)) for n in range(sent)]
    assert len(before) < sent + 64 * 10_000 / 4  # the rest was left out
    assert not frames.broken


def test_little_waits_for_a_stuck_receiver(begun: ExitStack) -> None:
    output, _ = connected(begun)
    assert output._socket is not None
    assert output._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 65_536
    for n in range(10_000):
        output.play({f"/{m}": float(n) for m in range(64)}, 0.0)
    assert len(output._rest) < 64 * 32


def test_a_receiver_that_leaves_is_noticed_without_a_message(begun: ExitStack) -> None:
    output, peer = connected(begun)
    assert output.there()
    peer.sendall(b"an answer")
    assert output.there()
    peer.close()
    until(lambda: not output.there())


def test_a_half_sent_frame_is_not_continued_on_the_next_connection(begun: ExitStack) -> None:
    output, peer = connected(begun)
    while output.send(packed("/x", 1.0)):
        pass
    peer.close()
    until(lambda: not output.there())
    listener = listening(begun)
    output._to = address(listener)
    output.open()
    again = begun.enter_context(listener.accept()[0])
    output.send(packed("/y", 2.0))
    assert again.recv(100) == slip(packed("/y", 2.0))


@pytest.mark.usefixtures("quick")
def test_a_receiver_that_is_away_is_found_when_it_is_there_and_again(
    begun: ExitStack, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    to = f"tcp://127.0.0.1:{port}"
    worker = SendWorker("music", 1000.0, OscTcpOutput(to, SLIP), repeat_s=60.0)
    worker.start()
    begun.callback(worker.stop)
    worker.put({"/x": 1.0})
    shown: list[str] = []
    until(lambda: shown.append(capsys.readouterr().err) or "refused" in "".join(shown))
    for _ in range(2):
        with closing(listening(begun, port)) as listener, listener.accept()[0] as peer:
            assert peer.recv(len(slip(packed("/x", 1.0)))) == slip(packed("/x", 1.0))
    until(lambda: shown.append(capsys.readouterr().err) or "".join(shown).count("silent") >= 2)
    assert f"lumen: music plays: tcp 127.0.0.1:{port}\n" in "".join(shown)


def test_a_receiver_that_ends_each_connection_is_tried_ever_more_rarely(begun: ExitStack) -> None:
    class Refusing:
        """A receiver that accepts, and closes at once."""

        opened: list[float] = []

        def open(self) -> str:
            return "there"

        def there(self) -> bool:
            return True

        def play(self, values: object, now: float) -> None:
            raise BrokenPipeError("it is closed")

        def rest(self, now: float) -> float:
            return float("inf")

        def release(self) -> None:
            pass

        def close(self) -> None:
            pass

    worker = SendWorker("music", 1000.0, Refusing())
    pauses = []
    for _ in range(6):
        assert worker._ready(worker._again)
        worker._lose("it is closed")
        pauses.append(worker._pause)
    assert pauses == [1.0, 2.0, 4.0, 4.0, 4.0, 4.0]


@FRAMINGS
def test_the_process_of_a_destination_sends_over_tcp(begun: ExitStack, framing: str) -> None:
    listener = listening(begun)
    sender = SendProcess("music", 100.0, address(listener), 60.0, framing)
    sender.start()
    begun.callback(sender.stop)
    sender.put({"/x": 0.5})
    peer = begun.enter_context(listener.accept()[0])
    peer.settimeout(HUNG_S)
    wanted = {SLIP: slip, LENGTH: prefixed}[framing](packed("/x", 0.5))
    assert peer.recv(len(wanted), socket.MSG_WAITALL) == wanted


def test_the_length_comes_first_and_big_end_first() -> None:
    assert prefixed(b"abcd") == struct.pack(">I", 4) + b"abcd"
