import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress
from statistics import median

import pytest

from configs.outputs import ExporterConfig
from ops.fakes.ports import free_port
from sinks.exporter import wsgi as listening
from sinks.exporter.server import HttpPortError, Server, served
from sources.osc.udp import listener
from tests.support.shown import Time, events, packet, ticks
from tests.support.waiting import HUNG_S, until


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def begin(port):
    """Return what starts a server on the port; all are stopped at the end."""
    with ExitStack() as stack:

        def _begin(**given):
            board = Time().board()
            board.update([packet(ticks(0), ends=events("osc_1"))])
            server = Server(ExporterConfig(http_port=port, **given), board, listener)
            server.start()
            stack.callback(server.stop)
            return server

        yield _begin


def get(port, path="/metrics_fusion", method="GET", data=None):
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=HUNG_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def raw(port, request):
    """Return all that is answered until the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=HUNG_S) as client:
        client.sendall(request)
        parts = []
        with suppress(ConnectionError):
            while part := client.recv(65536):
                parts.append(part)
    return b"".join(parts)


def test_the_pages_are_served(begin, port):
    begin()
    assert b'fusion_mode{mode="fused",rig="r"} 1.0' in get(port)[1]
    assert get(port, "/healthz") == (200, b"ok\n")
    assert get(port, "/readyz")[0] == 200
    assert get(port, "/nowhere")[0] == 404
    assert get(port, "/evidence/bundle?limit=0")[0] == 400
    assert get(port, "/healthz", "POST", b"x" * 100)[0] == 405
    assert get(port, "/healthz", "HEAD") == (200, b"")


def test_only_the_loopback_is_served(begin, port):
    begin()
    with open("/proc/net/tcp") as table:  # noqa: PTH123
        bound = re.findall(rf"([0-9A-F]{{8}}):{port:04X} 00000000:0000 0A", table.read())
    assert bound == ["0100007F"]


def asked_as(port, host, path="/state"):
    """Return the status line of a request under a host name."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    return raw(port, request.encode()).partition(b"\r\n")[0]


@pytest.mark.parametrize("path", ["/state", "/healthz", "/metrics_fusion", "/nowhere"])
def test_a_hostile_page_reads_nothing_under_its_own_name(begin, port, path):
    begin()
    answer = raw(port, f"GET {path} HTTP/1.0\r\nHost: evil.example:{port}\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 421 Misdirected Request")
    assert b"exporter.allow_hosts" in body
    assert b"osc_1" not in answer
    assert b"evil" not in answer


