"""Metrics as text in Prometheus' format 0.0.4, as `prometheus_client.generate_latest` writes them.

A page has the same series each time, and most of them keep their value: a line is made where its
value has changed, and the text before the value, name and labels, once a series.

State: one line a series of the page.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Literal, NamedTuple, TypeAlias

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})
Rows: TypeAlias = Iterable[tuple[tuple[str, ...], float | None]]
"""Values of the labels after `rig`, with a sample; None, NaN, infinite: there is none."""


class RigSamples(NamedTuple):
    """RigSamples of one rig, or of none: their name, `labels` after `rig`, rows."""

    name: str
    labels: tuple[str, ...]
    rig: str | None
    rows: Rows


class Metric(NamedTuple):
    """A metric by the name that the page has, a counter's with `_total`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Iterable[RigSamples]


class _Line(NamedTuple):
    """A line of the page, its value, and the text before the value."""

    value: float
    before: str
    text: str


class MetricsText:
    """Writes gauges, counters and histograms without timestamps."""

    def __init__(self) -> None:
        self._heads: dict[str, str] = {}
        self._lines: dict[tuple[str, str | None], dict[tuple[str, ...], _Line]] = {}

    def text(self, metrics: Iterable[Metric]) -> bytes:
        """Return the metrics as UTF-8 text."""
        page: list[str] = []
        for metric in metrics:
            head = self._heads.get(metric.name)
            if head is None:
                head = self._heads[metric.name] = _head(metric)
            page.append(head)
            for samples in metric.samples:
                self._write(page, samples)
        return "".join(page).encode()

    def _write(self, page: list[str], samples: RigSamples) -> None:
        """Append the lines of the samples to the page."""
        known = self._lines.setdefault((samples.name, samples.rig), {})
        for labels, value in samples.rows:
            line = known.get(labels)
            if line is None or line.value != value:
                if value is None or not isfinite(value):
                    continue
                before = line.before if line else _series(samples, labels)
                value = float(value) + 0.0  # -0.0 equals 0.0, and is written as it
                line = known[labels] = _Line(value, before, f"{before} {_number(value)}\n")
            page.append(line.text)


def _head(metric: Metric) -> str:
    text = metric.help.translate(_HELP_ESCAPES)
    return f"# HELP {metric.name} {text}\n# TYPE {metric.name} {metric.kind}\n"


def _series(samples: RigSamples, values: tuple[str, ...]) -> str:
    """Return a sample's name and labels, the labels by name."""
    labels = dict(zip(samples.labels, values, strict=True))
    if samples.rig is not None:
        labels["rig"] = samples.rig
    if not labels:
        return samples.name
    pairs = (f'{label}="{value.translate(_ESCAPES)}"' for label, value in sorted(labels.items()))
    return f"{samples.name}{{{','.join(pairs)}}}"


def _number(value: float) -> str:
    """Return a number as Go writes it: with an exponent from 1e6 on."""
    text = repr(value)
    whole, _, rest = text.partition(".")
    if value < 1e6 or "e" in text:
        return text
    mantissa = f"{whole[0]}.{whole[1:]}{rest}".rstrip("0.")
    return f"{mantissa}e+{len(whole) - 1:02d}"
