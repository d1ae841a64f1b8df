"""Rigs on paper: processes, partitions, messages and storage of a field, from measured figures.

The figures of one process are measured (`ProcessFigures`). The deal of rigs to partitions is
simulated: each rig is in a partition by a hash, and a process has as many partitions as any other.
`Assumed` has the figures of brokers and disks that were measured by nobody here.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ops.text.table import table

RIGS = (1_000, 10_000, 100_000, 1_000_000)
_TRIALS = 20
_DAY_S = 86_400


class ProcessFigures(NamedTuple):
    """Figures of one process that reads a topic in catch-up.

    Attributes
    ----------
    rate_hz : float
        Events of a rig.
    event_us : float
        CPU time of an event, net of start-up.
    line_bytes : float
        Of an event in the topic.
    block_lines : int
        Lines of a message.
    state_bytes : float
        Of a rig in the recovery store.
    memory_bytes : float
        Of a rig, resident at the peak.
    result_bytes_s : float
        Of a rig's result files, a second of data.
    """

    rate_hz: float
    event_us: float
    line_bytes: float
    block_lines: int
    state_bytes: float
    memory_bytes: float
    result_bytes_s: float


class Assumed(NamedTuple):
    """What nobody measured here.

    Attributes
    ----------
    fill : float
        Share of a core that the busiest process may need.
    partitions_each : int
        Partitions of a process.
    replicas : int
        Copies of a message.
    broker_mb_s : float
        Bytes that a broker takes with all copies (MB/s).
    max_rigs : int
        Rigs of a process, by the configuration.
    """

    fill: float = 0.7
    partitions_each: int = 8
    replicas: int = 3
    broker_mb_s: float = 100.0
    max_rigs: int = 16_384


MEASURED = ProcessFigures(190.7, 8.80, 130.3, 64, 758_354, 4.16e6, 2_914)
"""1,000 rigs of five streams from a topic; `ops/docs/SCALE.md` has the run."""
ASSUMED = Assumed()


class FieldOnPaper(NamedTuple):
    """A field of rigs: its size in all respects."""

    rigs: int
    events_s: float
    processes: int
    partitions: int
    largest_load: float
    messages_s: float
    topic_mb_s: float
    brokers: int
    topic_tb_day: float
    state_gb: float
    memory_gb: float
    results_mb_s: float


def largest_load(rigs: int, processes: int, partitions_each: int, seed: int = 0) -> float:
    """Return the rigs of the busiest process over their mean: the mean of 20 simulated deals."""
    rng = np.random.default_rng(seed)
    partitions = processes * partitions_each
    dealt = rng.multinomial(rigs, np.full(partitions, 1 / partitions), size=_TRIALS)
    loads = dealt.reshape(_TRIALS, processes, partitions_each).sum(axis=2)
    return float(loads.max(axis=1).mean() * processes / rigs)


def on_paper(rigs: int, measured: ProcessFigures, assumed: Assumed) -> FieldOnPaper:
    """Return the size of a field; the busiest process stays within `fill` and `max_rigs`."""
    events_s = rigs * measured.rate_hz
    cores = events_s * measured.event_us * 1e-6
    processes = max(math.ceil(cores / assumed.fill), math.ceil(rigs / assumed.max_rigs))
    while True:
        load = largest_load(rigs, processes, assumed.partitions_each)
        if load * cores / processes <= assumed.fill and load * rigs / processes <= assumed.max_rigs:
            break
        processes += max(processes // 100, 1)
    topic_mb_s = events_s * measured.line_bytes / 1e6
    return FieldOnPaper(
        rigs,
        events_s,
        processes,
        processes * assumed.partitions_each,
        load,
        events_s / measured.block_lines,
        topic_mb_s,
        max(math.ceil(topic_mb_s * assumed.replicas / assumed.broker_mb_s), assumed.replicas),
        topic_mb_s * assumed.replicas * _DAY_S / 1e6,
        rigs * measured.state_bytes / 1e9,
        rigs * measured.memory_bytes / 1e9,
        rigs * measured.result_bytes_s / 1e6,
    )


def page(measured: ProcessFigures, assumed: Assumed) -> str:
    """Return the table of the page."""
    fields = [on_paper(rigs, measured, assumed) for rigs in RIGS]
    rows = (
        ("events/s", lambda f: f"{f.events_s:,.0f}"),
        ("processes", lambda f: f"{f.processes:,}"),
        ("partitions", lambda f: f"{f.partitions:,}"),
        ("busiest process over the mean", lambda f: f"{f.largest_load:.2f}"),
        ("messages/s", lambda f: f"{f.messages_s:,.0f}"),
        ("topic in, MB/s", lambda f: f"{f.topic_mb_s:,.0f}"),
        ("brokers", lambda f: f"{f.brokers:,}"),
        ("topic a day, all copies, TB", lambda f: f"{f.topic_tb_day:,.1f}"),
        ("recovery stores, GB", lambda f: f"{f.state_gb:,.1f}"),
        ("memory of processes, GB", lambda f: f"{f.memory_gb:,.1f}"),
        ("results, MB/s", lambda f: f"{f.results_mb_s:,.1f}"),
    )
    head = ("rigs", *(f"{field.rigs:,}" for field in fields))
    return table(head, [(name, *map(shown, fields)) for name, shown in rows])
