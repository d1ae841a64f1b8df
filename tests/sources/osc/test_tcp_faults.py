"""OSC over TCP as it goes wrong: slow, cut, too long, too many; each loss has its dead letter."""

from __future__ import annotations

import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from configs.inputs import OscStream
from ops.bench.osc_fuzz import message
from ops.fakes.ports import free_port
from sinks.send.osc_tcp import prefixed, slip
from sources.inbox import Inbox, Message, Unread
from sources.osc import OscReceiver
from sources.osc.datagram import MAX_DATAGRAM
from sources.osc.tcp import MAX_CONNECTIONS
from tests.support.programs import OSCSEND, environment, needs
from tests.support.waiting import HUNG_S, until

Wrap = Callable[[bytes], bytes]
FRAMINGS = pytest.mark.parametrize("wrap", [slip, prefixed])


def number(value: float) -> bytes:
    return message("/a", "d", struct.pack(">d", value))


class Port:
    """A stream that runs, and its senders."""

    def __init__(self, begun: ExitStack) -> None:
        self.port, self._begun = free_port(), begun
        self.inbox = Inbox("a")
        self._items: list[Message | Unread] = []
        stream = OscReceiver(OscStream(name="a", addr=f"tcp://127.0.0.1:{self.port}"))
        stream.start(self.inbox)
        begun.callback(stream.stop)
        until(lambda: self.inbox.up)

    def sender(self) -> socket.socket:
        made = self._begun.enter_context(socket.create_connection(("127.0.0.1", self.port)))
        made.settimeout(HUNG_S)
        return made

    def items(self, events: int) -> list[Message | Unread]:
        """Return all so far, once they are that many events."""

        def enough() -> bool:
            self._items += [x for x in self.inbox.take() if isinstance(x, Message | Unread)]
            return sum(getattr(x, "events", 1) for x in self._items) >= events

        until(enough)
        return self._items


@pytest.fixture
def osc() -> Iterator[Port]:
    with ExitStack() as begun:
        yield Port(begun)


def values(items: list[Message | Unread]) -> list[object]:
    return [item.value for item in items if isinstance(item, Message)]


def refusals(items: list[Message | Unread]) -> list[tuple[str, int]]:
    return [(item.reason, item.events) for item in items if isinstance(item, Unread)]


@FRAMINGS
def test_a_sender_of_single_bytes_is_received_and_holds_nobody_up(osc: Port, wrap: Wrap) -> None:
    slow, fast = osc.sender(), osc.sender()
    for n, byte in enumerate(wrap(number(-1))):
        slow.sendall(bytes((byte,)))
        fast.sendall(wrap(number(n)))
        assert n in values(osc.items(n + 1))
    sent = len(wrap(number(-1)))
    assert sorted(values(osc.items(sent + 1))) == [-1.0, *range(sent)]


@pytest.mark.parametrize("length", [1 << 31, (1 << 32) - 1, 0, (1 << 24) + 1])
def test_a_length_that_cannot_be_ends_the_connection_with_one_dead_letter(
    osc: Port, length: int
) -> None:
    bad, good = osc.sender(), osc.sender()
    bad.sendall(prefixed(number(1)) + struct.pack(">I", length) + number(2))
    assert bad.recv(1) == b""
    good.sendall(prefixed(number(3)))
    items = osc.items(3)
    assert values(items) == [1.0, 3.0]
    assert refusals(items) == [("osc", 1)]


def test_a_length_of_2_31_at_the_start_is_no_framing(osc: Port) -> None:
    bad = osc.sender()
    bad.sendall(struct.pack(">I", 1 << 31))
    assert bad.recv(1) == b""
    assert refusals(osc.items(1)) == [("osc", 1)]


@pytest.mark.parametrize("broken", [b"\xdb", b"\xdb\xdb", b"\xdbx", b"\xdb\xdbx"])
def test_an_invalid_escape_costs_its_packet_and_the_connection_goes_on(
    osc: Port, broken: bytes
) -> None:
    sender = osc.sender()
    # Without its escape the second packet is sound: the loss must not look like a value.
    torn = b"\xc0" + number(2)[:-1] + broken + b"\xc0"
    sender.sendall(slip(number(1)) + torn + slip(number(3)))
    items = osc.items(3)
    assert values(items) == [1.0, 3.0]
    assert refusals(items) == [("osc", 1)]


