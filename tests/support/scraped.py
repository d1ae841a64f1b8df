"""A real scrape: the exporter's page at the end of a recording in which all happens.

Rules, dashboards and pages that name a metric are held against it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import structs
from prometheus_client.parser import text_string_to_metric_families

from configs.inputs import MidiStream, OscStream, UreStream
from configs.outputs import EnergyConfig, OutputConfig, StoreConfig
from configs.schema import Config
from configs.signals import MemberConfig, SignalConfig
from operators.records import Packet
from sinks.conductor.tick_counts import PlayedTicks, TickTotals
from sinks.exporter.bridge_metrics import BridgePage
from sinks.exporter.energy import EnergyMeter
from sinks.exporter.live_state import LiveState
from sinks.exporter.metrics import MetricsPage
from sinks.files.progress import TakenIn
from tests.contract import rich
from tests.support.bridge_frames import status
from tests.support.signals import Source, every, run
from tests.support.signals import studio as recorded
from tests.support.sysfs import Machine

Labels = frozenset[tuple[str, str]]
URE = {
    "ure_phase_diff_mean": 0.015, "ure_harmony_index": 0.9, "ure_coherence_level": 0.93,
    "ure_residual_entropy_last": 0.12,
}  # fmt: skip
"""What the engine reports of itself."""
PLAN = replace(rich.PLAN, facts=tuple(f"ure:{key}" for key in URE))
STUDIO = (
    *(source for source in rich.STUDIO if source.key not in URE),
    *(Source(source="ure", key=key, rate_hz=0.5, noise=0.005, value=lambda t, x=x: x + 0 * t)
      for key, x in URE.items()),
)  # fmt: skip


def config(folder: str = "out") -> Config:
    """The studio's rig as a live configuration, with a history."""
    members = {m.channel: MemberConfig(group=m.group) for m in PLAN.members}
    return Config(
        version=2,
        rig=PLAN.rig,
        streams=[
            UreStream(name="ure", metrics_url="http://127.0.0.1:9305/metrics_ure"),
            *(OscStream(name=f"osc_{i}", addr=f"127.0.0.1:900{i}") for i in (1, 2, 3)),
            MidiStream(name="midi_1", device="hw:1,0,0"),
        ],
        signals={"pulse": SignalConfig(members=members)},
        facts=list(PLAN.facts),
        output=OutputConfig(dir=folder),
        store=StoreConfig(dsn="sqlite:history.sqlite"),
    )


@lru_cache(maxsize=1)
def text() -> str:
    """Return the pages: several streams, facts of an engine, clock resets, losses, dead letters."""
    recording = recorded(*STUDIO, seconds=rich.SECONDS, seed=3, ticks_s=0.5, rejects=4)
    now = 0.0
    with TemporaryDirectory() as folder:
        rows, errors = {"tick": 9, "signal": 9}, {"locked": 1}
        TakenIn(1, time.monotonic(), True, rows=rows, errors=errors, size=1).write(Path(folder))
        of = config(folder)
        board = LiveState(of, clock=lambda: now, wall=lambda: now, played=played())
        for packet in run(rich.stations(PLAN), every(recording, 997)):
            now = packet.watermark + 0.05
            board.update([ticking(packet, now)])
        board.energy = metered(Path(folder) / "machine")
        return shown(board)


def metered(folder: Path) -> EnergyMeter:
    """Return a meter on a machine with a sensor, some time after its start."""
    machine, now = Machine(folder), iter(range(0, 10_000, 10))
    machine.sensor("hwmon0", 1, "coretemp", "Package id 0", "71000")
    energy = EnergyConfig(watts_per_core=15, price_per_kwh=160, currency="KRW")
    return EnergyMeter(energy, folder, lambda: float(next(now)), lambda: 1.0)


def played() -> PlayedTicks:
    """Return counts of one destination of the beat clock."""
    made = PlayedTicks()
    made.rig, made.totals = PLAN.rig, {"music": TickTotals()}
    return made


def ticking(packet: Packet, now: float) -> Packet:
    """Return a packet with the status of a beat clock of which all is known."""
    known = {"phase_sd": 0.004, "entropy_ratio": 0.12, "residual_stddev_10m": 0.01}
    targets = {"harmony": True, "coherence": False}
    return structs.replace(packet, bridge_status=status(now, targets=targets, **known))


def shown(board: LiveState) -> str:
    """Return both pages of metrics as one."""
    return (MetricsPage(board).text() + BridgePage(board).text()).decode()


@lru_cache(maxsize=1)
def series() -> Mapping[str, frozenset[Labels]]:
    """Return the label sets of each metric; a histogram's under `_bucket`, `_sum`, `_count`."""
    found: dict[str, set[Labels]] = {}
    for family in text_string_to_metric_families(text()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).add(frozenset(sample.labels.items()))
    return {name: frozenset(labels) for name, labels in found.items()}
