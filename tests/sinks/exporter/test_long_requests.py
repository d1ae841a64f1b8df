"""Requests of the API that last, and clients that do not read, beside a scrape."""

import socket
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack

import pytest

from configs.outputs import ExporterConfig, StoreConfig
from ops.fakes.ports import free_port
from sinks.exporter import server as serving
from sinks.exporter import wsgi
from sinks.exporter.answers import text_answer
from sinks.exporter.api.resources import ApiRoutes
from sinks.exporter.routes import Routes
from sinks.exporter.server import Server
from sources.osc.udp import listener
from tests.support.shown import Time, config, events, packet, ticks
from tests.support.stored import History
from tests.support.waiting import HUNG_S, until

ASK = b"GET /v1/rigs HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE = b"x" * (32 << 20)
"""More than the kernel takes for one connection."""


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def server(tmp_path, port):
    history = History(tmp_path / "history.sqlite")
    history.add(0, 10_000, each=1_000)
    history.store.close()
    board = Time().board()
    board.update([packet(ticks(0), ends=events("osc_1"))])
    routes = Routes(
        "/metrics_fusion", board, None, ApiRoutes(config(store=StoreConfig(dsn=history.dsn)), board)
    )
    made = Server(ExporterConfig(http_port=port), board, listener, routes)
    made.start()
    yield made
    made.stop()


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=HUNG_S) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_requests_that_last_hold_up_no_scrape(server, port):
    begun, go_on = threading.Event(), threading.Event()

    def wait(request):
        begun.set()
        go_on.wait(HUNG_S)
        return text_answer(200, "late")

    server._routes.routes["/v1/rigs"] = wait
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), HUNG_S))
            for _ in range(20)
        ]
        for client in clients:
            client.sendall(b"GET /v1/rigs HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert begun.wait(HUNG_S)
        assert get(port, "/metrics_fusion")[0] == get(port, "/healthz")[0] == 200
        assert not go_on.is_set()
        go_on.set()
        for client in clients:
            assert client.recv(4096).startswith(b"HTTP/1.1 200 OK")


def test_unread_pages_are_bounded(server, port, monkeypatch):
    monkeypatch.setattr(serving, "MAX_UNSENT", 100_000)
    monkeypatch.setitem(
        server._routes.routes,
        "/v1/rigs",
        lambda request: (200, {"Content-Type": "text/plain"}, LARGE),
    )
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.connect(("127.0.0.1", port))
        slow.sendall(ASK)
        until(lambda: server._server.unsent > 100_000)
        status, headers, body = get(port, "/v1/history/ticks?rig=r")
        assert (status, headers["Retry-After"]) == (503, "2")
        assert body == b"Other clients are slow: ask later.\n"
        assert get(port, "/metrics_fusion")[0] == 200
    until(lambda: server._server.unsent == 0)
    assert get(port, "/v1/history/ticks?rig=r")[0] == 200


def test_a_client_that_never_reads_is_cut_off_in_time(server, port, monkeypatch):
    monkeypatch.setattr(wsgi, "_UNFINISHED_S", 1.0)
    monkeypatch.setitem(
        server._routes.routes,
        "/v1/rigs",
        lambda request: (200, {"Content-Type": "text/plain"}, LARGE),
    )
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.connect(("127.0.0.1", port))
        slow.sendall(ASK)
        until(lambda: server._server.unsent)
        until(lambda: not server._server.unsent)
    assert get(port, "/v1/history/ticks?rig=r")[0] == 200


def test_a_client_that_asks_for_more_than_it_reads_is_cut_off(server, port, monkeypatch):
    calls = []

    def large(request):
        calls.append(1)
        return 200, {"Content-Type": "text/plain"}, LARGE[: 12 << 20]

    monkeypatch.setitem(server._routes.routes, "/v1/rigs", large)
    with socket.socket() as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        greedy.connect(("127.0.0.1", port))
        greedy.sendall(ASK * 40)
        until(lambda: calls)
        assert get(port, "/v1/history/ticks?rig=r&limit=1")[0] == 200
        until(lambda: not server._server.unsent)
        assert len(calls) < 10
    assert get(port, "/v1/history/ticks?rig=r&limit=1")[0] == 200


def test_one_connection_gets_its_answers_in_order(server, port):
    with socket.create_connection(("127.0.0.1", port), HUNG_S) as client:
        client.sendall(
            b"GET /v1/history/ticks?rig=r&limit=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
            b"HEAD /v1/history/ticks?rig=r HTTP/1.1\r\nHost: localhost\r\n\r\n"
            b"GET /v1/nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        found = b""
        while part := client.recv(65_536):
            found += part
    order = [found.index(text) for text in (b'"ts":0.0', b"ok\n", b"There is no such page")]
    assert order == sorted(order)
    assert found.count(b"HTTP/1.1 ") == 4
