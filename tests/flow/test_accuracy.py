"""The laboratory's recording, run and measured: bars that a single seed must hold."""

from __future__ import annotations

import pytest

from ops.bench.accuracy import compare
from ops.evaluate.experiment import measure, show

MUST = {
    "fused_over_oracle": (0.0, 1.06),
    "fused_nees": (0.7, 1.5),
    "map_median_ms": (0.0, 0.05),
    "resets_missed": (0, 0),
    "resets_false": (0, 0),
    "reset_latency_s": (0.0, 0.25),
    "outlier_recall_pct": (97.0, 100.0),
    "ticks_empty": (0, 0),
    "modes_wrong": (0, 0),
    "unaccounted": (0, 0),
}


@pytest.mark.parametrize(("snr_db", "lag_ms"), [(20.0, 1.2), (0.0, 10.0)])
def test_a_recording_comes_out_right_and_with_its_error(snr_db: float, lag_ms: float) -> None:
    figures = measure([2000], snr_db).figures()
    for key, (low, high) in MUST.items():
        assert low <= figures[key] <= high, key
    assert figures["lag_ms"] <= lag_ms
    assert "fused RMSE / oracle" in show({snr_db: figures})


def test_what_one_would_do_without_is_far_worse() -> None:
    others = compare(range(2000, 2001), 20.0, 300.0)
    best = others.pop("oracle")
    assert min(others.values()) > 15 * best
