"""Sockets as they are met: both families, groups, broadcast, several senders, TCP."""

from __future__ import annotations

import socket
import struct
from contextlib import ExitStack, closing

import pytest

from configs.inputs import OscStream
from ops.bench.osc_fuzz import message
from sinks.send import destination as instrument
from sources.inbox import FromSource, Inbox, Item, Message, StreamChange, Unread
from sources.osc import OscReceiver
from sources.osc.tcp import MAX_CONNECTIONS, TcpReceiver
from sources.osc.udp import UdpReceiver
from tests.support.waiting import until


def number(value: float) -> bytes:
    return message("/a", "d", struct.pack(">d", value))


@pytest.fixture
def free() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


class Running:
    """A stream that runs."""

    def __init__(self, addr: str, **config: object) -> None:
        self.inbox = Inbox("a")
        self.stream = OscReceiver(OscStream(name="a", addr=addr, **config))  # type: ignore[arg-type]

    def __enter__(self) -> Running:
        self.stream.start(self.inbox)
        until(lambda: self.inbox.up, lambda: self.inbox.why)
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.stop()

    def items(self, events: int) -> list[Item]:
        """Return what came, once that many events are there."""
        until(lambda: self.inbox.received >= events, lambda: self.inbox.received)
        self.stream.stop()
        return [item for item in self.inbox.take() if not isinstance(item, StreamChange)]


def sender(host: str = "127.0.0.1") -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host, 0))
    return made


def values(items: list[Item]) -> list[object]:
    return [item.value for item in items if isinstance(item, Message)]


def test_a_peer_of_ipv4_on_a_socket_of_both_families_is_judged_as_ipv4(free: int) -> None:
    try:
        UdpReceiver("::", 0).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with Running(f"[::]:{free}", allow=["127.0.0.0/8"]) as osc, sender() as phone:
        phone.sendto(number(1), ("127.0.0.1", free))
        assert values(osc.items(1)) == [1.0]
        assert osc.stream.senders == {"127.0.0.1"}


@pytest.mark.parametrize("interface", [None, "lo"])
def test_a_group_is_joined(free: int, interface: str | None) -> None:
    with ExitStack() as stack:
        try:
            osc = stack.enter_context(Running(f"239.255.0.7:{free}", interface=interface))
        except AssertionError as error:
            pytest.skip(f"no groups on this machine: {error}")
        phone = stack.enter_context(sender())
        phone.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        phone.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
        phone.sendto(number(1), ("239.255.0.7", free))
        assert values(osc.items(1)) == [1.0]


def test_two_may_join_one_group_and_an_unknown_interface_is_named() -> None:
    with closing(UdpReceiver("239.255.0.7", 0)) as first:
        UdpReceiver("239.255.0.7", first.port).close()
    with pytest.raises(OSError, match="there is no interface 'nowhere0'"):
        UdpReceiver("239.255.0.7", 0, "nowhere0")


def test_a_broadcast_is_received(free: int) -> None:
    with Running(f"0.0.0.0:{free}") as osc, sender() as phone:
        phone.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        phone.sendto(number(1), ("127.255.255.255", free))
        assert values(osc.items(1)) == [1.0]


def test_what_is_played_may_be_broadcast(free: int) -> None:
    with Running(f"0.0.0.0:{free}") as osc:
        out = instrument.OscOutput(f"127.255.255.255:{free}")
        out.open()
        out.play({"/a": 0.5}, 0.0)
        out.close()
        assert values(osc.items(1)) == [0.5]


def test_two_senders_that_take_turns_are_named_once_with_the_remedy(free: int) -> None:
    with Running(f"127.0.0.1:{free}") as osc, sender() as one, sender("127.0.0.2") as two:
        for i in range(20):
            (one if i % 2 else two).sendto(number(i), ("127.0.0.1", free))
        assert len(osc.items(20)) == 20
        (line,) = osc.inbox.take_log()
    assert line.startswith(f"a (udp 127.0.0.1:{free}): 127.0.0.")
    assert "127.0.0.1" in line.partition("): ")[2]
    assert "127.0.0.2" in line
    assert "per_sender: true" in line


def test_a_sender_that_moved_to_another_address_is_not_two(free: int) -> None:
    with Running(f"127.0.0.1:{free}") as osc, sender() as one, sender("127.0.0.2") as two:
        for phone in (one, one, two, two):
            phone.sendto(number(1), ("127.0.0.1", free))
        assert len(osc.items(4)) == 4
        assert osc.inbox.take_log() == []


