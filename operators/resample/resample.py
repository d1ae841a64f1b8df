"""resample: every member and fact on the output grid, lag removed, anti-aliased, streaming.

A member is read at tick + lag (operators/resample/sampler.py), with the lag in force at the tick.
Its presence (operators/presence.py) does not depend on its lag. Its value is due at

    tick + half-width + wait + max(lag, 0) + packet length (operators/drift/packet_rate.py),

without the packet length in low latency. A tick is released once the watermark reaches this time
for all present members, and never before an earlier tick. Ticks are whole multiples of
1 / target_hz since the Unix epoch, from the first event on.

State: each channel's samples of the last kernel and largest lag. Cost: about 20 kernel values
a sample. Losses: none; at the ends of the data at most a half-width of ticks has no value.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from msgspec.structs import replace

from operators.presence import LIVE, StreamUptime
from operators.records import Block, Grid, Packet
from operators.resample.channel_status import status_at, status_of, write_lag
from operators.resample.lane import Lane, lane_of
from operators.resample.open_ticks import FIELDS, ChannelStatus, OpenTicks, Readings
from operators.settings.config_part import ConfigPart, Profile, Wait
from operators.settings.plan import Plan
from operators.types import F64, State


class ResampleConfig(ConfigPart, frozen=True, kw_only=True):
    """The output grid and the kernel: 20 ticks long, or 3 for `low_latency`."""

    method: Annotated[
        Literal["polyphase"],
        Meta(
            description="Polyphase windowed sinc kernel.",
            examples=["polyphase"],
        ),
    ] = "polyphase"
    target_hz: Annotated[
        float, Meta(ge=0.01, le=1000, description="Ticks per second.", examples=[100.0])
    ] = 5.0
    profile: Annotated[
        Profile,
        Meta(
            description="`accurate`: a kernel of 20 ticks. `low_latency`: 3 ticks, and no wait.",
            examples=["low_latency"],
        ),
    ] = "accurate"
    wait_s: Annotated[
        Literal["auto"] | Wait,
        Meta(
            description="Wait for late rows beyond the kernel; `auto`: 0.1 s, or 0.005 s for"
            " `low_latency`.",
            examples=[0.05],
        ),
    ] = "auto"

    def half_width_s(self) -> float:
        """Return half of the kernel's support (s)."""
        return (10.0 if self.profile == "accurate" else 1.5) / self.target_hz

    def waits(self) -> float:
        """Return the waiting time for late rows beyond the kernel (s)."""
        if self.wait_s != "auto":
            return self.wait_s
        return 0.1 if self.profile == "accurate" else 0.005


MAX_REJECTED = 4096
MAX_FEW_TICKS = 6
"""Ticks up to which plain numbers are faster than arrays."""
FORGET_S = 1.0
"""Time of ticks from one removal of old rows to the next (s)."""
_LIVE = int(LIVE)


