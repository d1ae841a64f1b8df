"""Faults of `discovery`: one line each, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs import extras
from tests.configs.minimal import loaded, refused

OSC = """version: 2
streams: [{name: a, type: osc, addr: "127.0.0.1:9000"}, {name: t, type: osc, addr: "tcp://:9002"}]
signals: {pulse: {members: {"a:/x": {}, "a:/y": {}}}}
facts: ["t:/z"]
exporter: {http_port: 9310}
"""
REPLAY = """version: 2
streams: [{name: demo, type: file, path: demo.ndjson, speed: 1}]
signals: {pulse: {members: {"a:x": {group: ure}, "b:y": {}}}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo.ndjson").write_text('{"key": "x", "value": 1, "ts": 1, "source": "a"}\n')


@pytest.mark.parametrize(
    "given", ["{}", "{announce: false, oscquery_port: 9350}", "{name: Links, max_qps: 5}"]
)
def test_a_discovery_with_something_to_find_is_sound(given: str) -> None:
    assert loaded(f"{OSC}discovery: {given}\n").config.discovery is not None


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("{announce: false}", "6:1: 'discovery' without anything to find"),
        ("{oscquery_port: 9310}", "6:28: the port 9310 is that of the exporter"),
        ("{oscquery_port: 9002}", "6:28: the port 9002 is that of stream 't'"),
        ("{allow: [near]}", "6:21: the network 'near'"),
        ('{name: "a.b"}', "6:19: "),
        ('{name: "a\\nb"}', "6:19: "),
        ("{oscquery_port: 0}", "6:28: "),
        ("{port: 9350}", "6:13: "),
    ],
)
def test_a_fault_is_one_line_with_its_place(given: str, fault: str) -> None:
    (line,) = refused(f"{OSC}discovery: {given}\n")
    assert f"c.yaml:{fault}" in line


def test_a_port_of_udp_alone_may_be_that_of_oscquery() -> None:
    assert loaded(f"{OSC}discovery: {{oscquery_port: 9000}}\n")


def test_a_replay_has_no_input_to_announce() -> None:
    (line,) = refused(f"{REPLAY}discovery: {{}}\n")
    assert "expected an OSC stream to announce, or oscquery_port" in line


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.EXTRAS, "zeroconf", "no_such_package")
    (line,) = refused(f"{OSC}discovery: {{}}\n")
    assert line.endswith("c.yaml:6:1: discovery needs pip install 'lumen-fusion[zeroconf]'")
    assert loaded(f"{OSC}discovery: {{announce: false, oscquery_port: 9350}}\n")


def test_a_run_that_goes_on_may_be_found() -> None:
    assert loaded(OSC).fingerprint == loaded(f"{OSC}discovery: {{}}\n").fingerprint
