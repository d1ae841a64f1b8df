"""The bridge's configuration: sound ones are accepted, contradictions refused at their place."""

from __future__ import annotations

import pytest

from tests.configs.minimal import BASE, loaded, refused

SEED = """bridge:
  reference: {beat: "a:tick"}
  loop: {tick_ms: 200, min_tick_ms: 120, max_tick_ms: 400, target_harmony: 0.86}
  phase: {drift_budget: 0.02, rebalance_window_s: 90}
  nonlinear_gain:
    kp_curve: [[0.00, 0.35], [0.10, 0.33], [0.20, 0.28], [0.30, 0.22]]
    kd_curve: [[0.00, 0.10], [0.10, 0.12], [0.20, 0.14], [0.30, 0.18]]
    ki_base: 0.08
  safety: {hard_stop_on: ["coherence_level < 0.72"]}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.ndjson").touch()


def test_the_documents_own_values_are_accepted():
    config = loaded(BASE + SEED).config

    assert config.bridge is not None
    assert config.plan().beats == ("a:tick",)
    assert config.lead_s() == pytest.approx(0.2)


def test_a_midi_clock_brings_its_transport():
    config = loaded(BASE + 'bridge: {reference: {beat: "m:clock", per_tick: 6}}\n').config

    assert config.plan().beats == ("m:clock", "m:transport")


@pytest.mark.parametrize(
    ("bridge", "token", "report"),
    [
        ('{reference: {beat: "a:t", signal: pulse}}', "{beat", "one of beat, stamp with rate"),
        ("{reference: {per_tick: 2}}", "{per", "no form of a reference"),
        ('{reference: {stamp: "u:t"}}', "{stamp", "a 'stamp' without 'rate'"),
        ("{reference: {signal: pulze}}", "pulze", "did you mean 'pulse'"),
        ('{reference: {beat: "tick"}}', '"tick"', "<source>:<key>"),
        ("{loop: {tick_ms: 100}}", "100", "from min_tick_ms to max_tick_ms"),
        ("{phase: {gain: {base_hz: 6}}}", "6", "base_hz is 6 beside tick_ms 200"),
        ("{phase: {gain: {kp: 0.2, ki: 0.05}}}", "{kp", "ki at most kp^2"),
        (
            '{reference: {beat: "a:t"}, phase: {gain: {kp: 0.2, ki: 0}}}',
            "{kp",
            "the nominal loop is not stable at kp 0.2, ki 0, kd 0.1",
        ),
        ('{safety: {hard_stop_on: ["coherence"]}}', "", "a condition"),
        (
            '{safety: {hard_stop_on: ["safety_gain < 1"]}}',
            "safety_gain",
            "unknown name",
        ),
        ("{loop: {slew: 0.6}}", "0.6", "slew"),
        ("{phase: {rebalance_window_s: 4}}", "4", "rebalance_window_s"),
    ],
)
def test_a_contradiction_is_refused_at_its_place(bridge, token, report):
    text = f"bridge: {bridge}"
    (line,) = refused(f"{BASE}{text}\n")

    if token:
        assert line.startswith(f"c.yaml:4:{text.index(token) + 1}: ")
    assert report in line


@pytest.mark.parametrize(
    ("old", "new", "report"),
    [
        ("[0.10, 0.33], [0.20, 0.28]", "[0.20, 0.33], [0.10, 0.28]", "do not rise"),
        ("ki_base: 0.08", "ki_base: 0.2", "ki"),
        ("rebalance_window_s: 90}", "gain: {kp: 0.4}}", "first point of nonlinear_gain"),
        ("[[0.00, 0.35], [0.10, 0.33], [0.20, 0.28], [0.30, 0.22]]", "[[0.0, 0.35]]", "kp_curve"),
        ("[0.30, 0.22]", "[0.30, -0.1]", "kp_curve"),
        ("[0.30, 0.22]", "[0.30, 0.0]", "not stable at kp 0, ki 0, kd 0.18"),
    ],
)
def test_unsound_gains_are_refused(old, new, report):
    assert any(report in line for line in refused(BASE + SEED.replace(old, new)))


def test_a_port_of_its_own_is_not_the_exporters():
    both = "exporter: {http_port: 9306}\nbridge: {exporter: {http_port: 9306}}\n"

    assert "is that of the exporter" in refused(BASE + both)[0]


@pytest.mark.parametrize(
    ("text", "report"),
    [
        ("bridge: {exporter: {path: /healthz}}\n", "expected none of"),
        ("exporter: {path: /metrics_bridge}\nbridge: {}\n", "is that of another page"),
        ("exporter: {path: /m}\nbridge: {exporter: {path: /m}}\n", "is that of another page"),
        ("bridge: {state_file: out/tick.json}\n", "is in a folder of the run"),
        ("output: {dir: .}\nbridge: {state_file: run/tick.json}\n", "is in a folder of the run"),
    ],
)
def test_a_path_of_another_use_is_refused(text, report):
    (line,) = refused(BASE + text)

    assert report in line


def test_a_state_file_elsewhere_is_accepted():
    config = loaded(BASE + "bridge: {state_file: run/tick.json}\n").config

    assert config.bridge.state_file == "run/tick.json"
