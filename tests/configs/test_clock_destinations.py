"""Clocks of `send`: sound ones are accepted, those that cannot be played refused at their place."""

from __future__ import annotations

import pytest

from tests.configs.minimal import BASE, loaded, refused

BRIDGE = 'bridge: {reference: {beat: "a:tick"}}\n'
HERE = "\N{LEFTWARDS ARROW}"
"""Place of the fault, in front of a token; not part of the text."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.ndjson").touch()


def osc(rest: str) -> str:
    return f'send: [{{name: m, type: osc, to: "127.0.0.1:9001", {rest}}}]\n'


def midi(rest: str) -> str:
    return f"send: [{{name: m, type: midi, to: synth, {rest}}}]\n"


def test_the_documents_own_clocks_are_accepted():
    config = loaded(
        BASE + BRIDGE + "send:\n"
        '  - {name: music, type: osc, to: "127.0.0.1:9001", map: {/v: "safety_gain"},'
        " clock: {address: /lumen/tick, offset_ms: 0, ahead_ms: 0}}\n"
        "  - {name: synth, type: midi, to: synth, map: {},"
        " clock: {per_tick: 6, transport: true, offset_ms: -12}}\n"
    ).config
    music, synth = (destination.clock for destination in config.send)

    assert music.address == "/lumen/tick"
    assert synth.before_s == pytest.approx(0.012)


def test_a_tick_may_be_sent_ahead_up_to_the_lead_less_50_ms():
    config = loaded(BASE + BRIDGE + osc("map: {}, clock: {ahead_ms: 150}")).config

    assert config.send[0].clock.before_s == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("text", "report"),
    [
        (osc(f"map: {HERE}{{}}"), "nothing to send"),
        (BRIDGE + osc(f"map: {{}}, clock: {HERE}{{ahead_ms: 151}}"), "at most 150: lead_ms less"),
        (BRIDGE + midi(f"map: {{}}, clock: {HERE}{{offset_ms: -160}}"), "160 ms before"),
        (BRIDGE + osc(f'map: {{}}, clock: {{address: {HERE}"/x/*"}}'), "without #*,?"),
        (BRIDGE + osc(f"map: {{/t: pulse}}, clock: {{address: {HERE}/t}}"), "in 'map' too"),
        (osc(f"map: {{}}, {HERE}clock: {{}}"), "expected bridge.reference"),
        ("bridge: {}\n" + midi(f"map: {{}}, {HERE}clock: {{}}"), "expected bridge.reference"),
        (BRIDGE + midi(f"map: {{}}, clock: {{per_tick: {HERE}0}}"), "per_tick"),
        (BRIDGE + midi(f"map: {{}}, clock: {{offset_ms: {HERE}1001}}"), "offset_ms"),
        (BRIDGE + midi(f"map: {{}}, clock: {{{HERE}address: /x}}"), "address"),
    ],
)
def test_a_clock_that_cannot_be_played_is_refused_at_its_place(text, report):
    before, _, _ = text.partition(HERE)
    line = 4 + before.count("\n")
    column = len(before.rpartition("\n")[2]) + 1
    found = refused(BASE + text.replace(HERE, ""))

    assert len(found) == 1
    assert found[0].startswith(f"c.yaml:{line}:{column}: ")
    assert report in found[0]
