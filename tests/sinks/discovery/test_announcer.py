"""Services announced on loopback, as another program there finds them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from zeroconf import ServiceInfo, Zeroconf

from sinks.discovery import announcer as announcing
from sinks.discovery.announcer import Announcer
from sinks.discovery.service_record import OSC_UDP, OSCQUERY, ServiceRecord
from tests.support.multicast_dns import LOOPBACK, announce, needed, packet
from tests.support.waiting import until

pytestmark = needed()
Begin = Callable[..., tuple[Announcer, list[str]]]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Return what makes announcers; all are closed at the end."""
    with ExitStack() as stack:

        def _begin(*records: ServiceRecord, server: str = "lumen-1") -> tuple[Announcer, list[str]]:
            lines: list[str] = []
            made = Announcer(list(records), server, lines.append)
            stack.callback(made.close)
            return made, lines

        yield _begin


@pytest.fixture
def other() -> Iterator[Zeroconf]:
    found = Zeroconf(interfaces=[LOOPBACK])
    yield found
    found.close()


def record(name: str = "Lumen t", port: int = 9000, **given: Any) -> ServiceRecord:
    found = ServiceRecord(OSC_UDP, name, LOOPBACK, port, {"txtvers": "1"})
    return found._replace(**given)


def asked(other: Zeroconf, name: str, type_: str = OSC_UDP) -> ServiceInfo | None:
    return other.get_service_info(f"{type_}.local.", f"{name}.{type_}.local.", 2000)


def test_another_program_finds_address_port_and_text(begin: Begin, other: Zeroconf) -> None:
    announcer, lines = begin(record("Lumen a", 9001), record("Lumen a", 9350, type=OSCQUERY))
    announcer.look()
    found, tree = asked(other, "Lumen a"), asked(other, "Lumen a", OSCQUERY)
    assert found is not None
    assert tree is not None
    assert (found.parsed_addresses(), found.port) == ([LOOPBACK], 9001)
    assert found.properties == {b"txtvers": b"1"}
    assert (tree.port, tree.server) == (9350, "lumen-1.local.")
    assert lines == [
        "announced as 'Lumen a', _osc._udp port 9001, at 127.0.0.1",
        "announced as 'Lumen a', _oscjson._tcp port 9350, at 127.0.0.1",
    ]


def test_a_closed_one_is_withdrawn(begin: Begin, other: Zeroconf) -> None:
    announcer, _ = begin(record("Lumen b"))
    announcer.look()
    until(lambda: asked(other, "Lumen b"))
    announcer.close()
    until(lambda: asked(other, "Lumen b") is None)


def test_a_name_in_use_gets_a_number_that_is_said(begin: Begin, other: Zeroconf) -> None:
    first, _ = begin(record("Lumen c", 9001))
    first.look()
    second, lines = begin(record("Lumen c", 9002), server="lumen-2")
    second.look()
    assert lines == [
        "announced as 'Lumen c-2' ('Lumen c' is taken), _osc._udp port 9002, at 127.0.0.1"
    ]
    found = asked(other, "Lumen c"), asked(other, "Lumen c-2")
    assert [each and each.port for each in found] == [9001, 9002]


def test_another_look_changes_nothing(begin: Begin) -> None:
    announcer, lines = begin(record("Lumen d"))
    announcer.look()
    announcer.look()
    assert len(lines) == 1


def test_an_interface_that_refuses_is_one_line_and_tried_again(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**given: object) -> Zeroconf:
        raise OSError(19, "No such device")

    announcer, lines = begin(record("Lumen e"))
    with monkeypatch.context() as patched:
        patched.setattr(announcing, "Zeroconf", refuse)
        announcer.look()
        announcer.look()
    assert lines == ["nothing is announced at 127.0.0.1: No such device"]
    announcer.look()
    assert lines[1:] == ["announced as 'Lumen e', _osc._udp port 9000, at 127.0.0.1"]


def test_a_host_without_an_address_leaves_the_others(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(host: str) -> str:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "gethostbyname", unknown)
    announcer, lines = begin(record("Lumen f", host="nowhere.invalid"), record("Lumen g"))
    announcer.look()
    assert lines == [
        "nothing is announced at nowhere.invalid: Name or service not known",
        "announced as 'Lumen g', _osc._udp port 9000, at 127.0.0.1",
    ]


def test_names_of_strangers_are_dropped_beyond_a_bound(
    begin: Begin, other: Zeroconf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "MAX_CACHED", 200)
    announcer, lines = begin(record("Lumen h"))
    announcer.look()
    (placed,) = announcer._placed.values()
    names = (b"stranger %d" % n for n in range(400))
    announce(packet([name]) for name in names)
    until(lambda: len(placed.responder.cache.names()) > 200)
    announcer.look()
    (again,) = announcer._placed.values()
    assert again.responder is not placed.responder
    assert len(again.responder.cache.names()) <= 200
    assert lines == ["announced as 'Lumen h', _osc._udp port 9000, at 127.0.0.1"] * 2
    assert asked(other, "Lumen h")