class Resample:
    """The station: channels on the grid, tick by tick as they are released."""

    def __init__(self, plan: Plan, max_lag_s: float) -> None:
        self.plan, self.max_lag_s = plan, max_lag_s
        self._delay_s = plan.base_delay_s
        self._lanes = [lane_of(plan, m) for m in plan.lanes]
        self._of: dict[str, list[Lane]] = {}
        for lane in self._lanes:
            self._of.setdefault(lane.member.channel, []).append(lane)
        self._next: int | None = None
        self._origin = 0
        self._due = -np.inf
        self._newest_due = -np.inf
        self._open = OpenTicks(len(self._lanes))
        self._forget_from = 0.0
        self._uptime = StreamUptime()

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan, max_lag_s: float) -> Resample:
        """Return the station of a snapshot."""
        station = cls(plan, max_lag_s)
        station._next, station._origin, station._due = state["next"], state["origin"], state["due"]
        station._newest_due = station._due
        station._uptime = StreamUptime.from_snapshot(state["uptime"])
        station._lanes = [
            Lane.from_snapshot(lane, plan, member)
            for member, lane in zip(plan.lanes, state["lanes"], strict=True)
        ]
        station._of = {c: [] for c in station._of}
        for lane in station._lanes:
            station._of[lane.member.channel].append(lane)
        if station._next is not None:
            station._append(station._next, state["status"])
            for k, saved in enumerate(state["lanes"]):
                values = saved["values"]
                station._open.readings[:, k, : values.shape[1]] = values
        return station

    def snapshot(self) -> State:
        """Return the state as plain values."""
        readings = self._open.readings
        return {
            "next": self._next,
            "origin": self._origin,
            "due": self._due,
            "status": self._open.status.copy(),
            "uptime": self._uptime.snapshot(),
            "lanes": [
                {**lane.snapshot(), "values": readings[:, k, : lane.read].copy()}
                for k, lane in enumerate(self._lanes)
            ],
        }

    def update(self, packet: Packet) -> Packet:
        """Return the packet with the ticks that it releases in place of its blocks."""
        self._uptime.turn(packet.turned)
        if self._next is None and not np.isnan(packet.first_host):
            self._next = self._origin = int(np.ceil(packet.first_host * self.plan.tick_hz - 1e-9))
        self._take(packet)
        aligned = []
        if self.plan.aligned:
            for lane in self._lanes:
                if lane.pending:
                    aligned += self._aligned(lane, lane.pending, packet)
        grid = None
        if self._next is not None:
            grid = self._release(self._next, packet)
        return replace(packet, blocks=(), outliers=(), grid=grid, aligned=tuple(aligned))

    def _take(self, packet: Packet) -> None:
        """Distribute rows and reports to the channels."""
        for lag in packet.lags:
            for lane in self._of.get(lag.channel, ()):
                if lane.member.signal == lag.signal:
                    lane.lags.append(lag)
        for pace in packet.paces:
            for lane in self._of.get(pace.channel, ()):
                lane.note_pace(pace)
        for block in packet.blocks:
            for lane in self._of.get(block.channel, ()):
                lane.take(block, self._origin)
                if self.plan.aligned:
                    lane.pending = Block.join((lane.pending, block)) if lane.pending else block
        for outliers in packet.outliers:
            for lane in self._of.get(outliers.channel, ()):
                lane.note_rejected(outliers, self._origin)

    def _release(self, first: int, packet: Packet) -> Grid | None:
        """Read every channel as far as possible; return the ticks that are due."""
        ticks, start = self._open, first + len(self._open)
        stop = self._known_until(start, packet)
        if stop - start > MAX_FEW_TICKS:
            self._append(start, self._status(start, stop, packet))
        else:
            for tick in range(start, stop):
                self._append_one(tick, packet)
        if stop > start:
            self._uptime.forget((stop - 1) / self.plan.tick_hz)
        if not len(ticks):
            return None
        for k in range(len(self._lanes)):
            self._extend(k, first, packet)
        k = len(ticks)
        if not packet.end:
            k = int(ticks.due.searchsorted(packet.watermark, "right"))
        return self._grid(first, k, packet) if k else None

    def _grid(self, first: int, k: int, packet: Packet) -> Grid:
        """Return the first k open ticks, and drop them."""
        due = self._open.due[:k].copy()
        self._due = float(due[-1])
        stamps = np.concatenate((packet.arrivals, (packet.watermark,)))
        when = packet.arrivals.searchsorted(due, "left")
        released = ChannelStatus(*self._open.status[:, :, :k].copy().transpose(0, 2, 1))
        # A lag beyond the waiting limit leaves its ticks without a value.
        readings = Readings(*self._open.readings[:, :, :k].copy().transpose(0, 2, 1))
        self._open.drop(k)
        self._next = first + k
        for lane in self._lanes:
            lane.read = max(lane.read - k, 0)
        if self._next >= self._forget_from:
            self._forget_from = self._next + FORGET_S * self.plan.tick_hz
            for lane in self._lanes:
                self._forget(lane, self._next, packet.watermark)
        unknown = np.full((k, len(self._lanes)), np.nan)
        return Grid(
            first=first,
            due=_due(due, packet),
            released=stamps[when],
            state=released.state.astype(np.int8),
            ramp=released.ramp,
            lag_s=released.lag_s,
            lag_var=released.lag_var,
            confidence=released.confidence,
            rate_hz=released.rate_hz,
            gaps=released.gaps,
            value=readings.value,
            coverage=readings.coverage,
            noise_var=readings.noise_var,
            gain=unknown,
            gain_var=unknown,
            level=unknown,
            level_var=unknown,
            scale_state=np.zeros(released.state.shape, np.int8),
            lag_rate=released.lag_rate,
            lag_rate_var=released.lag_rate_var,
            search_hz=released.search_hz,
        )

    def _known_until(self, first: int, packet: Packet) -> int:
        """Return the tick, `first` or a later one, before which presence is known."""
        hz, delay = self.plan.tick_hz, self._delay_s
        newest = packet.newest_host if packet.end else -np.inf
        until = max(newest, packet.watermark - delay)
        tick = max(first, int(np.floor(until * hz)) + 2)
        while (
            tick > first and (tick - 1) / hz + delay > packet.watermark and (tick - 1) / hz > newest
        ):
            tick -= 1
        return tick

    def _status(self, start: int, stop: int, packet: Packet) -> F64:
        """Return the columns of `ChannelStatus` of each channel at each tick, (fields, c, k)."""
        plan, tick = self.plan, np.arange(start, stop)
        since = (tick - self._origin) / plan.tick_hz
        due = _due(tick / plan.tick_hz + self._delay_s, packet)
        out = np.empty((FIELDS, len(self._lanes), len(tick)))
        for k, lane in enumerate(self._lanes):
            status = ChannelStatus(*out[:, k])
            status_of(lane, plan, self._uptime, self.max_lag_s, tick, since, due, status)
        return out

    def _append(self, start: int, columns: F64) -> None:
        """Append ticks of known status; a channel waits for its lag and its packets.

        wait = min(max(lag, 0), longest lag waited for) + length of packets
        """
        status = ChannelStatus(*columns)
        at = (start + np.arange(columns.shape[2])) / self.plan.tick_hz + self._delay_s
        wait = np.minimum(np.maximum(status.lag_s, 0.0), self.plan.wait_lag_s)
        wait = np.where(status.state == LIVE, wait + status.length_s, 0.0)
        waits = np.zeros(len(at))
        for own, lane in zip(wait, self._lanes, strict=True):
            if lane.member.signal:
                np.maximum(waits, own, out=waits)
        due = np.maximum.accumulate(np.maximum(at + waits, self._newest_due))
        if len(due):
            self._newest_due = float(due[-1])
        self._open.append(columns, at + wait, due)

    def _append_one(self, tick: int, packet: Packet) -> None:
        """Append one tick, in the plain numbers of `_status` and `_append`."""
        plan = self.plan
        at, since = tick / plan.tick_hz + self._delay_s, (tick - self._origin) / plan.tick_hz
        due = np.inf if packet.end and at > packet.watermark else at
        columns, waits = [], 0.0
        for lane in self._lanes:
            x = status_at(lane, plan, self._uptime, self.max_lag_s, tick, since, due)
            wait = 0.0
            if x[0] == _LIVE:
                wait = min(max(x[2], 0.0), plan.wait_lag_s) + x[-1]
                if lane.member.signal:
                    waits = max(waits, wait)
            columns.append((x, at + wait))
        self._newest_due = max(at + waits, self._newest_due)
        self._open.append_one(columns, self._newest_due)

    def _extend(self, k: int, first: int, packet: Packet) -> None:
        """Read a channel where it is live, at the open ticks that are due with its own lag."""
        lane, had = self._lanes[k], self._lanes[k].read
        own = self._open.own_due[k, had:]
        n = len(own)
        # A channel without a value has no lag to wait for: due times may decrease.
        if n and not packet.end:
            if own[0] > packet.watermark:
                return
            late = own > packet.watermark
            n = int(late.argmax()) if late.any() else n
        if not n:
            return
        lane.read = had + n
        status = ChannelStatus(*self._open.status[:, k, had : had + n])
        readings = self._open.readings[:, k, had : had + n]
        live, due = status.state == LIVE, _due(own[:n], packet)
        if n == 1:
            if live[0]:
                lag = float(status.lag_s[0])
                readings[:, 0] = lane.sampler.read_at(first + had, lag, float(due[0]))
            return
        # Each step of the lag begins a new run of evenly spaced readings.
        shift = np.where(live, status.lag_s, 0.0)
        turn = np.flatnonzero((shift[1:] != shift[:-1]) | (live[1:] != live[:-1])) + 1
        tick = first + had + np.arange(n)
        for a, b in pairwise([0, *turn.tolist(), n]):
            if live[a]:
                readings[:, a:b] = lane.sampler.read(tick[a:b], float(shift[a]), due[a:b])

    def _forget(self, lane: Lane, tick: int, known: float) -> None:
        """Drop the data of a channel that no tick from `tick` on needs."""
        plan = self.plan
        reach = self.max_lag_s if lane.member.lag_s is None else abs(lane.member.lag_s)
        lane.sampler.drop_before(tick - (plan.half_width_s + reach) * plan.tick_hz)
        needed = min(tick / plan.tick_hz, known)
        old = max(bisect_left(lane.pace_from, needed) - 1, 0)
        del lane.pace_from[:old], lane.paces[:old]
        past = int(np.searchsorted(lane.rejected[0], (tick - self._origin) / plan.tick_hz)) - 1
        if past > 0:
            kept = max(past, lane.rejected.shape[1] - MAX_REJECTED)
            lane.rejected = lane.rejected[:, kept:].copy()
        # The next row may be as old as the limit for late rows.
        oldest = (tick - 1) / plan.tick_hz - plan.late_s
        while len(lane.lags) > 1 and lane.lags[1].known <= oldest:
            lane.lags.pop(0)

    def _aligned(
        self, lane: Lane, block: Block, packet: Packet
    ) -> list[tuple[str, F64, F64, F64, F64]]:
        """Return the pending rows whose lag in force is known, as aligned columns."""
        go = (block.host_time + self._delay_s <= packet.watermark) | packet.end
        lane.pending = None if go.all() else block.take(~go)
        block = block.take(go)
        if not len(block):
            return []
        block = block.take(np.lexsort((block.host_time, block.watermark)))
        lag = np.empty(len(block))
        order = np.argsort(block.host_time, kind="stable")
        in_force = ChannelStatus(*np.empty((FIELDS, len(block))))
        locked = write_lag(lane, block.host_time[order], self.max_lag_s, in_force)
        lag[order] = np.where(locked, in_force.lag_s, 0.0)
        host = block.host_time - lag
        return [(lane.member.channel, host, block.source_time, block.arrival, block.value)]


def _due(due: F64, packet: Packet) -> F64:
    """Return the due times of ticks; at the end of the data inf beyond the watermark."""
    return np.where(due <= packet.watermark, due, np.inf) if packet.end else due
