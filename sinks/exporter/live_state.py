"""The live state of a run: newest values, counts and recent findings.

The output updates it packet by packet; HTTP threads read it at any time. Names in the data do not
enlarge it: sources that are not configured count under `*`, those without a name under `?`. Rigs
that were not known at the start count together as `*`, without values. Of a topic no rig is known
at the start: the first 64 that appear have values.

State: one `RigState` a rig with its history, `MAX_FINDINGS` findings, `MAX_PACKETS` packets. The
packets of a live run wait, and are counted together, or at a request: one by one each would find
the processor's cache full of other data. Cost: 10 us a packet.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import msgspec

from configs.inputs import UreStream
from configs.schema import Config, RecordedStream
from operators.records import Packet
from sinks.conductor.tick_counts import PlayedTicks
from sinks.exporter.drill_metrics import DrillMetrics, folder_of
from sinks.exporter.energy import EnergyMeter
from sinks.exporter.rig_state import NumberedFinding, RigState
from sinks.exporter.store_metrics import StoreMetrics
from sinks.exporter.sync_status import FAR_BEHIND_S, uncompared

MAX_FINDINGS = 4_096
MAX_PACKETS = 64
"""Packets of a live run that wait."""
MAX_PANELS = 64
"""Rigs of a topic that have values."""
FRESH_S = 30.0

_encoder = msgspec.json.Encoder()


class LiveState:
    """The live state of all rigs.

    Parameters
    ----------
    config : Config
    rigs : tuple of str
        Known before the run.
    clock, wall : callable
        Monotonic seconds; host time (s since the epoch).

    played : PlayedTicks, optional
        Counts of the ticks of the bridge that were sent.

    Attributes
    ----------
    version : int
        Rises with each update.
    started : float
        Start of the run (s since the epoch), which identifies it.
    energy : EnergyMeter or None
        Energy of the process, where the configuration has `energy`.
    drills : DrillMetrics or None
        Of the snapshots of that store.
    store : StoreMetrics or None
        Metrics of the history, where one is configured.
    """

    def __init__(
        self,
        config: Config,
        rigs: tuple[str, ...] = (),
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        played: PlayedTicks | None = None,
    ) -> None:
        self.clock, self.wall = clock, wall
        self.played = played or PlayedTicks()
        self.energy = EnergyMeter(config.energy) if config.energy is not None else None
        self._lock = threading.RLock()
        self._waiting: deque[tuple[list[Packet], float, float | None, int]] = deque()
        self._held = 0
        self._fault: Exception | None = None
        self.version = 0
        self.started = wall()
        self.store = StoreMetrics(config.output) if config.store is not None else None
        snapshots = folder_of(config)
        self.drills = None if snapshots is None else DrillMetrics(snapshots, wall)
        self._live = config.live
        hz = config.resample.target_hz
        self._panel = partial(_panel_of, config)
        known = () if config.topic is not None else rigs or (config.rig,)
        self._places = MAX_PANELS if config.topic is not None else 0
        self.panels = {rig: self._panel(clock()) for rig in known}
        self.others = RigState({}, clock(), hz)
        self.findings: deque[NumberedFinding] = deque(maxlen=MAX_FINDINGS)

    def update(self, packets: list[Packet]) -> None:
        """Update with the packets, as one version.

        Without packets, those that wait are counted. An error can be that of an earlier update,
        found at a request; other packets are not lost by it.
        """
        now, wall = self.clock(), self.wall() if self._live else None
        with self._lock:
            if self.energy is not None:
                self.energy.sample()
            self.version += 1
            self._waiting.append((packets, now, wall, self.version))
            self._held += len(packets)
            fault, self._fault = self._fault, None
            if fault is not None:
                raise fault
            if wall is None or not packets or self._held >= MAX_PACKETS:
                self._count()

    def _count(self) -> None:
        """Count the packets that wait."""
        while self._waiting:
            packets, now, wall, version = self._waiting.popleft()
            self._held -= len(packets)
            for packet in packets:
                self._show(packet, now, wall, version)

    def _show(self, packet: Packet, now: float, wall: float | None, version: int) -> None:
        panel = self.panels.get(packet.rig) or self._new_panel(packet.rig)
        panel.count(packet, now)
        if panel is self.others:
            return
        panel.show(packet, now, wall, version)
        for record in packet.evidence:
            panel.history.found(record)
            number = self.findings[-1].number + 1 if self.findings else 0
            line = _encoder.encode(record) + b"\n"
            self.findings.append(NumberedFinding(number, record.ts, line))

    def _new_panel(self, rig: str) -> RigState:
        """Return the panel of a rig that was not known at the start."""
        if len(self.panels) >= self._places:
            return self.others
        self.panels[rig] = self._panel(self.clock())
        return self.panels[rig]

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold off updates while the panels, brought up to date, are read."""
        with self._lock:
            try:
                self._count()
            except Exception as error:  # any: the next update of the flow raises it
                self._fault = error
            for panel in self.panels.values():
                panel.settle()
            yield

    def stale(self) -> str:
        """Return why the data are not fresh; empty where they are."""
        with self.reading():
            now, panels = self.clock(), self.panels.values()
            if all(now - panel.last_tick > FRESH_S for panel in panels):
                return f"no tick within {FRESH_S:g} s"
            if all(now - panel.last_any > FRESH_S for panel in panels):
                return f"no event within {FRESH_S:g} s"
            running = (p.behind_s for p in panels if not p.ended and now - p.last_tick <= FRESH_S)
            if (behind := max(running, default=0.0)) > FAR_BEHIND_S:
                return f"results come {behind:.1f} s late: this machine cannot keep up"
            return ""

    def uncompared(self) -> list[str]:
        """Return a line for each rig without a comparison, with the reason."""
        with self.reading():
            found = {rig: uncompared(panel) for rig, panel in self.panels.items()}
        return [f"{rig}: not compared: {why}" for rig, why in found.items() if why]

    def found(self, since: float, after: int, limit: int) -> tuple[list[NumberedFinding], bool]:
        """Return findings in order, and whether there are more.

        Parameters
        ----------
        since : float
            The earliest `ts` (s).
        after : int
            The number before the first.
        limit : int
            Largest number of findings.
        """
        with self.reading():
            findings = list(self.findings)
        fitting = [f for f in findings if f.number > after and f.ts >= since]
        return fitting[:limit], len(fitting) > limit


def _panel_of(config: Config, started: float) -> RigState:
    """Return the state of a rig without data."""
    recorded = frozenset(s.name for s in config.streams if isinstance(s, RecordedStream))
    live = frozenset(s.name for s in config.streams) - recorded
    bridge = config.bridge
    loop = bridge.loop if bridge is not None and bridge.reference is not None else None
    hz = config.resample.target_hz
    return RigState(
        _sources(config), started, hz, config.quality, config.plan(), recorded, live, loop
    )


def _sources(config: Config) -> dict[str, bool]:
    """Return the sources: live streams and those of a recording's channels; whether steady.

    A steady source is expected to send all the time: it is scraped, or has a sampled channel.
    """
    plan = config.plan()
    names = [s.name for s in config.streams if not isinstance(s, RecordedStream)]
    if len(names) < len(config.streams):
        channels = [*(lane.channel for lane in plan.lanes), *plan.beats]
        names += [config.stream_of(channel.partition(":")[0]) for channel in channels]
    steady = {s.name for s in config.streams if isinstance(s, UreStream)}
    steady |= {
        config.stream_of(lane.source) for lane in plan.lanes if not plan.is_held(lane.channel)
    }
    return {name: name in steady for name in names}
