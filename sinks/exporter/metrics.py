"""The metrics page for Prometheus: the one file with the names of `fusion_*` metrics.

An unknown value has no sample: a substitute would look healthy, and NaN would spoil every mean.
Counts begin with the process. The page is made once a version of the live state and kept; only
ages are computed at each request, so that a hanging flow shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from operators.records import INDICATORS, Fused
from operators.types import ENDS, MODES, STATES
from sinks.exporter.live_state import LiveState
from sinks.exporter.metrics_text import Metric, MetricsText, RigSamples, Rows
from sinks.exporter.rig_state import LATENESS_S, OTHERS, RigState
from sinks.exporter.slo import SLOS
from sinks.exporter.sync_energy import sync_energy
from sinks.files.run_json import versions

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Family(NamedTuple):
    """A metric; a counter where its name ends in `_total`. `rows` returns those of one rig."""

    name: str
    help: str
    labels: tuple[str, ...]
    rows: Callable[[RigState], Rows]
    of_others: bool = False
    """Also for the rigs that were not known at the start, together."""


def _now(rows: Callable[[Fused], Rows]) -> Callable[[RigState], Rows]:
    """Return the rows of the newest tick, none before the first."""
    return lambda panel: () if panel.fused is None else rows(panel.fused)


def _indicator(name: str, indicator: str, text: str) -> Family:
    column = INDICATORS.index(indicator)
    return Family(name, text, (), _now(lambda f: [((), f.indicators[-1, column])]))


def _part(name: str, text: str) -> Family:
    return Family(
        f"fusion_indicator_{name}",
        text,
        ("indicator",),
        _now(lambda f: zip(((i,) for i in INDICATORS), getattr(f, name)[-1], strict=True)),
    )


def _sync(name: str, field: str, text: str) -> Family:
    return Family(
        name,
        text,
        ("channel",),
        lambda panel: [((c,), getattr(report, field)) for c, report in panel.sync.items()],
    )


FAMILIES = (
    Family("fusion_build_info", "Versions of the running software.", tuple(versions()),
           lambda panel: [(tuple(map(str, versions().values())), 1.0)]),
    _indicator("fusion_phase_diff_mean", "phase_diff",
               "Phase difference of the channels against the reference, cycles, 0 to 0.5."),
    _indicator("fusion_coherence_level", "coherence", "Coherence with the reference, 0 to 1."),
    _indicator("fusion_harmony_index", "harmony", "Harmony of the channels, 0 to 1."),
    _indicator("fusion_sync_quality", "sync_quality", "Synchrony of the channels, 0 to 1."),
    _indicator("fusion_entropy_ratio", "entropy_ratio", "Residual entropy, 0 to 1."),
    _part("measured", "As measured here: one part of the exported value."),
    _part("reported", "As the engine reports it: the other part of the exported value."),
    Family("fusion_mode", "1 for the mode of the newest tick, the worst over its signals.",
           ("mode",),
           _now(lambda f: [((m,), float(f.mode[-1] == i)) for i, m in enumerate(MODES)])),
    Family("fusion_live_channels", "Channels that are present.", (),
           _now(lambda f: [((), f.live[-1])])),
    Family("fusion_signal_value", "The fused value.", ("signal",),
           _now(lambda f: [((s.name,), s.value[-1]) for s in f.signals])),
    Family("fusion_signal_sd", "Standard deviation of the fused value.", ("signal",),
           _now(lambda f: [((s.name,), s.sd[-1]) for s in f.signals])),
    Family("fusion_channel_weight", "A channel's part of the fused value.", ("signal", "channel"),
           _now(lambda f: [((s.name, c), w) for s in f.signals
                           for c, w in zip(s.channels, s.weights[-1], strict=True)])),
    Family("fusion_sync_error_bound_seconds",
           "Bound of the time error of the compared channels, in 95 of 100 ticks.", (),
           _now(lambda f: [((), f.sync_bound_s[-1])])),
    Family("fusion_sync_estimate_bound_seconds",
           "The same without scraping and coarse stamps: the part that the budgets judge.", (),
           _now(lambda f: [((), f.sync_estimate_bound_s[-1])])),
    Family("fusion_lyapunov_v",
           "Energy of the sync error: 1 with phase difference and estimate bound both critical; of"
           " a beat clock's loop, if larger.", (), lambda panel: [((), sync_energy(panel))]),
    Family("fusion_last_tick_timestamp_seconds", "Host time of the newest tick.", (),
           _now(lambda f: [((), f.ts[-1])])),
    Family("fusion_ticks_total", "Ticks by mode.", ("mode",),
           lambda panel: zip(((mode,) for mode in MODES), panel.ticks, strict=True)),
    Family("fusion_slo_ticks_total", "Ticks that an objective was judged at.", ("slo",),
           lambda panel: [((slo,), panel.slo.ticks[slo]) for slo in SLOS]),
    Family("fusion_slo_bad_ticks_total", "Those of them that were bad.", ("slo",),
           lambda panel: [((slo,), panel.slo.bad[slo]) for slo in SLOS]),
    Family("fusion_slo_uncompared_ticks_total",
           "Ticks at which nothing could be judged: fewer than two members were present.", ("slo",),
           lambda panel: [((slo,), panel.slo.uncompared[slo]) for slo in SLOS]),
    _sync("fusion_clock_offset_seconds", "offset_s", "Host time less source time."),
    _sync("fusion_clock_offset_sd_seconds", "offset_sd_s", "Standard deviation of the offset."),
    _sync("fusion_clock_skew_ppm", "skew_ppm", "Above 0: the source clock runs fast."),
    _sync("fusion_clock_skew_sd_ppm", "skew_sd_ppm", "Standard deviation of the skew."),
    _sync("fusion_clock_resets_total", "clock_resets", "Steps of the source clock."),
    _sync("fusion_lag_seconds", "lag_s", "How late the channel is."),
    _sync("fusion_lag_sd_seconds", "lag_sd_s", "Standard deviation of the lag."),
    _sync("fusion_lag_confidence", "confidence", "Confidence in the lag, 0 to 1."),
    _sync("fusion_channel_rate_hz", "rate_hz", "Effective rate of the channel."),
    _sync("fusion_channel_jitter_p95_seconds", "jitter_p95_s", "95th percentile of the jitter."),
    Family("fusion_channel_state", "1 for the channel's state; live channels are fused.",
           ("channel", "state"),
           lambda panel: [((c, state), float(report.state == state))
                          for c, report in panel.sync.items() for state in STATES]),
    Family("fusion_stream_expected",
           "1: the stream is expected to send all the time; 0: only at a change, or never again,"
           " as a recording that has ended.",
           ("stream",), lambda panel: [((s,), float(e)) for s, e in panel.expected.items()]),
    Family("fusion_stream_up", "1: the stream is up; of a recording: it has sent an event.",
           ("stream",), lambda panel: [((s,), float(up)) for s, up in panel.up.items()]),
    Family("fusion_stream_ended", "1: a recording that was played to its end; 0: any other stream.",
           ("stream",), lambda panel: [((s,), float(s in panel.played)) for s in panel.sources]),
    Family("fusion_stream_last_event_timestamp_seconds",
           "Newest arrival known at the stream's newest event.", ("stream",),
           lambda panel: [((s,), ts) for s, ts in panel.newest.items()]),
    Family("fusion_stream_ingest_total",
           "Events received; * are unexpected sources, ? those without a name.", ("stream",),
           lambda panel: [((s,), ends["received"]) for s, ends in panel.ends.items()],
           of_others=True),
    Family("fusion_events_total", "Events by the one end that each has.", ("stream", "end"),
           lambda panel: [((s, end), ends[end]) for s, ends in panel.ends.items()
                          for end in ENDS[1:]],
           of_others=True),
    Family("fusion_events_discarded_total", "Events that were lost, by stage and reason.",
           ("stage", "reason"), lambda panel: panel.discarded.items(), of_others=True),
)  # fmt: skip
LATENESS = "fusion_tick_lateness_seconds"
AGE = "fusion_stream_age_seconds"


class MetricsPage:
    """The text of a live state's metrics.

    Parameters
    ----------
    board : LiveState
    values, ages : callable, optional
        Return the metrics that change with an update, and those that change with time, read within
        `LiveState.reading`; those of the fusion by default.
    """

    def __init__(
        self,
        board: LiveState,
        values: Callable[[LiveState], Iterable[Metric]] | None = None,
        ages: Callable[[LiveState], Iterable[Metric]] | None = None,
    ) -> None:
        self._board = board
        self._values, self._ages = values or fusion_values, ages or fusion_ages
        self._made = (-1, b"")
        self._writer = MetricsText()

    def text(self) -> bytes:
        """Return the current page."""
        with self._board.reading():
            version, text = self._made
            if version != self._board.version:
                text = self._writer.text(self._values(self._board))
                self._made = self._board.version, text
            return text + self._writer.text(self._ages(self._board))


def fusion_values(board: LiveState) -> Iterator[Metric]:
    """Yield the metrics that change with an update, read within `LiveState.reading`."""
    for family in FAMILIES:
        yield metric(family, board)
    yield _lateness(board)


def fusion_ages(board: LiveState) -> Iterator[Metric]:
    """Yield the metrics that change with time, read within `LiveState.reading`."""
    text = "Since the stream's last event was received; before the first, since the start."
    now = board.clock()
    samples = (
        RigSamples(AGE, ("stream",), rig, _ages(panel, now)) for rig, panel in board.panels.items()
    )
    yield Metric(AGE, "gauge", text, samples)
    if board.energy is not None:
        yield from board.energy.metrics()
    if board.store is not None:
        shown = (panel.fused for panel in board.panels.values() if panel.fused is not None)
        yield from board.store.metrics(float(fused.released[-1]) for fused in shown)
    if board.drills is not None:
        yield from board.drills.metrics()


def _ages(panel: RigState, now: float) -> Rows:
    return [((stream,), max(now - last, 0.0)) for stream, last in panel.last_event.items()]


def metric(family: Family, board: LiveState) -> Metric:
    """Return a metric with the samples of all rigs."""
    panels = {**board.panels, OTHERS: board.others} if family.of_others else board.panels
    return Metric(
        family.name,
        "counter" if family.name.endswith("_total") else "gauge",
        family.help,
        (RigSamples(family.name, family.labels, r, family.rows(p)) for r, p in panels.items()),
    )


def _lateness(board: LiveState) -> Metric:
    text = "From the arrival that released a tick until it was written; live runs only."
    samples = (
        sample
        for rig, panel in board.panels.items()
        for sample in histogram(LATENESS, {}, rig, LATENESS_S, panel.late.tolist(), panel.late_s)
    )
    return Metric(LATENESS, "histogram", text, samples)


def histogram(
    name: str,
    labels: Mapping[str, str],
    rig: str,
    edges: Sequence[float],
    counts: Sequence[int],
    total: float,
) -> Iterator[RigSamples]:
    """Yield the samples of one histogram.

    Parameters
    ----------
    name, labels, rig
        Labels are those beside `rig`, with their values.
    edges : sequence of float (k,)
        Upper edges of the buckets.
    counts : sequence of int (k + 1,)
        Observations of each bucket; the last is above all edges.
    total : float
        Sum of the observations.
    """
    names, values = tuple(labels), tuple(labels.values())
    added = [*accumulate(counts)]
    places = [(*values, str(edge)) for edge in edges] + [(*values, "+Inf")]
    yield RigSamples(f"{name}_bucket", (*names, "le"), rig, zip(places, added, strict=True))
    yield RigSamples(f"{name}_count", names, rig, [(values, added[-1])])
    yield RigSamples(f"{name}_sum", names, rig, [(values, total)])
