"""Upgrades of configurations of older versions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from configs import document
from configs.document import ConfigError
from configs.load import load
from configs.upgrade import upgrade
from ops import __main__ as lumen
from tests.configs.minimal import BASE, refused

pytestmark = pytest.mark.usefixtures("run_folder")


ROOT = Path(__file__).parents[2]


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


STORAGE = """backend: sqlite  # sqlite | postgres
sqlite_path: data/ure_v18.sqlite
postgres_dsn: ${URE_PG_DSN}  # e.g. postgres://user:pass@host:5432/ure
"""


OLD = {
    "bridge": BRIDGE,
    "fusion": FUSION,
    "sensors": SENSORS,
    "autotune": AUTOTUNE,
    "storage": STORAGE,
}


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


def test_an_upgrade_takes_the_storage_over() -> None:
    dsn = "sqlite:data/ure_v18.sqlite"
    for text in (BRIDGE, STORAGE, STORAGE.removeprefix("backend: sqlite")):
        new = upgrade(text)
        assert document.parse(new, "new.yaml", {}).data["store"] == {"dsn": dsn}
        assert "those of the first versions at this place are refused" in new
    assert "#   line 29, storage.wal: a history in SQLite is always in WAL mode" in upgrade(BRIDGE)
    assert "#   line 3, postgres_dsn: backend is sqlite" in upgrade(STORAGE)
    new = upgrade(STORAGE.replace("backend: sqlite", "backend: postgres"))
    environ = {"URE_PG_DSN": "postgres://user:pass@host:5432/ure"}
    assert document.parse(new, "new.yaml", environ).data["store"] == {"dsn": environ["URE_PG_DSN"]}
    assert "#   line 2, sqlite_path: backend is postgres" in new
    assert "pass@" not in new


def test_an_upgraded_storage_file_loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    new.write_text(upgrade(STORAGE.replace("backend: sqlite", "backend: postgres")), "utf-8")
    monkeypatch.chdir(ROOT)
    store = load(str(new), {"URE_PG_DSN": "postgres://user:pass@host:5432/ure"}).config.store
    assert store is not None
    assert store.dsn == "postgres://user:pass@host:5432/ure"


def test_an_upgrade_keeps_environment_variables() -> None:
    new = upgrade(SENSORS.replace("data/replay", "${RECORDINGS}"))

    assert '"${RECORDINGS}/demo.ndjson"' in new


def test_a_current_config_is_not_upgraded() -> None:
    with pytest.raises(ConfigError, match="nothing to upgrade"):
        upgrade(BASE)


def test_check_writes_the_upgrade_and_overwrites_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("old.yaml").write_text(FUSION, "utf-8")
    argv = ["check", "old.yaml", "--upgrade", "-o", "new.yaml"]

    assert lumen.main(argv) == 0
    assert Path("new.yaml").read_text("utf-8") == upgrade(FUSION)
    assert lumen.main(argv) == 2
    assert "new.yaml: File exists" in capsys.readouterr().err
