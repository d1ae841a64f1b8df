"""Configurations: accepted content, parsing, and upgrades of old ones."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from configs import document
from configs.document import ConfigError
from configs.generate import config_schema, event_schema, shipped
from configs.load import Loaded, load
from configs.schema import Config
from configs.upgrade import upgrade
from ops import __main__ as lumen
from sources.ndjson import Decoder
from sources.rows.names import REJECT, Names

ROOT = Path(__file__).parents[2]
BASE = """version: 2
streams: [{name: demo, type: file, path: demo.ndjson}]
signals: {pulse: {members: {"a:x": {group: ure}, "b:y": {}}}}
"""

BRIDGE = """version: 1.9
loop:
  target_harmony: 0.86
  target_coherence: 0.85
  tick_ms: 200
  max_tick_ms: 400
  min_tick_ms: 120
phase:
  drift_budget: 0.02
  rebalance_window_s: 90
  gain:
    base_hz: 5.0
    kp: 0.35
    ki: 0.08
    kd: 0.10
safety:
  residual_stddev_10m_max: 0.03
  rollback_ratio_5m_max: 0.05
  hard_stop_on:
    - coherence_level < 0.72
exporter:
  http_port: 9306
  path: /metrics_bridge
ure:
  metrics_url: http://localhost:9305/metrics_ure
  pull_interval_s: 2
storage:
  sqlite_path: data/ure_v18.sqlite
  wal: true
"""
FUSION = """version: 2.0a
fusion:
  target_harmony: 0.88
  target_coherence: 0.87
  tick_ms: 180
align:
  method: kalman
  kalman:
    q: 1e-3
    r: 2e-3
resample:
  method: polyphase
  target_hz: 5.0
exporter:
  http_port: 9310
  path: /metrics_fusion
weights:
  ure: 0.7
  sensors: 0.3
failover:
  min_streams: 1
  fallback: ure_only  # ure_only | sensors_only | degrade
"""
SENSORS = """streams:
  - name: osc_1
    type: osc
    addr: 127.0.0.1:9000
    keys: [/ure/velocity, /ure/note_len]
  - name: midi_1
    type: midi
    device: "hw:1,0,0"
  - name: replay_demo
    type: file
    path: data/replay/demo.ndjson
"""
AUTOTUNE = """nonlinear_gain:
  kp_curve: [[0.00,0.35],[0.10,0.33],[0.20,0.28],[0.30,0.22]]
  kd_curve: [[0.00,0.10],[0.10,0.12],[0.20,0.14],[0.30,0.18]]
  ki_base: 0.08
burn_rate_thresholds:
  phase: {fast: 0.03, slow: 0.025}
  entropy: {warn: 0.18, crit: 0.22}
"""
RISK_MAP = """- if: "phase_diff > 0.025 and entropy_ratio > 0.18"
  risk: "sync_degradation"
  action: "increase kd by 0.02; alert warn"
"""
QUOTE_RULES = """- match: "coherence improves with lower entropy"
  quote: "Stability favors clarity; clarity invites harmony."
