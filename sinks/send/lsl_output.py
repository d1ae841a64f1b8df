"""LSL out: the results of each rig as a stream of the Lab Streaming Layer.

Channels are value and standard deviation of each signal, and the mode as a number (its place in
`operators.types.MODES`); NaN where there is none. A stream has the rate of the grid. Its stamps are
the times of the ticks on LSL's clock: in a live run by reading both clocks at each packet, in a
replay from the first tick on.

A thread makes the streams and pushes. LSL keeps 360 s for each receiver and discards older samples.
Losses: packets that 64 others wait before, and ticks of rigs beyond 64; counted, with a line.
"""

from __future__ import annotations

import math
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from pylsl import StreamInfo, StreamOutlet, local_clock

from configs.connectors.lsl import SOFTWARE, LslDestination
from configs.inert import inert
from operators.records import Fused, Packet
from operators.settings.plan import Plan
from operators.types import F64, MODES
from sinks.send.packet_sender import PacketSender

if TYPE_CHECKING:
    from pylsl.info import XMLElement

MAX_RIGS = 64
"""Each stream is a server with threads of its own."""
_MAX_WAITING = 64
_BRACKETS = 4
_STOP_S = 1.0
_LINGER_S = 0.2


class TickAxis:
    """The times of ticks on LSL's clock.

    Parameters
    ----------
    host : callable, optional
        Host time (s) of a live run; a replay has none.
    speed : float
        Of a replay.
    clock : callable
        LSL's clock (s).
    """

    def __init__(
        self,
        host: Callable[[], float] | None,
        speed: float = 1.0,
        clock: Callable[[], float] = local_clock,
    ) -> None:
        self._host, self._speed, self._clock = host, speed, clock
        self._origin: tuple[float, float] | None = None

    def stamps(self, ts: F64) -> F64:
        """Return the times on LSL's clock of ticks (s)."""
        if self._host is not None:
            return ts - self._ahead(self._host)
        if self._origin is None:
            self._origin = float(ts[-1]), self._clock()
        first, began = self._origin
        return began + (ts - first) / self._speed

    def _ahead(self, host: Callable[[], float]) -> float:
        """Return host time - LSL's clock, by the shortest of a few readings."""
        best, ahead = math.inf, 0.0
        for _ in range(_BRACKETS):
            before = self._clock()
            now = host()
            width = self._clock() - before
            if width < best:
                best, ahead = width, now - before - width / 2
        return ahead


class LslSender(PacketSender):
    """The streams of one destination.

    Parameters
    ----------
    config : LslDestination
    plan : Plan
    axis : TickAxis
    """

    def __init__(self, config: LslDestination, plan: Plan, axis: TickAxis) -> None:
        super().__init__(config.name)
        self._config, self._plan, self._axis = config, plan, axis
        self._outlets: dict[str, StreamOutlet | None] = {}
        self._waiting: queue.Queue[tuple[str, Fused]] = queue.Queue(_MAX_WAITING)
        self._dropped = self._refused = 0
        self._full = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"send {self.name}", daemon=True)

    @property
    def missed(self) -> int:
        """Packets of which nothing was sent."""
        return self._dropped + self._refused

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def take(self, packet: Packet) -> None:
        """Store the ticks of a packet."""
        if packet.fused is None or not len(packet.fused):
            return
        try:
            self._waiting.put_nowait((packet.rig, packet.fused))
        except queue.Full:
            self._dropped += 1

    def stop(self) -> None:
        """Push what waits, and close the streams, within a second; may be called twice."""
        if self._stopped.is_set() or not self._thread.is_alive():
            return
        self._stopped.set()
        self._thread.join(_STOP_S)
        if lost := self.missed + self._waiting.qsize():
            sys.stderr.write(f"lumen: {self.name}: {lost} packets were not sent\n")

    def _run(self) -> None:
        """Push until the run ends, then what waits."""
        while not (self._stopped.is_set() and self._waiting.empty()):
            try:
                rig, fused = self._waiting.get(timeout=0.05)
            except queue.Empty:
                continue
            outlet = self._outlet(rig, fused)
            if outlet is None:
                self._refused += 1
            else:
                outlet.push_chunk(samples(fused), self._axis.stamps(fused.ts).tolist())
        if any(outlet is not None and outlet.have_consumers() for outlet in self._outlets.values()):
            time.sleep(_LINGER_S)  # LSL discards what its threads have not sent yet
        self._outlets.clear()

    def _outlet(self, rig: str, fused: Fused) -> StreamOutlet | None:
        """Return the stream of a rig; None where it cannot be made."""
        if rig not in self._outlets:
            if len(self._outlets) >= MAX_RIGS:
                if not self._full:
                    self._report(f"does not send {inert(rig)}: {MAX_RIGS} rigs are sent")
                self._full = True
                return None
            name, (made, why) = self._config.stream_name(rig), self._made(rig, fused)
            self._report(f"sends {name}" if made else f"does not send {name}: {why}")
            self._outlets[rig] = made
        return self._outlets[rig]

    def _report(self, text: str) -> None:
        # One write, so that lines of other threads do not cut it.
        sys.stderr.write(f"lumen: {self.name} {text}\n")

    def _made(self, rig: str, fused: Fused) -> tuple[StreamOutlet | None, str]:
        """Return a new stream, and the reason where there is none."""
        config, count = self._config, 2 * len(fused.signals) + 1
        try:
            info = StreamInfo(
                config.stream_name(rig),
                config.stream_type,
                count,
                self._plan.tick_hz,
                "double64",
                config.source_id(rig),
            )
            self._describe(info, fused)
            return StreamOutlet(info), ""
        except (RuntimeError, ValueError) as error:
            return None, str(error)

    def _describe(self, info: StreamInfo, fused: Fused) -> None:
        """Add the channels, their units, and the names of the modes."""
        desc = info.desc()
        desc.append_child_value("manufacturer", SOFTWARE)
        channels = desc.append_child("channels")
        for signal in fused.signals:
            unit = self._plan.unit(signal.name) or ""
            _channel(channels, signal.name, unit, "value")
            _channel(channels, f"{signal.name}_sd", unit, "standard deviation")
        _channel(channels, "mode", "", "mode")
        modes = desc.append_child("modes")
        for number, mode in enumerate(MODES):
            modes.append_child_value(mode, str(number))


def samples(fused: Fused) -> F64:
    """Return the samples (k, channels) of ticks."""
    columns = [column for signal in fused.signals for column in (signal.value, signal.sd)]
    return np.column_stack([*columns, fused.mode.astype(np.float64)])


def _channel(channels: XMLElement, label: str, unit: str, kind: str) -> None:
    channel = channels.append_child("channel")
    for name, text in (("label", label), ("unit", unit), ("type", kind)):
        channel.append_child_value(name, text)
