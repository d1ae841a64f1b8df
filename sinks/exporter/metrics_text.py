"""Metrics as text in Prometheus' format 0.0.4, as `prometheus_client.generate_latest` writes them.

A page has the same series each time and other values. The text before a value, name and labels, is
made once a series and kept: it is three quarters of the work.

State: one text a series of the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

_number: Callable[[float], str] = floatToGoString
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


class MetricsText:
    """Writes gauges, counters and histograms without timestamps."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, ...], str] = {}

    def text(self, metrics: Iterable[Metric]) -> bytes:
        """Return the metrics as UTF-8 text.

        Parameters
        ----------
        metrics : iterable of Metric
            Labels of a metric are in the same order in all samples.
        """
        lines = []
        for metric in metrics:
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            lines.append(f"# HELP {name} {metric.documentation.translate(_HELP_ESCAPES)}\n")
            lines.append(f"# TYPE {name} {metric.type}\n")
            for sample in metric.samples:
                key = (sample.name, *sample.labels.values())
                series = self._series.get(key)
                if series is None:
                    series = self._series[key] = _series(sample.name, sample.labels)
                lines.append(f"{series} {_number(sample.value)}\n")
        return "".join(lines).encode()


def _series(name: str, labels: dict[str, str]) -> str:
    pairs = (f'{label}="{value.translate(_ESCAPES)}"' for label, value in sorted(labels.items()))
    return f"{name}{{{','.join(pairs)}}}"
