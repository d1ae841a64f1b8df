"""Destinations of connectors: sound ones are accepted, others refused at their place."""

from __future__ import annotations

import pytest

from configs import extras
from configs.connectors.mqtt import overlaps
from tests.configs.minimal import BASE, loaded, refused


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.ndjson").touch()


def live(stream: str) -> str:
    return (
        f"version: 2\nstreams: [{{name: a, {stream}}}]\n"
        'signals: {pulse: {members: {"a:/x": {}, "a:/y": {}}}}\n'
    )


def osc(rest: str) -> str:
    return f"send: [{{name: m, type: osc, map: {{/x: pulse}}, {rest}}}]\n"


def test_osc_goes_over_tcp_in_the_framing_of_osc_1_1_or_1_0():
    for rest, framing in (('to: "tcp://127.0.0.1:9"', None),
                          ('to: "tcp://[::1]:9", framing: length', "length")):  # fmt: skip
        (destination,) = loaded(BASE + osc(rest)).config.send
        assert destination.framing == framing


@pytest.mark.parametrize(
    ("rest", "fault"),
    [
        ('to: "tcp://127.0.0.1:0"', "expected a port from 1 to 65535"),
        ('to: "tcp://239.255.0.7:9"', "is a multicast group, expected one without tcp://"),
        ('to: "127.0.0.1:9", framing: slip', "expected it beside tcp:// only"),
        ('to: "tcp://127.0.0.1:9", framing: auto', "framing"),
        ('to: "http://127.0.0.1:9"', "expected an address such as"),
    ],
)
def test_osc_that_cannot_be_sent_over_tcp_is_refused(rest, fault):
    (line,) = refused(BASE + osc(rest))
    assert line.startswith("c.yaml:4:")
    assert fault in line


@pytest.mark.parametrize(
    ("addr", "to", "reaches"),
    [
        ("tcp://0.0.0.0:9000", "tcp://127.0.0.1:9000", True),
        ("tcp://127.0.0.1:9000", "tcp://localhost:9000", True),
        ("tcp://127.0.0.1:9000", "127.0.0.1:9000", False),
        ("127.0.0.1:9000", "tcp://127.0.0.1:9000", False),
        ("tcp://127.0.0.1:9000", "tcp://127.0.0.1:9001", False),
    ],
)
def test_a_destination_over_tcp_that_this_run_receives_needs_loop(addr, to, reaches):
    text = live(f'type: osc, addr: "{addr}"') + osc(f'to: "{to}"')
    if reaches:
        assert "is the address of stream" in refused(text)[0]
        text = text.replace(f'to: "{to}"', f'to: "{to}", loop: true')
    assert loaded(text).config.send


def mqtt(rest: str = "", broker: str = "mqtt://127.0.0.1:1883") -> str:
    return f'send: [{{name: house, type: mqtt, broker: "{broker}"{rest}}}]\n'


def test_mqtt_needs_a_broker_alone():
    (house,) = loaded(BASE + mqtt()).config.send
    assert (house.topic, house.qos, house.rate_hz, house.map) == ("lumen", 1, 1.0, {})
    assert house.filters == ("lumen/status", "lumen/+/state", "lumen/+/evidence")


@pytest.mark.parametrize(
    ("rest", "fault"),
    [
        (", topic: lumen/+", "expected levels with a name each, without + and #"),
        (", topic: /lumen", "expected levels with a name each"),
        (", topic: lumen/", "expected levels with a name each"),
        (', topic: "$SYS/lumen"', "expected levels with a name each"),
        (", topic: ''", "topic"),
        (", map: {state: pulse}", "other than state and evidence"),
        (", map: {'a/#': pulse}", "without + and #"),
        (", map: {motion: puls}", "puls"),
        (", map: {motion: pulse > 1}", "expected a number, not a condition"),
        (", qos: 2", "qos"),
        (", rate_hz: 0", "rate_hz"),
        (", ca_file: demo.ndjson", "expected an mqtts:// broker"),
        (", basic_auth: {username: a, password_file: nowhere}", "nowhere does not exist"),
        (", to: x", "to"),
    ],
)
def test_mqtt_that_cannot_be_sent_is_refused(rest, fault):
    lines = refused(BASE + mqtt(rest))
    assert len(lines) == 1
    assert lines[0].startswith("c.yaml:4:")
    assert fault in lines[0]


def test_a_broker_without_a_port_is_refused():
    (line,) = refused(BASE + mqtt(broker="mqtt://127.0.0.1:70000"))
    assert "expected a port from 1 to 65535" in line


@pytest.mark.parametrize(
    ("broker", "topics", "received"),
    [
        ("mqtt://127.0.0.1:1883", "lumen/stage/state", True),
        ("mqtt://localhost", "lumen/#", True),
        ("mqtt://127.0.0.1", "#", True),
        ("mqtt://127.0.0.1", "+/+/evidence", True),
        ("mqtt://127.0.0.1", "lumen/status", True),
        ("mqtt://127.0.0.1", "+/hall/motion", True),
        ("mqtt://127.0.0.1", "$share/group/lumen/#", True),
        ("mqtt://127.0.0.1", "lumen/stage/level", False),
        ("mqtt://127.0.0.1", "stage/#", False),
        ("mqtt://127.0.0.1", "$SYS/#", False),
        ("mqtt://127.0.0.1:1884", "lumen/#", False),
        ("mqtts://127.0.0.1", "lumen/#", False),
        ("mqtt://broker.local", "lumen/#", False),
    ],
)
def test_topics_that_this_run_receives_itself_need_loop(broker, topics, received):
    text = live(f'type: mqtt, broker: "{broker}", topics: ["/x", "/y", "{topics}"]')
    text += mqtt(", map: {motion: pulse}")
    if received:
        (line,) = refused(text)
        assert f"are received by stream 'a' with '{topics}'" in line
        text = text.replace("map: {motion", "loop: true, map: {motion")
    assert loaded(text).config.send


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("a/b", "a/b", True), ("a/+", "+/b", True), ("a/#", "a", True), ("a", "a/#", True),
        ("a/+/c", "a/b/+", True), ("#", "a/b", True), ("a/b/#", "a", False), ("a", "a/b", False),
        ("a/+", "a", False), ("a/b", "a/c", False), ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
    ],
)  # fmt: skip
def test_topic_filters_overlap_where_a_topic_matches_both(one, other, overlap):
    assert overlaps(one, other) is overlaps(other, one) is overlap


def test_a_destination_without_its_extra_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    (line,) = refused(BASE + mqtt())
    assert line == "c.yaml:4:28: type mqtt needs pip install 'lumen-fusion[mqtt]'"
