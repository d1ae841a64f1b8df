"""The WebSocket server against real clients: origins, tokens, limits, pings, an exact account."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from configs.connectors.websocket import WebSocketStream
from ops.fakes.ports import free_port
from sources.inbox import Inbox, Message, Unread
from sources.websocket.websocket import MAX_CLIENTS, MAX_MESSAGE, WebSocketReceiver
from tests.support.waiting import HUNG_S, until

PAGE = "http://127.0.0.1:9310"


@pytest.fixture
def begun() -> Iterator[ExitStack]:
    """What a test has to end."""
    with ExitStack() as stack:
        yield stack


def served(begun: ExitStack, **more) -> tuple[str, Inbox]:
    port = free_port()
    config = WebSocketStream(name="w", addr=f"127.0.0.1:{port}", **more)
    receiver, inbox = WebSocketReceiver(config, [PAGE]), Inbox("w")
    receiver.start(inbox)
    begun.callback(receiver.stop)
    until(lambda: inbox.up)
    return f"ws://127.0.0.1:{port}", inbox


def client(begun: ExitStack, url: str, **more) -> ClientConnection:
    return begun.enter_context(connect(url, open_timeout=HUNG_S, **more))


def taken(inbox: Inbox, count: int) -> list:
    items: list = []

    def enough() -> bool:
        items.extend(x for x in inbox.take() if isinstance(x, Message | Unread))
        return len(items) >= count

    until(enough)
    return items


def test_events_alone_and_in_arrays_arrive_in_order(begun: ExitStack) -> None:
    url, inbox = served(begun)
    connection = client(begun, url)
    connection.send('{"key": "/x", "value": 1, "ts": 5}')
    connection.send('[{"key": "/x", "value": 2}, {"key": "/y", "value": 3}, {"value": 4}]')
    connection.send(b"\x00\x01")
    items = taken(inbox, 5)
    assert [x.value for x in items if isinstance(x, Message)] == [1.0, 2.0, 3.0]
    assert [x.reason for x in items if isinstance(x, Unread)] == ["schema", "schema"]


def test_a_ping_is_answered_with_two_stamps_of_the_host(begun: ExitStack) -> None:
    url, inbox = served(begun)
    connection = client(begun, url)
    before = inbox.host()
    connection.send('{"ping": 12.5}')
    answer = json.loads(connection.recv(timeout=HUNG_S))
    assert answer["ping"] == 12.5
    assert before <= answer["received"] <= answer["sent"] <= inbox.host()


def test_a_message_beyond_8_kib_ends_its_connection_only(begun: ExitStack) -> None:
    url, inbox = served(begun)
    first, second = client(begun, url), client(begun, url)
    first.send("x" * (MAX_MESSAGE + 1024))
    with pytest.raises(ConnectionClosed) as closed:
        first.recv(timeout=HUNG_S)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    second.send('{"key": "/x", "value": 1}')
    reasons = {getattr(x, "reason", "") for x in taken(inbox, 2)}
    assert reasons == {"too_long", ""}


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True), (PAGE, True), ("https://stage.local", True),
        ("https://elsewhere.example", False), ("null", False),
    ],
)  # fmt: skip
def test_a_page_of_another_origin_is_refused(
    begun: ExitStack, origin: str | None, allowed: bool
) -> None:
    url, inbox = served(begun, origins=["https://stage.local"])
    if allowed:
        client(begun, url, origin=origin)
        return
    with pytest.raises(InvalidStatus) as refused:
        client(begun, url, origin=origin)
    assert refused.value.response.status_code == 403
    assert taken(inbox, 1)[0].reason == "peer"


def test_a_client_needs_the_token_of_the_file(begun: ExitStack, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret-of-the-stage\n")
    token.chmod(0o600)
    url, inbox = served(begun, token_file=str(token))
    for wrong in ({}, {"additional_headers": {"Authorization": "Bearer s3cret-of-the-stag"}}):
        with pytest.raises(InvalidStatus) as refused:
            client(begun, url, **wrong)
        assert refused.value.response.status_code == 401
        assert b"s3cret" not in refused.value.response.body
    client(begun, url, additional_headers={"Authorization": "Bearer s3cret-of-the-stage"})
    connection = client(begun, f"{url}/?token=s3cret-of-the-stage")
    connection.send('{"key": "/x", "value": 1}')
    items = taken(inbox, 3)
    assert [getattr(x, "reason", None) for x in items] == ["peer", "peer", None]


def test_more_clients_than_the_bound_are_refused_and_the_rest_is_served(begun: ExitStack) -> None:
    url, inbox = served(begun)
    connections = [client(begun, url) for _ in range(MAX_CLIENTS)]
    with pytest.raises(InvalidStatus) as refused:
        client(begun, url)
    assert refused.value.response.status_code == 503
    connections[-1].send('{"key": "/x", "value": 1}')
    until(lambda: any(isinstance(x, Message) for x in inbox.take()))
    connections[0].close()
    until(lambda: _connects(begun, url))


def _connects(begun: ExitStack, url: str) -> bool:
    try:
        client(begun, url)
    except InvalidStatus:
        return False
    return True


@pytest.mark.parametrize(
    "part",
    [
        b"\x81\xfe\x10\x00abcd",  # the head of 4,096 bytes
        b"\x01\x82\0\0\0\0{}",  # the first of several frames
        b"\x81",  # half a head
    ],
)
def test_a_client_that_leaves_in_mid_message_costs_nothing(begun: ExitStack, part: bytes) -> None:
    url, inbox = served(begun)
    connection = client(begun, url)
    connection.socket.sendall(part)
    connection.socket.close()
    other = client(begun, url)
    other.send('{"key": "/x", "value": 1}')
    assert taken(inbox, 1)[0].value == 1.0


def test_what_is_no_websocket_frame_ends_its_connection_only(begun: ExitStack) -> None:
    url, inbox = served(begun)
    first, second = client(begun, url), client(begun, url)
    first.socket.sendall(b"\xff" * 64)
    with pytest.raises(ConnectionClosed):
        first.recv(timeout=HUNG_S)
    second.send('{"key": "/x", "value": 1}')
    assert taken(inbox, 1)[0].value == 1.0


def test_200_idle_clients_leave_those_before_them_served(begun: ExitStack) -> None:
    url, inbox = served(begun)
    playing = client(begun, url)
    refused = 0
    for _ in range(200):
        try:
            client(begun, url)
        except InvalidStatus:
            refused += 1
    assert refused == 200 - (MAX_CLIENTS - 1)
    for n in range(5):
        playing.send(json.dumps({"key": "/x", "value": n}))
    items = taken(inbox, refused + 5)
    assert [x.value for x in items if isinstance(x, Message)] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert sum(x.events for x in items if isinstance(x, Unread) and x.reason == "peer") == refused


def test_200_connections_without_a_request_leave_clients_served(begun: ExitStack) -> None:
    url, inbox = served(begun)
    where = ("127.0.0.1", int(url.rpartition(":")[2]))
    for _ in range(200):
        begun.enter_context(socket.create_connection(where, HUNG_S))
    client(begun, url).send('{"key": "/x", "value": 1}')
    assert taken(inbox, 1)[0].value == 1.0


def test_every_event_of_four_clients_is_received(begun: ExitStack) -> None:
    url, inbox = served(begun)

    def play(number: int) -> None:
        connection = client(begun, url)
        for i in range(50):
            part = [{"key": f"/{number}", "value": i * 20 + j} for j in range(20)]
            connection.send(json.dumps(part))

    players = [threading.Thread(target=play, args=(n,)) for n in range(4)]
    for player in players:
        player.start()
    items = taken(inbox, 4000)
    for player in players:
        player.join()
    for number in range(4):
        values = [x.value for x in items if x.key == f"/{number}"]
        assert values == list(map(float, range(1000)))


def test_a_port_in_use_leaves_the_stream_down(begun: ExitStack) -> None:
    url, _ = served(begun)
    config = WebSocketStream(name="other", addr=url.removeprefix("ws://"))
    receiver, inbox = WebSocketReceiver(config), Inbox("other")
    receiver.start(inbox)
    begun.callback(receiver.stop)
    until(lambda: "in use" in inbox.why)
    assert not inbox.up
