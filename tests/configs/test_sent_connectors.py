"""Destinations of connectors: sound ones are accepted, others refused at their place."""

from __future__ import annotations

import pytest

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
