"""`lumen listen --announced`: services of others, honest and hostile, on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ops.cli.guess import announced_services
from ops.cli.guess.announced_services import MAX_SERVICES, AnnouncedServices
from sinks.discovery.announcer import Announcer
from sinks.discovery.service_record import OSC_TCP, ServiceRecord
from tests.support.multicast_dns import LOOPBACK, announce, needed, packet
from tests.support.waiting import until

pytestmark = needed()


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def services(lines: list[str]) -> Iterator[AnnouncedServices]:
    found = AnnouncedServices(lines.append, [LOOPBACK])
    found.start()
    yield found
    found.stop()


def rows(services: AnnouncedServices, part: str) -> list[str]:
    return [line for line in services.report() if part in line]


def test_a_service_is_listed_with_its_place_until_it_is_withdrawn(
    services: AnnouncedServices,
) -> None:
    record = ServiceRecord(OSC_TCP, "Bühne links", LOOPBACK, 9400, {"version": "1.1"})
    announcer = Announcer([record], "lumen-listed", print)
    announcer.look()
    until(lambda: rows(services, "127.0.0.1:9400"))
    (row,) = rows(services, "Bühne links")
    assert row.split() == ["Bühne", "links", "_osc._tcp", "127.0.0.1:9400", "version=1.1"]
    announcer.close()
    until(lambda: not rows(services, "Bühne links"))


def test_names_and_texts_of_strangers_cannot_control_a_terminal(
    services: AnnouncedServices,
) -> None:
    text = b"k=\x1b[2J\x07"
    names = [b"a\x1b[31mred\nline", "turned \u202e".encode(), b"plain"]
    evil = packet(names, port=7, text=bytes((len(text),)) + text)

    def seen() -> object:
        announce([evil])
        return len(services.report()) == 5 and rows(services, "127.0.0.1:7")

    until(seen, every_s=0.2)
    until(lambda: "k=" in rows(services, "plain")[0])
    report = "\n".join(services.report())
    assert all(c == "\n" or c.isprintable() for c in report)
    assert "a\\x1b[31mred\\x0aline " in report
    assert "turned \\u202e " in report
    (plain,) = rows(services, "plain")
    assert plain.endswith(" k=\\x1b[2J\\x07")


def test_a_long_text_is_cut(services: AnnouncedServices) -> None:
    parts = b"".join(b"\xffk%03d=" % n + b"v" * 250 for n in range(30))

    def seen() -> object:
        announce([packet([b"long"], port=8, text=parts)])
        return rows(services, "127.0.0.1:8")

    until(seen, every_s=0.2)
    (row,) = rows(services, "127.0.0.1:8")
    assert row.endswith("...")
    assert len(row) < 160


def test_services_beyond_a_bound_are_counted(
    services: AnnouncedServices, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announced_services, "MAX_CACHED", 400)
    announce(packet([b"flood %d" % n]) for n in range(10_000))
    until(lambda: lines)
    assert lines == ["more than 400 names are announced: not searched further"]
    services.stop()
    report = services.report()
    assert len(report) == MAX_SERVICES + 3
    assert report[-1].startswith("and ")