"""


@pytest.fixture(autouse=True)
def _run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo.ndjson").touch()
    monkeypatch.chdir(tmp_path)


def loaded(text: str, environ: Mapping[str, str] | None = None) -> Loaded:
    Path("c.yaml").write_text(text, "utf-8")
    return load("c.yaml", environ or {})


def refused(text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        loaded(text)
    return error.value.lines()


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


OLD = {"bridge": BRIDGE, "fusion": FUSION, "sensors": SENSORS, "autotune": AUTOTUNE}


@pytest.mark.parametrize("name", OLD)
def test_each_key_of_an_old_config_is_answered_in_its_line(name: str) -> None:
    text = OLD[name]
    keys = [n for n, line in enumerate(text.splitlines(), 1) if re.search(r": ?[^ ]", line)]

    faults = refused(text)

    assert "expected version 2: lumen check c.yaml --upgrade" in faults[0]
    assert set(keys) <= {int(fault.split(":")[1]) for fault in faults}
    assert all("expected" in fault or "not carried over" in fault for fault in faults)


@pytest.mark.parametrize("name", OLD)
def test_an_upgraded_config_loads_but_for_missing_features(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    new = tmp_path / "new.yaml"
    new.write_text(upgrade(OLD[name]), "utf-8")
    monkeypatch.chdir(ROOT)

    faults = []
    try:
        load(str(new), {})
    except ConfigError as error:
        faults = error.lines()

    there = "data/replay/demo.ndjson does not exist"
    assert [f for f in faults if "not built yet" not in f and there not in f] == []


def test_an_upgrade_keeps_the_values_as_they_were_written() -> None:
    new = upgrade(FUSION)

    assert "align: {kalman: {q: 1e-3, r: 2e-3}}" in new
    assert "weights: {ure: 0.7, sensors: 0.3}" in new
    assert "failover: {min_streams: 1, fallback: ure_only}" in new
    config = document.parse(new, "new.yaml", {}).data
    assert config["align"]["kalman"] == {"q": 0.001, "r": 0.002}
    assert config["exporter"] == {"http_port": 9310, "path": "/metrics_fusion"}


def test_an_upgrade_makes_signals_of_osc_keys_and_lists_the_rest() -> None:
    new = upgrade(SENSORS)
    config = document.parse(new, "new.yaml", {}).data

    assert list(config["signals"]) == ["velocity", "note_len"]
    assert [stream["name"] for stream in config["streams"]] == ["osc_1", "midi_1", "replay_demo"]
    assert "# Add channels of midi_1" in new


def test_an_upgrade_names_the_keys_left_behind() -> None:
    assert "#   line 13, phase.gain.kp: the bridge loop is not built yet" in upgrade(BRIDGE)
    assert "resample: {target_hz: 5}" in upgrade(BRIDGE)


def test_an_upgrade_keeps_environment_variables() -> None:
    new = upgrade(SENSORS.replace("data/replay", "${RECORDINGS}"))

    assert '"${RECORDINGS}/demo.ndjson"' in new


def test_a_current_config_is_not_upgraded() -> None:
    with pytest.raises(ConfigError, match="nothing to upgrade"):
        upgrade(BASE)


def test_check_prints_the_latency_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.yaml").write_text(
        BASE.replace("{}", "{lag_s: 0.25, lag_sd_s: 0.01}")
        + "resample: {target_hz: 10, wait_s: 0.5}\nalign: {max_lag_s: 4}\n",
        "utf-8",
    )

    assert lumen.main(["check", "c.yaml"]) == 0

    stdout = capsys.readouterr().out
    assert stdout.startswith("OK ")
    assert "1.5 s = 15 ticks of 0.1 s: kernel 1 s, wait 0.5 s" in stdout
    assert "with the lags given: 1.75 s = 17.5 ticks" in stdout
    assert "with a lag of 4 s, the largest waited for: 5.5 s = 55 ticks" in stdout
    assert "prior 0.700" in stdout
    assert "lag 0.25 s given, sd 0.01 s" in stdout


def test_check_warns_of_a_lag_without_an_sd(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("c.yaml").write_text(BASE.replace("{}", "{lag_s: 0.25}"), "utf-8")

    assert lumen.main(["check", "c.yaml"]) == 0

    stdout = capsys.readouterr().out
    assert "lag 0.25 s given, sd not given: not compared, no bound (set lag_sd_s)" in stdout


def test_check_reports_that_low_latency_waits_for_no_lag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("c.yaml").write_text(BASE + "resample: {profile: low_latency, target_hz: 50}\n", "utf-8")

    assert lumen.main(["check", "c.yaml"]) == 0

    assert "no lag is waited for" in capsys.readouterr().out


def test_check_warns_of_a_signal_that_is_never_fused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.yaml").write_text(BASE + "failover: {min_streams: 2}\n", "utf-8")

    assert lumen.main(["check", "c.yaml"]) == 0

    assert "never fused: failover.min_streams is 2, group sensors has 1" in capsys.readouterr().out


def test_check_writes_the_upgrade_and_overwrites_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("old.yaml").write_text(FUSION, "utf-8")
    argv = ["check", "old.yaml", "--upgrade", "-o", "new.yaml"]

    assert lumen.main(argv) == 0
    assert Path("new.yaml").read_text("utf-8") == upgrade(FUSION)
    assert lumen.main(argv) == 2
    assert "new.yaml: File exists" in capsys.readouterr().err


def test_the_shipped_schemas_are_those_of_the_types() -> None:
    for path, text in shipped().items():
        assert path.read_text("utf-8") == text, "run python -m configs.generate"


def test_the_schemas_are_valid_draft_2020_12() -> None:
    for schema in (config_schema(), event_schema()):
        assert schema["$schema"].endswith("/draft/2020-12/schema")
        jsonschema.Draft202012Validator.check_schema(schema)


def test_the_default_config_fits_its_schema() -> None:
    text = (ROOT / "configs" / "fusion.yaml").read_text("utf-8")
    data = document.parse(text, "c.yaml", {}).data

    jsonschema.Draft202012Validator(config_schema()).validate(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(config_schema()).validate(data | {"algin": {}})


EVENT = {"ts": 1730000000.1, "source": "osc_1", "key": "/x", "value": 0.5}


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"value": 3}, True),
        ({"value": -1e300}, True),
        ({"value": "go"}, True),
        ({"value": ""}, True),
        ({"value": [1, 2.5]}, True),
        ({"value": []}, False),
        ({"value": [1, "a"]}, False),
        ({"value": [1, [2]]}, False),
        ({"value": [None]}, False),
        ({"value": True}, False),
        ({"value": None}, False),
        ({"value": {"a": 1}}, False),
        ({"ts": 5}, True),
        ({"ts": -1.5}, True),
        ({"ts": 1e13}, False),
        ({"ts": "1"}, False),
        ({"ts": None}, False),
        ({"source": 5}, False),
        ({"source": "s" * 255}, True),
        ({"source": "s" * 256}, False),
        ({"key": None}, False),
        ({"key": "k" * 300}, False),
        ({"rig": "studio"}, True),
        ({"rig": None}, True),
        ({"rig": ""}, False),
        ({"rig": "../etc"}, False),
        ({"rig": ".hidden"}, False),
        ({"rig": 7}, False),
        ({"meta": {}}, True),
        ({"meta": None}, True),
        ({"meta": {"rx": 1.5, "seq": 7, "unit": "1"}}, True),
        ({"meta": {"rx": None, "seq": None}}, True),
        ({"meta": {"rx": "now"}}, False),
        ({"meta": {"rx": 1e13}}, False),
        ({"meta": {"seq": 1.5}}, False),
        ({"meta": 5}, False),
        ({"more": [1]}, True),
    ],
)
def test_the_event_schema_and_the_decoder_agree(change: dict[str, object], fits: bool) -> None:
    event = EVENT | change
    line = json.dumps(event).encode() + b"\n"

    rows = Decoder("a.ndjson").decode(line, 0, Names("studio"))

    assert (len(rows) > 0 and REJECT not in rows.name) == fits
    assert jsonschema.Draft202012Validator(event_schema()).is_valid(event) == fits


@pytest.mark.parametrize("missing", EVENT)
def test_the_event_schema_and_the_decoder_need_the_same_parts(missing: str) -> None:
    event = {key: part for key, part in EVENT.items() if key != missing}

    rows = Decoder("a.ndjson").decode(json.dumps(event).encode() + b"\n", 0, Names("studio"))

    assert rows.name.tolist() == [REJECT]
    assert not jsonschema.Draft202012Validator(event_schema()).is_valid(event)


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


def test_check_names_a_member_that_the_keys_of_its_stream_leave_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("c.yaml").write_text(
        "version: 2\nstreams: [{name: s, type: osc, addr: '127.0.0.1:9000', keys: [/accXYZ]}]\n"
        'signals: {p: {members: {"s:/accxyz": {}}}}\n',
        "utf-8",
    )

    assert lumen.main(["check", "c.yaml"]) == 0
    assert (
        "never     s:/accxyz: the keys of stream s leave it out; add /accxyz to them"
        in capsys.readouterr().out
    )


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
