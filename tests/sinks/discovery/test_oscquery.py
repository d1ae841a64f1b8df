"""OSCQuery: the tree, attributes of nodes, and errors, over a real port."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from configs.outputs import ExporterConfig
from configs.schema import Config
from ops.fakes.ports import free_port
from sinks.discovery.oscquery import ATTRIBUTES, OscQueryRoutes
from sinks.exporter.server import Server
from sources.osc.udp import listener
from tests.support.waiting import HUNG_S

CONFIG = msgspec.convert(
    {
        "version": 2,
        "rig": "stage",
        "streams": [
            {"name": "phone", "type": "osc", "addr": 9000, "keys": ["/extra", "/body/*"]},
            {"name": "other", "type": "osc", "addr": 9001},
        ],
        "signals": {"level": {"members": {"phone:/a": {}, "phone:/acc[2]": {}, "other:/b": {}}}},
        "facts": ["phone:/scene"],
        "send": [
            {
                "name": "desk",
                "type": "osc",
                "to": "127.0.0.1:9100",
                "map": {
                    "/lumen": "coherence",
                    "/lumen/level": "level",
                    "/lumen/depth": "clamp(level, -1, 2.5)",
                    "/lumen/open": "clamp(level, coherence, 1)",
                    "/scene": "level * 2",
                },
            },
            {"name": "synth", "type": "midi", "to": "Synth", "map": {"cc/1/74": "level"}},
            {"name": "copy", "type": "osc", "to": "127.0.0.1:9101", "map": {"/lumen": "level"}},
        ],
    },
    Config,
)
Get = Callable[..., tuple[int, Any]]


@pytest.fixture
def newest() -> dict[str, dict[str, float]]:
    return {}


@pytest.fixture
def port(newest: dict[str, dict[str, float]]) -> Iterator[int]:
    number = free_port()
    routes = OscQueryRoutes(CONFIG, "Lumen stage", lambda: newest)
    server = Server(ExporterConfig(http_port=number), None, listener, routes)
    server.start()
    yield number
    server.stop()


@pytest.fixture
def get(port: int) -> Get:
    """Return what asks for a path, and gives status and JSON."""

    def _get(path: str, method: str = "GET", **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HUNG_S)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        is_json = answer.headers["Content-Type"] == "application/json"
        return answer.status, json.loads(body) if is_json and body else body

    return _get


def test_the_root_is_the_whole_tree(get: Get) -> None:
    status, tree = get("/")
    assert status == 200
    assert tree["FULL_PATH"] == "/"
    assert tree["ACCESS"] == 0
    assert "TYPE" not in tree
    assert set(tree["CONTENTS"]) == {"lumen", "scene", "a", "acc", "extra"}
    assert set(tree["CONTENTS"]["lumen"]["CONTENTS"]) == {"level", "depth", "open"}
    assert get("/lumen")[1] == get("/lumen/")[1] == tree["CONTENTS"]["lumen"]


def test_an_output_can_be_read_and_an_input_written(get: Get) -> None:
    assert get("/lumen/level?ACCESS") == (200, {"ACCESS": 1})
    assert get("/a?ACCESS") == (200, {"ACCESS": 2})
    assert get("/scene?ACCESS") == (200, {"ACCESS": 3})
    assert get("/acc?TYPE") == (200, {"TYPE": "fff"})
    assert get("/lumen/level?TYPE") == (200, {"TYPE": "f"})


def test_values_are_those_sent_last(get: Get, newest: dict[str, dict[str, float]]) -> None:
    assert get("/lumen/level?VALUE") == (200, {})
    newest["desk"] = {"/lumen/level": 0.25, "/lumen": 1.0}
    newest["copy"] = {"/lumen": 7.0}
    assert get("/lumen/level?VALUE") == (200, {"VALUE": [0.25]})
    assert get("/lumen?VALUE") == (200, {"VALUE": [1.0]})
    newest["desk"] = {"/lumen/level": 0.5}
    assert get("/lumen")[1]["CONTENTS"]["level"]["VALUE"] == [0.5]
    assert get("/lumen?VALUE") == (200, {})


def test_a_range_is_that_of_a_clamp_with_numbers(get: Get) -> None:
    assert get("/lumen/depth?RANGE") == (200, {"RANGE": [{"MIN": -1.0, "MAX": 2.5}]})
    assert get("/lumen/open?RANGE") == (200, {"RANGE": [{"MAX": 1.0}]})
    assert get("/lumen/level?RANGE") == (200, {})


def test_the_host_has_the_first_input_and_no_websocket(get: Get) -> None:
    status, host = get("/anything?HOST_INFO")
    assert status == 200
    assert host["NAME"] == "Lumen stage"
    assert (host["OSC_PORT"], host["OSC_TRANSPORT"]) == (9000, "UDP")
    assert "OSC_IP" not in host
    assert "WS_PORT" not in host
    assert host["EXTENSIONS"] == {
        "ACCESS": True, "VALUE": True, "RANGE": True, "DESCRIPTION": True,
        "LISTEN": False, "PATH_CHANGED": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/lumen/level/deeper", 404),
        ("/b", 404),
        ("/body/*", 404),
        ("/nothing?VALUE", 404),
        ("/../../etc/passwd", 404),
        ("/%2e%2e/level", 404),
        ("/a?VALUE", 204),
        ("/?VALUE", 204),
        ("/a?UNIT", 204),
        ("/a?HTML", 204),
        ("/a?GABBA", 400),
        ("/a?VALUE&TYPE", 400),
        ("/a?" + "V" * 4000, 400),
    ],
)
def test_errors_have_the_status_of_the_proposal(get: Get, path: str, status: int) -> None:
    assert get(path)[0] == status


def test_an_attribute_that_a_node_lacks_is_an_empty_object(get: Get) -> None:
    assert get("/?TYPE") == (200, {})
    assert get("/a?CONTENTS") == (200, {})
    assert set(ATTRIBUTES) <= set(get("/lumen/depth")[1]) | {"VALUE", "CONTENTS"}


def test_only_get_and_head_are_answered(get: Get) -> None:
    assert get("/", "POST")[0] == 405
    assert get("/", "HEAD") == (200, b"")


def test_a_foreign_host_name_is_refused_and_named_after_its_part(get: Get) -> None:
    status, text = get("/", Host="evil.example")
    assert status == 421
    assert b"discovery.allow_hosts" in text


def test_an_address_with_a_text_of_its_own_is_found(get: Get) -> None:
    for node in get("/")[1]["CONTENTS"].values():
        assert get(node["FULL_PATH"]) == (200, node)
