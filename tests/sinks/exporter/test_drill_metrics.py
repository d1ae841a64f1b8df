"""Metrics of drills: their percentile, few drills, old ones, and a record that changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from configs.outputs import StoreConfig
from sinks.exporter.drill_metrics import RECENT_S, DrillMetrics, folder_of, percentile
from sinks.exporter.live_state import LiveState
from sinks.exporter.metrics import MetricsPage
from sinks.exporter.metrics_text import MetricsText
from sinks.snapshots.names import AUDIT
from tests.support.shown import config

NOW = 1_800_000_000.0


def write(folder: Path, *drills: tuple[float, float, str]) -> None:
    """Append lines of drills: time, length, result."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / AUDIT).open("a") as file:
        for ts, seconds, result in drills:
            line = {"ts": ts, "who": 0, "command": "drill", "name": "x", "hash": None,
                    "seconds": seconds, "result": result}  # fmt: skip
            file.write(json.dumps(line) + "\n")


def shown(metrics: DrillMetrics) -> dict[str, float]:
    text = MetricsText().text(metrics.metrics()).decode()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name.removeprefix("fusion_drill"): float(value) for name, value in lines}


@pytest.mark.parametrize(
    ("seconds", "value"),
    [([], None), ([5.0], 5.0), ([5.0, 9.0, 1.0], 9.0), (range(1, 20), 19), (range(1, 21), 19),
     (range(1, 101), 95)],
)  # fmt: skip
def test_the_percentile_of_few_drills_is_their_longest(seconds, value):
    assert percentile([*map(float, seconds)]) == value


def test_figures_are_those_of_sound_drills_of_90_days(tmp_path):
    metrics = DrillMetrics(tmp_path, lambda: NOW)
    assert shown(metrics) == {}
    write(tmp_path, (NOW - RECENT_S - 1, 900.0, "ok"), (NOW - 100, 30.0, "ok"))
    write(tmp_path, (NOW - 60, 20.0, "ok"))
    assert shown(metrics) == {
        's_total{result="ok"}': 3, 's_total{result="failed"}': 0, "_last_seconds": 20,
        "_longest_seconds": 30, "_p95_seconds": 30, "s_recent": 2, "_sound": 1,
    }  # fmt: skip
    write(tmp_path, (NOW - 10, 700.0, "failed"))
    assert shown(metrics) == {
        's_total{result="ok"}': 3, 's_total{result="failed"}': 1, "_last_seconds": 20,
        "_longest_seconds": 30, "_p95_seconds": 30, "s_recent": 2, "_sound": 0,
    }  # fmt: skip


def test_old_drills_alone_give_no_percentile(tmp_path):
    write(tmp_path, (NOW - RECENT_S - 1, 900.0, "ok"))
    assert shown(DrillMetrics(tmp_path, lambda: NOW)) == {
        's_total{result="ok"}': 1, 's_total{result="failed"}': 0, "s_recent": 0,
    }  # fmt: skip


def test_the_page_has_them_beside_the_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    of = replace(config(), store=StoreConfig(dsn="sqlite:history/history.sqlite"))
    assert folder_of(config()) is None
    assert folder_of(of) == Path("history/snapshots")
    assert folder_of(replace(of, store=StoreConfig(dsn="postgresql://h/d"))) == Path("snapshots")
    write(tmp_path / "history" / "snapshots", (NOW, 12.0, "ok"))
    page = MetricsPage(LiveState(of, wall=lambda: NOW)).text().decode()
    assert "\nfusion_drill_p95_seconds 12.0\n" in page
    assert "fusion_drill" not in MetricsPage(LiveState(config())).text().decode()
