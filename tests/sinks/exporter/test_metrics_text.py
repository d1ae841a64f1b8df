from collections.abc import Iterable
from math import isfinite

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as LibraryMetric
from prometheus_client.registry import Collector

from sinks.exporter.metrics import fusion_ages, fusion_values
from sinks.exporter.metrics_text import Metric, MetricsText, RigSamples
from tests.support.shown import Time, events, packet, report, ticks


class Given(Collector):
    def __init__(self, metrics: Iterable[LibraryMetric]) -> None:
        self.metrics = metrics

    def collect(self) -> Iterable[LibraryMetric]:
        return self.metrics


def of_library(metrics: Iterable[Metric]) -> bytes:
    """Return the page that the library makes of the same samples."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Given([library_metric(metric) for metric in metrics]))
    return generate_latest(registry)


def library_metric(metric: Metric) -> LibraryMetric:
    kinds = {
        "gauge": GaugeMetricFamily,
        "counter": CounterMetricFamily,
        "histogram": HistogramMetricFamily,
    }
    made = kinds[metric.kind](metric.name, metric.help)
    for samples in metric.samples:
        for labels, value in samples.rows:
            if value is not None and isfinite(value):
                named = zip(("rig", *samples.labels), (samples.rig, *labels), strict=True)
                made.add_sample(samples.name, dict(named), value)
    return made


def test_the_pages_of_a_run_are_the_bytes_of_the_library():
    board, writer = Time().board(), MetricsText()
    for n in range(3):
        ends = events("osc_1", 100_000)
        board.update([packet(ticks(9 * n, 9), sync=(report("osc_1:p"),), ends=ends)])
        with board.reading():
            made = writer.text([*fusion_values(board), *fusion_ages(board)])
            assert made == of_library([*fusion_values(board), *fusion_ages(board)])
        assert b"fusion_tick_lateness_seconds_count" in made


def given(label: str, value: float) -> list[Metric]:
    rows = {"r": [((label, "x"), value)], label: [(("x", label), 1.0)]}
    samples = {
        name: [RigSamples(name, ("channel", "a"), rig, found) for rig, found in rows.items()]
        for name in ("g", "c_total")
    }
    total = RigSamples("h_sum", (), label, [((), value)])
    buckets = [RigSamples("h_bucket", ("le",), label, [(("0.5",), 1), (("+Inf",), 3)])]
    total = RigSamples("h_sum", (), label, [((), value)])
    return [
        Metric("g", "gauge", 'Back\\slash, "quote"\nand line.', samples["g"]),
        Metric("c_total", "counter", "Counts.", samples["c_total"]),
        Metric("h", "histogram", "Buckets.", [*buckets, total]),
    ]


VALUES = [0.0, -1.5, 1e-300, 1e6, 999999.5, 1234567.25, 1.79e9 + 0.1, 1e15 / 3, 1e22]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("label", ["", "a", 'quoted "name"', "back\\slash", "two\nlines", "Größe"])
def test_any_label_and_number_are_the_bytes_of_the_library(label, value):
    writer = MetricsText()
    for now in (value, value, 7.0, value):  # made, kept, changed, changed back
        assert writer.text(given(label, now)) == of_library(given(label, now))


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_none_has_no_line_and_leaves_none(value):
    def page(now):
        return writer.text([Metric("g", "gauge", "Text.", [RigSamples("g", (), "r", [((), now)])])])

    writer = MetricsText()
    empty = page(value)
    assert page(1.0) == empty + b'g{rig="r"} 1.0\n'
    assert page(value) == empty


def test_no_series_is_kept_twice():
    board, writer = Time().board(), MetricsText()
    sizes = []
    for n in range(20):
        board.update([packet(ticks(n), ends=events(f"stranger{n}"))])
        with board.reading():
            lines = writer.text(fusion_values(board)).splitlines()
        sizes.append(sum(map(len, writer._lines.values())))
    assert sizes[-1] == sizes[0] == sum(not line.startswith(b"#") for line in lines)
