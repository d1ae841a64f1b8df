"""Configurations: accepted content and parsing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from configs import document
from configs.load import load
from configs.schema import Config
from tests.configs.minimal import BASE, loaded, refused

pytestmark = pytest.mark.usefixtures("run_folder")


ROOT = Path(__file__).parents[2]


RISK_MAP = """- if: "phase_diff > 0.025 and entropy_ratio > 0.18"
  risk: "sync_degradation"
  action: "increase kd by 0.02; alert warn"
"""


QUOTE_RULES = """- match: "coherence improves with lower entropy"
  quote: "Stability favors clarity; clarity invites harmony."
"""


def value(text: str) -> object:
    return document.parse(f"v: {text}", "c.yaml", {}).data["v"]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("1.0e-3", 0.001),
        ("-1.5", -1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("+7", 7),
        ("010", 10),
        ("012", 12),
        ("0", 0),
        ("true", True),
        ("false", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("on", "on"),
        ("no", "no"),
        ("yes", "yes"),
        ("y", "y"),
        ("1:30", "1:30"),
        ("12:30:00", "12:30:00"),
        ("2001-12-14", "2001-12-14"),
        ("0x1F", "0x1F"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("2.0a", "2.0a"),
        ("=", "="),
        ("nan", "nan"),
        ('"1e-3"', "1e-3"),
        ("'true'", "true"),
    ],
)
def test_a_scalar_is_read_as_in_yaml_1_2(text: str, read: object) -> None:
    got = value(text)

    assert got == read
    assert type(got) is type(read)


def test_every_value_and_key_has_its_place() -> None:
    text = "a:\n  - b: 'c'\n    d: [1, 22]\n"

    read = document.parse(text, "c.yaml", {})

    assert read.data == {"a": [{"b": "c", "d": [1, 22]}]}
    assert read.key_place(("a",)) == (1, 1)
    assert read.key_place(("a", 0, "d")) == (3, 5)
    assert read.place(("a", 0, "b")) == (2, 8)
    assert read.verbatim["a", 0, "b"] == (2, 9)
    assert read.place(("a", 0, "d", 1)) == (3, 12)
    assert read.place(("a", 0, "e")) == read.place(("a", 0)) == (2, 5)


def test_places_count_characters_whatever_their_width() -> None:
    read = document.parse("{ä: '음악', b: x}", "c.yaml", {})

    assert read.key_place(("b",)) == (1, 11)


def test_a_byte_order_mark_and_windows_lines_are_fine() -> None:
    Path("c.yaml").write_bytes(b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())

    assert load("c.yaml", {}).config.signals["pulse"].members["a:x"].group == "ure"


def test_the_environment_fills_in_values_and_types() -> None:
    text = BASE.replace("demo.ndjson", '"${DIR}/${NAME}.ndjson"') + "align: {hop_s: ${HOP}}\n"
    text = text.replace("{hop_s: ${HOP}}", "\n  hop_s: ${HOP}")
    Path("recordings").mkdir()
    Path("recordings/a.ndjson").touch()

    config = loaded(text, {"DIR": "recordings", "NAME": "a", "HOP": "2.5"}).config

    assert getattr(config.streams[0], "path", None) == "recordings/a.ndjson"
    assert config.align.hop_s == 2.5


def test_environment_variables_are_never_read_as_yaml() -> None:
    config = loaded(BASE + "rig: ${RIG}\n", {"RIG": "a, version: 3 # [b]"}).config

    assert config.rig == "a, version: 3 # [b]"


def test_a_minimal_config_has_defaults() -> None:
    run = loaded(BASE)

    assert run.rules == ()
    assert run.config.resample.target_hz == 5.0
    assert run.config.plan().signals[0].reference == "auto"


def test_the_fingerprint_follows_values_and_not_layout() -> None:
    Path("r.yaml").write_text("- when: live < 1\n", "utf-8")
    rules = BASE + "evidence: {rules: [r.yaml]}\n"
    first = loaded(rules).fingerprint

    assert loaded("# so it goes\n" + rules + "rig:   studio\n").fingerprint == first
    assert loaded(rules + "rig: stage\n").fingerprint != first
    Path("r.yaml").write_text("- when: live < 2\n", "utf-8")
    assert loaded(rules).fingerprint != first


def test_rules_of_several_files_come_in_order_with_their_defaults() -> None:
    Path("a.yaml").write_text("- {if: live < 1, risk: a}\n- {when: live < 2, risk: b}\n", "utf-8")
    Path("b.yaml").write_text("rules: [{when: pulse_sd > 1, name: c, for_s: 5}]\n", "utf-8")

    rules = loaded(BASE + "evidence: {rules: [a.yaml, b.yaml]}\n").rules

    assert [rule.title for rule in rules] == ["a", "b", "c"]
    assert [rule.for_s for rule in rules] == [0.0, 0.0, 5.0]


def test_rules_of_several_files_need_names_of_their_own() -> None:
    Path("a.yaml").write_text("- {when: live < 1, risk: a}\n", "utf-8")
    Path("b.yaml").write_text("- {when: live < 2, risk: a}\n", "utf-8")

    (fault,) = refused(BASE + "evidence: {rules: [a.yaml, b.yaml]}\n")

    assert fault.startswith("b.yaml:1:3: a second rule")
    assert "a.yaml:1" in fault


def test_rules_may_read_signals_facts_and_indicators() -> None:
    Path("r.yaml").write_text(
        "- when: pulse > 0 and pulse_sd < 1 and ure_harmony_index > 0.5 and sync_bound_s < 0.1\n",
        "utf-8",
    )
    facts = 'facts: ["ure:ure_harmony_index"]\nevidence: {rules: [r.yaml]}\n'

    assert len(loaded(BASE + facts).rules) == 1


def test_a_rule_has_actions_of_the_bridge() -> None:
    Path("r.yaml").write_text(
        "- {when: live < 1, apply: [increase kd by 0.02, safety gain 0.9, hard stop]}\n", "utf-8"
    )

    (rule,) = loaded(BASE + "bridge: {}\nevidence: {rules: [r.yaml]}\n").rules

    assert rule.apply == ("increase kd by 0.02", "safety gain 0.9", "hard stop")


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ("{when: live < 1, apply: [hard stop, raise kp by 1]}", "1:39: in [0].apply[1], character"),
        ("{when: live < 1, apply: [decrease kp by x]}", "1:43: in [0].apply[0], character 16: un"),
        ("{when: live < 1, apply: [5]}", "1:28: [0].apply[0] is 5, expected text"),
        ("{when: live < 1, apply: hard stop}", "1:27: [0].apply is the text 'hard stop', expect"),
        (
            f"{{when: live < 1, apply: [{'hard stop, ' * 9}]}}",
            "1:27: [0].apply is a list, expected a list of at most 8",
        ),
        (
            "{when: live < 1 or bridge_state > 2, apply: [hard stop]}",
            "1:22: in [0].when, character 13: 'bridge_state' beside 'apply' is a circle, expected a"
            " condition without the results of the bridge",
        ),
        (
            "{when: live < 1, name: calibrate, apply: [hard stop]}",
            "1:3: a rule with 'apply' is called 'calibrate', as the calibrator's records are",
        ),
    ],
)
def test_actions_are_checked_by_character(rule: str, fault: str) -> None:
    Path("r.yaml").write_text(f"- {rule}\n", "utf-8")

    first, *_ = refused(BASE + "bridge: {}\nevidence: {rules: [r.yaml]}\n")

    assert first.startswith(f"r.yaml:{fault}")


def test_actions_without_a_bridge_are_refused() -> None:
    Path("r.yaml").write_text("- {when: live < 1, apply: [hard stop]}\n", "utf-8")

    faults = refused(BASE + "evidence: {rules: [r.yaml]}\n")

    assert faults == [
        "r.yaml:1:20: 'apply' without a bridge, expected 'bridge' in the configuration"
    ]


def test_the_first_rule_files_load_as_they_are() -> None:
    Path("risk_map.yaml").write_text(RISK_MAP, "utf-8")
    Path("quote_rules.yaml").write_text(QUOTE_RULES, "utf-8")

    risk, quote = loaded(BASE + "evidence: {rules: [risk_map.yaml, quote_rules.yaml]}\n").rules

    assert risk.when == "phase_diff > 0.025 and entropy_ratio > 0.18"
    assert risk.risk == "sync_degradation"
    assert quote.when == "slope(coherence, 60s) > 0 and slope(entropy_ratio, 60s) < 0"
    assert quote.quote == "Stability favors clarity; clarity invites harmony."


def test_the_shipped_rules_have_durations_and_severities() -> None:
    folder = ROOT / "configs" / "rules"
    rules = loaded(
        BASE + f"evidence: {{rules: ['{folder}/risk_map.yaml', '{folder}/quote_rules.yaml']}}\n"
    ).rules

    assert [rule.title for rule in rules] == ["sync_degradation", "clarity"]
    assert all(rule.for_s > 0 and rule.keep_for_s > 0 and rule.severity for rule in rules)


def test_the_default_config_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    assert len(load("configs/fusion.yaml", {}).rules) == 2


@pytest.mark.parametrize(
    "text",
    [
        BASE + "evidence: {rules: []}\nfacts: []\nsend: []\nchannels: {}\n",
        BASE + "align: {wait_lag_s: 0.25}\n",
        BASE + "resample: {profile: accurate}\n",
        BASE + "failover: {fallback: degrade}\n",
        BASE.replace("{group: ure}", "{}"),
    ],
)
def test_reachable_channels_pass(text: str) -> None:
    text = text.replace('"b:y": {}', '"b:y": {lag_s: 0.25}')
    Path("demo.ndjson").touch()
    Path("c.yaml").write_text(text, "utf-8")

    assert load("c.yaml").rules == ()


@pytest.mark.parametrize(
    ("stream", "keys"),
    [
        ("type: osc, addr: '127.0.0.1:9000', keys: [/acc, '/b/*']", ["/acc", "/acc[2]", "/b/c[0]"]),
        ("type: midi, device: Keys, pair: true", ["clock", "cc/16/127", "cc14/1/7", "nrpn/1/300"]),
        (
            "type: ure, metrics_url: 'https://h/m', keys: [up, 'cpu*']",
            ["up", 'cpu{a="x,\\"y",b="}"}', 'cpu{a="x"}'],
        ),
    ],
)
def test_facts_that_their_streams_can_have_pass(stream: str, keys: list[str]) -> None:
    facts = json.dumps([f"s:{key}" for key in keys])
    member = {"osc": "/b/x", "ure": "cpu", "midi": "pitch/1"}[stream.split(",")[0].split()[1]]
    Path("c.yaml").write_text(
        f"version: 2\nstreams: [{{name: s, {stream}}}]\nfacts: {facts}\n"
        f'signals: {{p: {{members: {{"s:{member}": {{}}}}}}}}\n',
        "utf-8",
    )

    assert load("c.yaml").config.facts == [f"s:{key}" for key in keys]


@pytest.mark.parametrize(
    ("profile", "hz", "live_s"),
    [
        ("accurate", 5.0, 0.05),
        ("accurate", 100.0, 0.05),
        ("low_latency", 5.0, 0.005),
        ("low_latency", 100.0, 0.005),
        ("low_latency", 1000.0, 0.001),
    ],
)
def test_the_blocks_of_a_run_follow_its_streams_and_its_profile(
    profile: str, hz: float, live_s: float
) -> None:
    def blocks(*streams: dict[str, Any]) -> object:
        given = {
            "version": 2,
            "streams": streams,
            "signals": {"pulse": {"members": {"a:x": {}}}},
            "resample": {"profile": profile, "target_hz": hz},
        }
        return msgspec.convert(given, Config).block_s()

    recording = {"name": "r", "type": "file", "path": "r.ndjson"}
    osc = {"name": "o", "type": "osc", "addr": 9000}
    assert blocks(osc) == blocks(osc, recording) == live_s
    assert blocks(recording | {"follow": True}) == live_s
    assert blocks(recording) == "density"
    assert blocks(recording, recording | {"speed": 2.0}) == 1.0
