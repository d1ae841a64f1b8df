"""The metrics of the bridge for Prometheus: the one file with their names.

They have a path of their own, on the exporter's port and, if configured, on another one. Unknown
values have no sample. Counts of the sending and of scrapes are of this process, the others of the
run. The page is made once a version of the live state, but for these counts.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator
from math import isnan

from operators.bridge.protocol import TRANSITIONS
from operators.records import BridgeStatus
from operators.types import BRIDGE_STATES, LOCKS
from sinks.conductor.tick_counts import JITTER_S
from sinks.conductor.tick_schedule import OUTCOMES
from sinks.exporter.live_state import LiveState
from sinks.exporter.metrics import Family, MetricsPage, histogram, metric
from sinks.exporter.metrics_text import Metric, RigSamples, Rows
from sinks.exporter.rig_state import RigState

TICKS = "bridge_ticks_total"
JITTER = "bridge_tick_jitter_seconds"
SCRAPES = "bridge_export_scrape_seconds"
SCRAPE_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0)
"""Upper edges of the histogram of scrapes."""
_TICK = "cycles of a bridge tick, not of the fused band as fusion_phase_diff_mean"


def _rows(of: Callable[[BridgeStatus], Rows]) -> Callable[[RigState], Rows]:
    """Return the rows of the newest status, none before the first control step."""
    return lambda panel: () if panel.bridge is None or isnan(panel.bridge.at) else of(panel.bridge)


def _one(name: str, text: str, of: Callable[[BridgeStatus], float]) -> Family:
    return Family(name, text, (), _rows(lambda status: [((), of(status))]))


FAMILIES = (
    _one("bridge_phase_diff_mean",
         f"Circular mean of the phase errors over rebalance_window_s, absolute, {_TICK}.",
         lambda b: b.phase_diff),
    _one("bridge_sync_quality",
         "Length of the mean phase vector over rebalance_window_s: spread of the phase, 0 to 1.",
         lambda b: b.sync_quality),
    _one("bridge_entropy_ratio", "Residual entropy in force, 0 to 1.", lambda b: b.entropy_ratio),
    _one("bridge_tick_seconds", "Interval of ticks.", lambda b: b.tick_s),
    _one("bridge_reference_rate_hertz", "Rate of the reference, in ticks.",
         lambda b: b.reference_hz),
    _one("bridge_phase_error_cycles",
         f"Reference minus output, above 0: the output is late; {_TICK}.",
         lambda b: b.phase_error),
    _one("bridge_phase_error_sd_cycles", f"Standard deviation of the phase error, {_TICK}.",
         lambda b: b.phase_sd),
    Family("bridge_lock", "1 for the lock in force.", ("lock",),
           _rows(lambda b: [((lock,), float(b.lock == lock)) for lock in LOCKS])),
    Family("bridge_state", "1 for the state in force: idle, syncing, bridged, guarded, rollback.",
           ("state",),
           _rows(lambda b: [((state,), float(b.state == state)) for state in BRIDGE_STATES])),
    _one("bridge_state_since_timestamp_seconds", "Host time of the newest change of state.",
         lambda b: b.since),
    Family("bridge_transitions_total", "Changes of state.", ("from", "to"),
           _rows(lambda b: [(pair, b.transitions.get(pair, 0)) for pair in TRANSITIONS])),
    _one("bridge_safety_gain", "Safety gain: 0 while no sound is allowed.",
         lambda b: b.safety_gain),
    _one("bridge_hard_stop", "1 while a hard stop holds.", lambda b: float(b.hard_stop)),
    _one("bridge_rollback_ratio_5m",
         "Ticks of five minutes in E2 and E3 that were silenced or at a limit, 0 to 1.",
         lambda b: b.rollback_ratio_5m),
    _one("bridge_residual_stddev_10m", "Standard deviation of the entropy over ten minutes.",
         lambda b: b.residual_stddev_10m),
    Family("bridge_gain", "Gains in force: kp (1/s), ki (1/s^2), kd (1).", ("term",),
           _rows(lambda b: [(("kp",), b.kp), (("ki",), b.ki), (("kd",), b.kd)])),
    Family("bridge_target_met", "1: the quantity meets its target.", ("target",),
           _rows(lambda b: [((name,), None if met is None else float(met))
                            for name, met in b.targets.items()])),
    _one("bridge_slips_total", "Phase errors that passed half a cycle.", lambda b: b.slips),
    _one("bridge_steps_total", "Steps of the output's phase.", lambda b: b.steps),
    _one("bridge_locks_total", "Locks to the reference.", lambda b: b.locks),
    Family("bridge_beats_total", "Beats of the reference by their use.", ("use",),
           _rows(lambda b: [((use,), count) for use, count in b.beats.items()])),
)  # fmt: skip


class ScrapeTimes:
    """Histogram of the times to answer a scrape; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = [0] * (len(SCRAPE_S) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Count a scrape."""
        with self._lock:
            self._counts[bisect_left(SCRAPE_S, seconds)] += 1
            self._sum += seconds

    def read(self) -> tuple[list[int], float]:
        """Return the counts by bucket, and the sum (s)."""
        with self._lock:
            return list(self._counts), self._sum


class BridgePage:
    """The text of a live state's metrics of the bridge.

    Parameters
    ----------
    board : LiveState
    """

    def __init__(self, board: LiveState) -> None:
        self._board, self._scrapes = board, ScrapeTimes()
        self._page = MetricsPage(board, values, lambda board: counted(board, self._scrapes))

    def text(self) -> bytes:
        """Return the current page; its own time is in the next one."""
        begun = self._board.clock()
        text = self._page.text()
        self._scrapes.add(self._board.clock() - begun)
        return text


def values(board: LiveState) -> Iterator[Metric]:
    """Yield the metrics that change with an update, read within `LiveState.reading`."""
    for family in FAMILIES:
        yield metric(family, board)


def counted(board: LiveState, scrapes: ScrapeTimes) -> Iterator[Metric]:
    """Yield the metrics that change between updates: ticks sent, and scrapes."""
    rig, counts = board.played.rig, board.played.counts()
    rows = [
        ((destination, outcome), total.outcomes[outcome])
        for destination, total in counts.items()
        for outcome in OUTCOMES
    ]
    ticks = [RigSamples(TICKS, ("destination", "outcome"), rig, rows)]
    yield Metric(TICKS, "counter", "Ticks by their outcome.", ticks)
    jitter = (
        sample
        for name, total in counts.items()
        for sample in histogram(
            JITTER, {"destination": name}, rig, JITTER_S, total.jitter, total.jitter_s
        )
    )
    yield Metric(JITTER, "histogram", "Sent minus planned time of ticks, absolute.", jitter)
    buckets, seconds = scrapes.read()
    scraped = (
        sample
        for name in board.panels
        for sample in histogram(SCRAPES, {}, name, SCRAPE_S, buckets, seconds)
    )
    yield Metric(SCRAPES, "histogram", "Time to answer a scrape.", scraped)
