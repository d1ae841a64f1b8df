from collections.abc import Iterable

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sinks.exporter.metrics import fusion_ages, fusion_values
from sinks.exporter.metrics_text import MetricsText
from tests.support.shown import Time, events, packet, report, ticks


class Given(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self.metrics


def of_library(metrics: Iterable[Metric]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Given(metrics))
    return generate_latest(registry)


def test_the_pages_of_a_run_are_the_bytes_of_the_library():
    board, writer = Time().board(), MetricsText()
    for n in range(3):
        ends = events("osc_1", 100_000)
        board.update([packet(ticks(9 * n, 9), sync=(report("osc_1:p"),), ends=ends)])
        for metrics in (fusion_values(board), fusion_ages(board)):
            assert writer.text(metrics) == of_library(metrics)


@pytest.mark.parametrize("value", [0.0, -1.5, 1e-300, 1e6, 1234567.25, 1e22, np.inf, -np.inf])
@pytest.mark.parametrize("label", ["", "a", 'quoted "name"', "back\\slash", "two\nlines", "Größe"])
def test_any_label_and_number_are_the_bytes_of_the_library(label, value):
    labels = ("rig", "channel", "a")
    metrics = [
        GaugeMetricFamily("g", 'Back\\slash, "quote"\nand line.', labels=labels),
        CounterMetricFamily("c_total", "Counts.", labels=labels),
    ]
    for metric in metrics:
        metric.add_metric(("r", label, "x"), value)
        metric.add_metric(("s", "x", label), 1.0)
    histogram = HistogramMetricFamily("h", "Buckets.", labels=("rig",))
    histogram.add_metric((label,), [("0.5", 1), ("+Inf", 3)], value)
    metrics.append(histogram)
    writer = MetricsText()
    for _ in range(2):  # made, then kept
        assert writer.text(metrics) == of_library(metrics)


def test_no_series_is_kept_twice():
    board, writer = Time().board(), MetricsText()
    sizes = []
    for n in range(20):
        board.update([packet(ticks(n), ends=events(f"stranger{n}"))])
        lines = writer.text(fusion_values(board)).splitlines()
        sizes.append(len(writer._series))
    assert sizes[-1] == sizes[0] == sum(not line.startswith(b"#") for line in lines)
