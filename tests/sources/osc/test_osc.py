import os
import socket
import struct
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from configs.inputs import OscStream
from ops.bench.osc_fuzz import bundle, message
from ops.fakes.ports import free_port
from sources.inbox import Inbox, Message, StreamChange, Unread, stamp
from sources.osc import OscReceiver, udp
from sources.osc.udp import UdpReceiver, holder
from tests.support.waiting import HUNG_S, until


def number(address, value):
    return message(address, "d", struct.pack(">d", value))


@pytest.fixture
def port():
    return free_port()


class Running:
    """A stream that runs, and whoever sends to it."""

    def __init__(self, port, **config):
        self.address = ("127.0.0.1", port)
        self.inbox = Inbox("osc")
        self.stream = OscReceiver(OscStream(name="osc", addr=f"127.0.0.1:{port}", **config))
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def __enter__(self):
        self.stream.start(self.inbox)
        until(lambda: self.inbox.up)
        return self

    def __exit__(self, *_):
        self.stream.stop()
        self.sender.close()

    def send(self, *datagrams):
        for data in datagrams:
            self.sender.sendto(data, self.address)

    def items(self):
        self.stream.stop()
        return [item for item in self.inbox.take() if not isinstance(item, StreamChange)]


@pytest.mark.parametrize("gulps", [True, False])
def test_datagrams_are_received_in_order_with_their_arrival(port, gulps, monkeypatch):
    monkeypatch.setattr(udp, "_has_recvmmsg", lambda: gulps and os.name == "posix")
    with Running(port) as osc:
        before = stamp()
        osc.send(*(number("/a", i) for i in range(2_000)))
        items = osc.items()

    assert [x.value for x in items] == [float(i) for i in range(2_000)]
    arrivals = [x.rx for x in items]
    assert arrivals == sorted(arrivals)
    assert before - 1e-3 <= arrivals[0] <= arrivals[-1] <= stamp()
    assert all(round(rx, 6) == rx for rx in arrivals)


def test_the_kernel_stamps_what_waits_before_it_is_read():
    receiver = UdpReceiver("127.0.0.1", 0)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            # Linux begins to stamp a moment after the first socket asks for it.
            sender.sendto(b"first", ("127.0.0.1", receiver.port))
            time.sleep(0.1)
            receiver.read()
            before = stamp()
            sender.sendto(b"early", ("127.0.0.1", receiver.port))
            after = stamp()
            time.sleep(0.05)
        ((data, rx, raw),) = receiver.read()
        assert data == b"early"
        assert receiver.peer(raw)[0] == "127.0.0.1"
        assert receiver.stamped_by == "kernel"
        assert before <= rx <= after + 0.01
        assert receiver.read() == []
    finally:
        receiver.close()


def test_what_the_kernel_drops_is_counted(monkeypatch):
    monkeypatch.setattr(udp, "BUFFER", 4096)
    receiver = UdpReceiver("127.0.0.1", 0)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(1_000):
                sender.sendto(bytes(64), ("127.0.0.1", receiver.port))
        read = 0
        while datagrams := receiver.read():
            read += len(datagrams)
        assert 0 < read < 1_000
        assert read + receiver.drops() == 1_000
        assert receiver.drops() == 0
    finally:
        receiver.close()


def test_only_wanted_addresses_are_received_and_the_others_are_one_count(port):
    with Running(port, keys=["/ure/*", "/b"]) as osc:
        osc.send(number("/ure/v", 1), number("/b", 2), number("/c", 3), number("/bb", 4))
        items = osc.items()

    assert [(x.key, x.value) for x in items if isinstance(x, Message)] == [
        ("/ure/v", 1.0),
        ("/b", 2.0),
    ]
    assert sum(x.events for x in items if isinstance(x, Unread)) == 2
    assert {x.reason for x in items if isinstance(x, Unread)} == {"filtered"}


@pytest.mark.parametrize(("allow", "received"), [(["127.0.0.0/8"], 1), (["10.0.0.0/8", "::1"], 0)])
def test_only_allowed_peers_are_received(port, allow, received):
    with Running(port, allow=allow) as osc:
        osc.send(number("/a", 1))
        items = osc.items()

    assert sum(isinstance(x, Message) for x in items) == received
    assert [x.reason for x in items if isinstance(x, Unread)] == ["peer"] * (1 - received)


def test_refusals_of_one_reading_share_one_place_a_reason(port):
    with Running(port) as osc:
        osc.stream.stop()
        with closing(UdpReceiver("127.0.0.1", port)) as receiver:
            osc.send(b"bad1", message("/a", "N"), number("/a", 3), b"bad2", b"bad3")
            sender = osc.sender.getsockname()[1]
            items = osc.stream._decoded(receiver.read(), receiver)

    assert [(x.reason, x.events, x.sample[:4]) for x in items if isinstance(x, Unread)] == [
        ("osc", 3, b"bad1"), ("value", 1, b"/a\0\0"),
    ]  # fmt: skip
    assert {x.where for x in items[:2]} == {f"127.0.0.1:{sender}"}
    assert items[2].value == 3.0


def test_a_port_that_is_taken_is_received_once_it_is_free(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", port))
        osc = Running(port)
        osc.stream.start(osc.inbox)
        until(lambda: "is taken by" in osc.inbox.why)
        assert f"process {os.getpid()}" in osc.inbox.why
        assert holder(port).startswith(f"process {os.getpid()} (")
    with osc:
        osc.send(number("/a", 1))
        assert [x.value for x in osc.items()] == [1.0]


def test_a_stream_stops_soon_and_leaves_nothing_behind(port):
    files = len(list(Path("/proc/self/fd").iterdir()))
    with Running(port) as osc:
        begin = time.monotonic()
        osc.stream.stop()
        osc.stream.stop()
        assert time.monotonic() - begin < HUNG_S
    assert "stream osc" not in [t.name for t in threading.enumerate()]
    assert len(list(Path("/proc/self/fd").iterdir())) <= files


def test_ipv6_is_received_too():
    try:
        receiver = UdpReceiver("::1", 0)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        sender.sendto(bundle(number("/a", 1)), ("::1", receiver.port))
    try:
        ((_, _, raw),) = receiver.read()
        assert receiver.peer(raw)[0] == "::1"
    finally:
        receiver.close()
