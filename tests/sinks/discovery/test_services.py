"""The services that a configuration announces, and the addresses of hosts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from configs.schema import Config
from sinks.discovery.interfaces import addresses_of
from sinks.discovery.services import services


def config(*streams: dict[str, Any], **discovery: Any) -> Config:
    return msgspec.convert(
        {
            "version": 2,
            "rig": "stage",
            "streams": [{"type": "osc", **stream} for stream in streams],
            "signals": {"s": {"members": {"a:/x": {}}}},
            "discovery": discovery,
        },
        Config,
    )


PHONE = {"name": "phone", "addr": 9000}
DESK = {"name": "desk.1", "addr": "127.0.0.1:9001"}
TCP = {"name": "tcp", "addr": "tcp://127.0.0.1:9002"}


def test_one_input_of_a_type_has_the_name_of_the_run() -> None:
    found = services(config(PHONE, TCP, oscquery_port=9350))
    assert [(s.type, s.name, s.host, s.port) for s in found] == [
        ("_osc._udp", "Lumen stage", "0.0.0.0", 9000),
        ("_osc._tcp", "Lumen stage", "127.0.0.1", 9002),
        ("_oscjson._tcp", "Lumen stage", "127.0.0.1", 9350),
    ]


def test_several_inputs_have_the_names_of_their_streams_without_dots() -> None:
    found = services(config(PHONE, DESK, name="Left"))
    assert [s.name for s in found] == ["Left phone", "Left desk-1"]


def test_long_names_are_cut_between_characters() -> None:
    wide = config(PHONE, DESK | {"name": "é" * 60}, name="ü" * 48)
    assert all(len(s.name.encode()) <= 59 for s in services(wide))
    assert services(wide)[0].name.startswith("ü" * 29)


def test_a_group_is_not_announced() -> None:
    assert services(config(PHONE | {"addr": "239.1.1.1:9000"})) == []


def test_nothing_is_announced_unless_it_is_asked_for() -> None:
    assert services(config(PHONE, announce=False, oscquery_port=9350)) == []
    assert services(msgspec.structs.replace(config(PHONE), discovery=None)) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_stays_on_loopback(host: str) -> None:
    assert addresses_of(host) == ("127.0.0.1",)


def test_all_addresses_are_those_of_the_network() -> None:
    found = addresses_of("0.0.0.0")
    assert found
    assert found == ("127.0.0.1",) or not any(a.startswith("127.") for a in found)
