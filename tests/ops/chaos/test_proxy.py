"""Proxies on loopback: bytes outside the window, and each fault inside."""

import http.client
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from pythonosc.osc_bundle import OscBundle
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import build_msg

from ops.__main__ import main
from ops.chaos.fault import Disturbance
from ops.chaos.osc_values import OscValues
from ops.chaos.page_values import PageValues
from ops.chaos.proxy import LOOPBACK, Address, HttpProxy, ProxyError, UdpProxy
from tests.support.waiting import until

PAGE = b'# TYPE a gauge\na 1.5\nb{x="y z"} 2 1000\nure_residual_entropy_last 0.08\n'


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def running(kind, fault: Disturbance, port: int):
    clock = Hand()
    proxy = kind(fault, Address(LOOPBACK, 0), Address(LOOPBACK, port), clock)
    stop = threading.Event()
    thread = threading.Thread(target=proxy.run, args=(stop.is_set,))
    thread.start()
    try:
        yield proxy, clock
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((LOOPBACK, 0))
        made.settimeout(60)
        yield made


def send(proxy: UdpProxy, data: bytes) -> None:
    received = proxy.counts.received
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(data, proxy.address)
    until(lambda: proxy.counts.received > received)


def test_datagrams_pass_byte_for_byte_outside_the_window(peer) -> None:
    with running(UdpProxy, Disturbance("spike", 10.0, 5.0), peer.getsockname()[1]) as (
        proxy,
        clock,
    ):
        assert proxy.address.host == LOOPBACK
        for now in (0.0, 9.9, 15.0):
            clock.now = now
            for data in (b"", b"no OSC", b"#bundle\0torn", bytes(range(256)) * 200):
                send(proxy, data)
                assert peer.recv(1 << 16) == data


def test_held_datagrams_leave_when_they_are_due(peer) -> None:
    with running(UdpProxy, Disturbance("delay", 10.0, 5.0), peer.getsockname()[1]) as (
        proxy,
        clock,
    ):
        clock.now = 14.9
        send(proxy, b"held")
        clock.now = 15.1
        send(proxy, b"at once")
        assert peer.recv(99) == b"at once"
        assert proxy.counts.forwarded == 1
        clock.now = 15.71
        assert peer.recv(99) == b"held"


def test_a_stop_ends_with_its_window(peer) -> None:
    with running(UdpProxy, Disturbance("stop", 0.0, 5.0), peer.getsockname()[1]) as (proxy, clock):
        send(proxy, b"lost")
        clock.now = 5.0
        send(proxy, b"passed")
        assert peer.recv(99) == b"passed"
        assert (proxy.counts.removed, proxy.counts.forwarded) == (1, 1)


def test_noise_is_on_numbers_of_messages_in_bundles_too() -> None:
    values = OscValues(Disturbance("spike"), np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for value in rng.normal(5, 2, 400):
        data = build_msg("/a", [float(value), "text", 7, b"blob!"]).dgram
        assert values.changed(data, active=False) == data
    made = []
    for _ in range(400):
        data = build_msg("/a", [5.0, "text", 7, b"blob!"]).dgram
        bundle = b"#bundle\0" + struct.pack(">Qi", 1, len(data)) + data
        changed = values.changed(bundle, active=True)
        assert len(changed) == len(bundle)
        params = OscMessage(changed[20:]).params
        assert params[1:] == ["text", 7, b"blob!"]  # a constant has no spread
        made.append(params[0] - 5.0)
    assert np.std(made) == pytest.approx(6, rel=0.15)


def test_a_step_is_on_time_tags() -> None:
    values = OscValues(Disturbance("step"), np.random.default_rng(0))
    data = build_msg("/a", [1.0]).dgram
    tag = (3_900_000_000 << 32) + 12345
    bundle = b"#bundle\0" + struct.pack(">Qi", tag, len(data)) + data
    before, after = OscBundle(bundle), OscBundle(values.changed(bundle, active=True))
    assert after.timestamp - before.timestamp == pytest.approx(0.5)
    immediately = b"#bundle\0" + struct.pack(">Qi", 1, len(data)) + data
    assert values.changed(immediately, active=True) == immediately
    assert values.changed(bundle, active=False) == bundle


def test_values_of_pages_change_in_place() -> None:
    spike = PageValues(Disturbance("spike", entropy=0.35), np.random.default_rng(0))
    for i in range(100):
        page = PAGE.replace(b"1.5", b"%d" % i)
        assert spike.changed(page, active=False) == page
    lines = spike.changed(PAGE, active=True).split(b"\n")
    assert lines[0] == b"# TYPE a gauge"
    assert lines[1].startswith(b"a ")
    assert float(lines[1].split()[1]) != 1.5
    assert lines[2:] == [b'b{x="y z"} 2 1000', b"ure_residual_entropy_last 0.35", b""]
    step = PageValues(Disturbance("step"), np.random.default_rng(0))
    assert step.changed(PAGE, active=True) == PAGE.replace(b"1000", b"1500")


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE)

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with ThreadingHTTPServer((LOOPBACK, 0), Answer) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def got(address: Address) -> bytes:
    """Return the page of one connection."""
    asked = http.client.HTTPConnection(*address, timeout=60)
    try:
        asked.request("GET", "/metrics", headers={"Connection": "close"})
        return asked.getresponse().read()
    finally:
        asked.close()


def test_pages_pass_outside_the_window_and_change_inside(server) -> None:
    fault = Disturbance("spike", 10.0, 5.0, entropy=0.35)
    with running(HttpProxy, fault, server.server_port) as (proxy, clock):
        assert got(proxy.address) == PAGE
        clock.now = 10.0
        assert got(proxy.address) == PAGE.replace(b"0.08", b"0.35")
        clock.now = 15.0
        assert got(proxy.address) == PAGE
        assert proxy.counts.changed == 1


def test_one_connection_takes_several_requests(server) -> None:
    with running(HttpProxy, Disturbance("stop", 10.0), server.server_port) as (proxy, _):
        asked = http.client.HTTPConnection(*proxy.address, timeout=60)
        for _ in range(3):
            asked.request("GET", "/metrics")
            assert asked.getresponse().read() == PAGE
        asked.close()


def test_a_stop_closes_connections_without_an_answer(server) -> None:
    with running(HttpProxy, Disturbance("stop", 0.0, 5.0), server.server_port) as (proxy, clock):
        with pytest.raises((http.client.HTTPException, OSError)):
            got(proxy.address)
        clock.now = 5.0
        assert got(proxy.address) == PAGE
        assert proxy.counts.removed == 1


def test_a_server_that_is_away_ends_the_connection_only(peer) -> None:
    with socket.socket() as held:
        held.bind((LOOPBACK, 0))
        with running(HttpProxy, Disturbance("delay", 10.0), held.getsockname()[1]) as (proxy, _):
            for _ in range(2):
                with pytest.raises((http.client.HTTPException, OSError)):
                    got(proxy.address)


def test_addresses_are_on_loopback_unless_given() -> None:
    assert Address.of("9000") == Address(LOOPBACK, 9000)
    assert Address.of("http://0.0.0.0:80/") == Address("0.0.0.0", 80)
    assert Address.of("[::1]:80") == Address("::1", 80)
    for text in ("", "host", "host:", "host:70000", "http://host:80/path"):
        with pytest.raises(ProxyError):
            Address.of(text)


def test_an_address_in_use_is_refused(peer, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["chaos", "loss", str(peer.getsockname()[1]), "9", "--proxy"])
    assert ended.value.code == 2
    assert "lumen chaos: 127.0.0.1:" in capsys.readouterr().err
