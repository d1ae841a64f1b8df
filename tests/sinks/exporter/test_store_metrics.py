"""Metrics of the history: read from its follower's report, unknown before the first."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.outputs import OutputConfig
from sinks.exporter.metrics_text import MetricsText
from sinks.exporter.store_metrics import STALE_S, StoreMetrics
from sinks.files.progress import FINAL, Final, TakenIn


class Page:
    """Metrics of an output folder at a time of one's own."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self.folder = folder
        self.made = StoreMetrics(OutputConfig(dir=str(folder)), lambda: self.now)

    def read(self, *released: float) -> dict[str, float]:
        lines = MetricsText().text(self.made.metrics(released)).decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name.removeprefix("fusion_store_"): float(value) for name, value in pairs}


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(tmp_path)


def final(page: Page, run: str = "run", lost: int = 0) -> None:
    Final(run, 0.0, "", 1, True, lost, {}).write(page.folder)


def test_without_a_report_the_store_is_down(page: Page) -> None:
    assert page.read() == {"up": 0}
    assert page.read(50.0) == {"up": 0, "lag_seconds": 0}
    assert page.read(60.0, 70.0) == {"up": 0, "lag_seconds": 20}


def test_the_report_is_shown_until_it_is_stale(page: Page) -> None:
    final(page, lost=3)
    rows, errors = {"tick": 9}, {"line": 1}
    report = TakenIn(1, 999.0, True, "", "run", {}, 95.0, 4096, rows=rows, errors=errors, lost=2)
    report.write(page.folder)
    assert page.read(100.0, 40.0) == {
        "up": 1, "lag_seconds": 5, 'rows_total{table="tick"}': 9, "rows_lost_total": 5,
        "size_bytes": 4096, 'errors_total{reason="line"}': 1,
    }  # fmt: skip
    page.now = 999.0 + STALE_S
    assert page.read(100.0)["up"] == 1
    page.now += 0.1
    assert page.read(100.0)["up"] == 0
    page.now = 10.0  # the machine was started again
    assert page.read(100.0)["up"] == 0


def test_the_report_of_another_run_stores_nothing_of_this_one(page: Page) -> None:
    final(page, "new")
    TakenIn(1, 999.0, True, "", "old", {}, 95.0).write(page.folder)
    assert page.read(100.0)["lag_seconds"] == 0
    assert page.read(130.0)["lag_seconds"] == 30
    TakenIn(1, 999.5, False, "away", "new", {}, 128.0).write(page.folder)
    found = page.read(130.0)
    assert (found["up"], found["lag_seconds"]) == (0, 2)


def test_damaged_files_are_no_reports(page: Page) -> None:
    (page.folder / FINAL).write_text("{")
    (page.folder / ".lumen.taken").write_bytes(b"\xff")
    assert page.read() == {"up": 0}