def test_each_sender_is_a_source_of_its_own_on_request(free: int) -> None:
    with (
        Running(f"127.0.0.1:{free}", per_sender=True) as osc,
        sender() as one, sender("127.0.0.2") as two,
    ):  # fmt: skip
        for data in (number(1), message("/a", "N")):
            one.sendto(data, ("127.0.0.1", free))
            two.sendto(data, ("127.0.0.1", free))
        items = osc.items(4)
        assert osc.inbox.take_log() == []
    found = [(x.source, type(x.item)) for x in items if isinstance(x, FromSource)]
    assert found == [
        ("a@127.0.0.1", Message), ("a@127.0.0.2", Message),
        ("a@127.0.0.1", Unread), ("a@127.0.0.2", Unread),
    ]  # fmt: skip


def test_the_seventeenth_sender_is_refused_and_that_is_reported_once(free: int) -> None:
    with Running(f"127.0.0.1:{free}", per_sender=True) as osc, ExitStack() as stack:
        for i in range(18):
            phone = stack.enter_context(sender(f"127.0.0.{i + 1}"))
            phone.sendto(number(i), ("127.0.0.1", free))
        items = osc.items(18)
        (line,) = osc.inbox.take_log()
    sources = {x.source for x in items if isinstance(x, FromSource)}
    assert len(sources) == 16
    refused = [x for x in items if isinstance(x, Unread)]
    assert (sum(x.events for x in refused), {x.reason for x in refused}) == (2, {"peer"})
    assert "more than 16 senders" in line


def framed(data: bytes, slip: bool) -> bytes:
    if not slip:
        return struct.pack(">i", len(data)) + data
    return b"\xc0" + data.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


@pytest.mark.parametrize("slip", [False, True])
def test_tcp_is_received_in_either_framing(free: int, slip: bool) -> None:
    with Running(f"tcp://127.0.0.1:{free}") as osc:
        assert osc.inbox.why.startswith(f"tcp 127.0.0.1:{free}")
        with socket.create_connection(("127.0.0.1", free)) as phone:
            phone.sendall(b"".join(framed(number(i), slip) for i in range(1_000)))
            assert values(osc.items(1_000)) == [float(i) for i in range(1_000)]


def test_what_is_no_osc_on_tcp_is_refused_with_its_peer_and_closed(free: int) -> None:
    with Running(f"tcp://127.0.0.1:{free}") as osc:
        with socket.create_connection(("127.0.0.1", free)) as other:
            peer = other.getsockname()[1]
            other.sendall(b"GET / HTTP/1.1\r\n\r\n")
            other.settimeout(5)
            assert other.recv(1) == b""
        with socket.create_connection(("127.0.0.1", free)) as phone:
            phone.sendall(framed(number(1), False))
            items = osc.items(2)
    assert values(items) == [1.0]
    (refused,) = (x for x in items if isinstance(x, Unread))
    assert (refused.reason, refused.where) == ("osc", f"127.0.0.1:{peer}")
    assert refused.sample.startswith(b"GET /")


def test_connections_are_bounded_and_one_that_ends_makes_room() -> None:
    with closing(TcpReceiver("127.0.0.1", 0)) as receiver, ExitStack() as stack:
        made = [
            stack.enter_context(socket.create_connection(("127.0.0.1", receiver.port)))
            for _ in range(MAX_CONNECTIONS)
        ]
        receiver.read()
        more = stack.enter_context(socket.create_connection(("127.0.0.1", receiver.port)))
        more.settimeout(5)
        receiver.wait(5)
        receiver.read()
        assert more.recv(1) == b""
        made[0].close()
        receiver.wait(5)
        receiver.read()
        late = stack.enter_context(socket.create_connection(("127.0.0.1", receiver.port)))
        late.sendall(framed(number(7), False))
        found: list[tuple[bytes, float, object]] = []
        until(lambda: found.extend(receiver.read()) or found)
        assert [data for data, _, _ in found] == [number(7)]


def test_a_tcp_port_that_is_taken_reports_its_holder() -> None:
    with closing(TcpReceiver("127.0.0.1", 0)) as receiver:
        stream = OscReceiver(OscStream(name="a", addr=f"tcp://127.0.0.1:{receiver.port}"))
        inbox = Inbox("a")
        stream.start(inbox)
        until(lambda: "is taken by process" in inbox.why, lambda: inbox.why)
        stream.stop()
