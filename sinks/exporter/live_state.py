"""What a run shows of itself while it runs: the newest of everything, counts, recent findings.

Told packet by packet by the one exit, read by whoever asks at any time. Names that come with the
data add nothing: sources that the configuration does not name count under `*`, those without a
name under `?`; rigs that were not known at the start count together as `*`, and show no values.

State: one panel a rig with its history, `MAX_FINDINGS` findings. Cost: 50 us a packet: ticks are
judged many at once, or when somebody asks.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import numpy as np

from configs.schema import Config, FileStream, UreStream
from operators.records import Packet
from sinks.exporter.rig_state import NumberedFinding, RigState
from sinks.exporter.sync_status import FAR_BEHIND_S, uncompared

MAX_FINDINGS = 4_096
FRESH_S = 30.0

_encoder = msgspec.json.Encoder()


class LiveState:
    """All that is shown.

    Parameters
    ----------
    config : Config
    rigs : tuple of str
        Known before the run.
    clock, wall : callable
        Monotonic seconds; host time (s since the epoch).

    Attributes
    ----------
    version : int
        Rises with all that is told.
    started : float
        When it began to be told (s since the epoch): no other run has the same.
    """

    def __init__(
        self,
        config: Config,
        rigs: tuple[str, ...] = (),
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.clock, self.wall = clock, wall
        self._lock = threading.Lock()
        self.version = 0
        self.started = wall()
        self._live = config.live
        sources = _sources(config)
        hz = config.resample.target_hz
        plan, quality = config.plan(), config.quality
        files = frozenset(s.name for s in config.streams if isinstance(s, FileStream))
        live = frozenset(s.name for s in config.streams) - files
        self.panels = {
            rig: RigState(sources, clock(), hz, quality, plan, files, live)
            for rig in rigs or (config.rig,)
        }
        self.others = RigState({}, clock(), hz)
        self.findings: deque[NumberedFinding] = deque(maxlen=MAX_FINDINGS)

    def update(self, packets: list[Packet]) -> None:
        """Show what the packets hold."""
        now, wall = self.clock(), self.wall()
        with self._lock:
            self.version += 1
            for packet in packets:
                panel = self.panels.get(packet.rig, self.others)
                panel.count(packet, now)
                if panel is self.others:
                    continue
                late = None
                if self._live and packet.fused is not None:
                    late = np.fmax(wall - packet.fused.released, 0.0)
                panel.show(packet, now, late, self.version)
                for record in packet.evidence:
                    panel.history.found(record)
                    number = self.findings[-1].number + 1 if self.findings else 0
                    line = _encoder.encode(record) + b"\n"
                    self.findings.append(NumberedFinding(number, record.ts, line))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let nothing be told while the panels, brought up to date, are read."""
        with self._lock:
            for panel in self.panels.values():
                panel.settle()
            yield

    def stale(self) -> str:
        """Return why there is nothing fresh to be seen; nothing when there is."""
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
        """Return the rigs in which nothing is compared, and why, a line each."""
        with self._lock:
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
            The most.
        """
        with self._lock:
            findings = list(self.findings)
        fitting = [f for f in findings if f.number > after and f.ts >= since]
        return fitting[:limit], len(fitting) > limit


def _sources(config: Config) -> dict[str, bool]:
    """Return who may speak: the live streams, and whom a recording's channels name.

    Expected to speak all the time is who is scraped, or has a channel that speaks at a rate.
    """
    plan = config.plan()
    names = [s.name for s in config.streams if not isinstance(s, FileStream)]
    if len(names) < len(config.streams):
        names += [config.stream_of(lane.source) for lane in plan.lanes]
    steady = {s.name for s in config.streams if isinstance(s, UreStream)}
    steady |= {
        config.stream_of(lane.source) for lane in plan.lanes if not plan.is_held(lane.channel)
    }
    return {name: name in steady for name in names}