def test_names_of_the_configuration_are_served(begin, port):
    begin(host="localhost", allow_hosts=["stage.local"])
    for host in ("stage.local", f"stage.local:{port}", f"localhost:{port}", "10.0.0.1", "[::1]"):
        assert asked_as(port, host) == b"HTTP/1.1 200 OK"
    assert asked_as(port, "stage.example") == b"HTTP/1.1 421 Misdirected Request"
    assert raw(port, b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200 OK")


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_an_exporter_beyond_loopback_is_reported_at_the_start(begin, capsys, host, warned):
    begin(host=host)
    assert ("is open to other machines" in capsys.readouterr().err) == warned


def closed(client):
    """Whether the server has closed a connection."""
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_idle_connections_exclude_no_client_and_the_oldest_give_way(begin, port, monkeypatch):
    monkeypatch.setattr(listening, "_MAX_CONNECTIONS", 64)
    server = begin()
    with ExitStack() as stack:

        def connect(request=b""):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            client.sendall(request)
            return client

        unfinished = connect(b"GET /healthz HTTP/1.1\r\n")
        idle = []
        for _ in range(10):
            idle += [connect() for _ in range(64)]
            assert get(port, "/healthz") == (200, b"ok\n")
        assert server._server._server.connections <= 64
        gone = [closed(client) for client in idle]
        assert gone.index(False) >= 640 - 64
        assert all(gone[: gone.index(False)])
        assert not any(gone[gone.index(False) :]), "the oldest first"
        unfinished.sendall(b"Host: localhost\r\n\r\n")
        assert unfinished.recv(4096).startswith(b"HTTP/1.1 200 OK"), "it was not idle"


def test_connections_idle_after_a_request_give_way_too(begin, port, monkeypatch):
    monkeypatch.setattr(listening, "_MAX_CONNECTIONS", 32)
    server = begin()
    with ExitStack() as stack:
        kept = []
        for _ in range(100):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while not answer.endswith(b"ok\n"):
                answer += client.recv(4096)
            kept.append(client)
        assert server._server._server.connections <= 32
        gone = [closed(client) for client in kept]
        assert sum(gone) == 68
        assert all(gone[:50])
        assert not any(gone[-16:]), "about the oldest: two that are answered at once may swap"


def test_where_none_is_idle_the_oldest_unfinished_connection_gives_way(begin, port, monkeypatch):
    monkeypatch.setattr(listening, "_MAX_CONNECTIONS", 32)
    begin()
    with ExitStack() as stack:
        for _ in range(200):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            client.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        for _ in range(5):
            assert get(port, "/healthz") == (200, b"ok\n")


@pytest.mark.parametrize(
    "request_",
    [b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 10_000 + b"\r\n\r\n",
     b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
     b"POST /healthz HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
     b"GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n"],
)  # fmt: skip
def test_a_request_beyond_the_bounds_is_refused(begin, port, request_):
    begin()
    assert re.match(rb"HTTP/1.[01] (4\d\d|501) ", raw(port, request_))
    assert get(port, "/healthz")[0] == 200


def test_the_port_is_free_at_once_when_it_is_closed(begin, port):
    for _ in range(2):
        server = begin()
        assert get(port)[0] == 200
        server.stop()
        with pytest.raises(urllib.error.URLError):
            get(port)
    assert not any(thread.name == "exporter" for thread in threading.enumerate())


def test_a_port_of_another_is_refused_and_named(begin, port, capsys):
    begin()
    assert capsys.readouterr().err == f"lumen: look at http://127.0.0.1:{port}/\n"
    with pytest.raises(HttpPortError) as caught:
        served(ExporterConfig(http_port=port), Time().board(), listener)
    assert caught.value.exit_code == 2
    (line,) = caught.value.lines()
    assert line.startswith(f"lumen: exporter: 127.0.0.1:{port} is taken by process {os.getpid()} (")
    assert "\n" not in line
    with pytest.raises(HttpPortError):
        begin()


def test_connections_of_an_earlier_run_do_not_hold_the_port(begin, port):
    server = begin()
    kept = socket.create_connection(("127.0.0.1", port))
    kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    kept.recv(4096)
    server.stop()
    served(ExporterConfig(http_port=port), Time().board(), listener)
    kept.close()


@pytest.mark.parametrize("host", ["256.1.1.1", "203.0.113.7"])
def test_an_address_that_is_not_ours_is_refused(host):
    with pytest.raises(HttpPortError, match=f"^exporter: {host}:9310: "):
        served(ExporterConfig(host=host), Time().board(), listener)


def test_slow_clients_hold_up_no_scrape_and_lose_their_connections(begin, port, monkeypatch):
    monkeypatch.setattr(listening, "_UNFINISHED_S", 3.0)
    monkeypatch.setattr(listening, "_IDLE_S", 3)
    before = threading.active_count()
    server = begin()
    attack = subprocess.Popen(
        [sys.executable, "-m", "ops.fakes.slow_clients", str(port), "60"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert attack.stdout.readline() == "ready\n"
        held = server._server._server
        waits = []
        for _ in range(40):
            started = time.perf_counter()
            assert get(port)[0] == 200
            waits.append(time.perf_counter() - started)
        most = held.connections
        assert most > 40, "they were there"
        # A scrape that is held up waits until the slow client has lost its connection.
        assert median(waits) < listening._UNFINISHED_S
        assert threading.active_count() <= before + 1 + listening._THREADS
        until(lambda: not held.connections)
    finally:
        attack.kill()
        attack.communicate()
    assert get(port)[0] == 200