def test_an_escape_cannot_turn_one_number_into_another(osc: Port) -> None:
    sender = osc.sender()
    sender.sendall(b"\xc0" + number(2)[:-1] + b"\xdb\x01\xc0" + slip(number(3)))
    items = osc.items(2)
    assert values(items) == [3.0]
    assert refusals(items) == [("osc", 1)]


@pytest.mark.parametrize("rest", [b"\xc0\xdb", b"\xc0" + number(2), b"\xc0" + number(2) + b"\xdb"])
def test_a_slip_connection_that_ends_within_a_packet_leaves_one_dead_letter(
    osc: Port, rest: bytes
) -> None:
    with osc.sender() as sender:
        sender.sendall(slip(number(1)) + rest)
    items = osc.items(2)
    assert values(items) == [1.0]
    assert refusals(items) == [("osc", 1)]


@pytest.mark.parametrize("rest", [b"\0\0", b"\0\0\0\x10", prefixed(number(2))[:-1]])
def test_a_length_prefixed_connection_that_ends_within_a_packet_leaves_one_dead_letter(
    osc: Port, rest: bytes
) -> None:
    with osc.sender() as sender:
        sender.sendall(prefixed(number(1)) + rest)
    items = osc.items(2)
    assert values(items) == [1.0]
    assert refusals(items) == [("osc", 1)]


@FRAMINGS
def test_a_packet_beyond_8_kib_is_one_dead_letter_and_the_connection_goes_on(
    osc: Port, wrap: Wrap
) -> None:
    long = message("/a", "b", struct.pack(">i", MAX_DATAGRAM) + bytes(MAX_DATAGRAM))
    sender = osc.sender()
    sender.sendall(wrap(number(1)) + wrap(long) + wrap(number(3)))
    items = osc.items(3)
    assert values(items) == [1.0, 3.0]
    assert refusals(items) == [("too_long", 1)]


@FRAMINGS
def test_a_packet_that_is_no_osc_is_one_dead_letter_and_the_connection_goes_on(
    osc: Port, wrap: Wrap
) -> None:
    sender = osc.sender()
    sender.sendall(wrap(number(1)) + wrap(b"/no type tags") + wrap(number(3)))
    items = osc.items(3)
    assert values(items) == [1.0, 3.0]
    assert refusals(items) == [("osc", 1)]


def test_the_seventeenth_connection_is_refused_and_counted(osc: Port) -> None:
    senders = [osc.sender() for _ in range(MAX_CONNECTIONS)]
    for n, sender in enumerate(senders):
        sender.sendall(slip(number(n)))
    osc.items(MAX_CONNECTIONS)
    with osc.sender() as more:
        where = f"127.0.0.1:{more.getsockname()[1]}"
        assert _ended(more)
    refused = osc.items(MAX_CONNECTIONS + 1)[-1]
    assert isinstance(refused, Unread)
    assert (refused.reason, refused.where) == ("peer", where)
    assert refused.sample == b"16 senders are connected"


def test_200_idle_connections_leave_those_before_them_served(osc: Port) -> None:
    playing = osc.sender()
    playing.sendall(slip(number(0)))
    osc.items(1)
    idle = [osc.sender() for _ in range(200)]
    refused = 200 - (MAX_CONNECTIONS - 1)
    for n in range(1, 6):
        playing.sendall(slip(number(n)))
    items = osc.items(6 + refused)
    assert values(items) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert sum(count for _, count in refusals(items)) == refused
    for sender in idle:
        sender.close()
    until(lambda: _plays(osc))


def _plays(osc: Port) -> bool:
    """Whether a new sender is received."""
    with osc.sender() as sender:
        try:
            sender.sendall(slip(number(99)))
        except OSError:
            return False
    osc.items(0)
    return 99.0 in values(osc.items(0))


def _ended(sender: socket.socket) -> bool:
    try:
        return sender.recv(1) == b""
    except ConnectionResetError:
        return True


@needs(OSCSEND)
def test_liblo_is_received_over_tcp(osc: Port, tmp_path: Path) -> None:
    for value in ("0.5", "-2"):
        command = [OSCSEND, f"osc.tcp://127.0.0.1:{osc.port}", "/lo", "f", value]
        subprocess.run(command, env=environment(tmp_path), check=True, timeout=HUNG_S)
    items = osc.items(2)
    assert [(x.key, x.value) for x in items if isinstance(x, Message)] == [
        ("/lo", 0.5), ("/lo", -2.0)
    ]  # fmt: skip
