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

from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from msgspec.structs import replace

from operators.config_part import ConfigPart, Profile, Wait
from operators.plan import Plan
from operators.presence import LIVE, StreamUptime
from operators.records import Block, Grid, Packet
from operators.resample.lane import NOT_READ, ChannelStatus, Lane, Readings, lane_of
from operators.types import F64, I64, Bool, State


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
LAG_STEP_S = 1e-4
"""Step of an applied moving lag (s): ticks within one step are read together."""


class Resample:
    """The station: channels on the grid, tick by tick as they are released."""

    def __init__(self, plan: Plan, max_lag_s: float) -> None:
        self.plan, self.max_lag_s = plan, max_lag_s
        self._lanes = [lane_of(plan, m) for m in plan.lanes]
        self._next: int | None = None
        self._origin = 0
        self._due = -np.inf
        self._status: F64 = np.empty((len(ChannelStatus._fields), len(self._lanes), 0))
        self._uptime = StreamUptime()

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan, max_lag_s: float) -> Resample:
        """Return the station of a snapshot."""
        station = cls(plan, max_lag_s)
        station._next, station._origin, station._due = state["next"], state["origin"], state["due"]
        station._status = state["status"]
        station._uptime = StreamUptime.from_snapshot(state["uptime"])
        station._lanes = [
            Lane.from_snapshot(lane, plan, member)
            for member, lane in zip(plan.lanes, state["lanes"], strict=True)
        ]
        return station

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "next": self._next,
            "origin": self._origin,
            "due": self._due,
            "status": self._status,
            "uptime": self._uptime.snapshot(),
            "lanes": [lane.snapshot() for lane in self._lanes],
        }

    def update(self, packet: Packet) -> Packet:
        """Return the packet with the ticks that it releases in place of its blocks."""
        by_channel = {b.channel: b for b in packet.blocks}
        self._uptime.turn(packet.turned)
        if self._next is None and not np.isnan(packet.first_host):
            self._next = self._origin = int(np.ceil(packet.first_host * self.plan.tick_hz - 1e-9))
        aligned = []
        for lane in self._lanes:
            m = lane.member
            lane.lags += [r for r in packet.lags if (r.signal, r.channel) == (m.signal, m.channel)]
            if news := [r[1:] for r in packet.paces if r.channel == m.channel]:
                lane.paces = np.concatenate((lane.paces, np.array(news).T), axis=1)
                np.maximum.accumulate(lane.paces[0], out=lane.paces[0])
            block = by_channel.get(m.channel)
            if block is not None:
                lane.take(block, self._origin)
                if self.plan.aligned:
                    lane.pending = Block.join((lane.pending, block)) if lane.pending else block
            for outliers in packet.outliers:
                if outliers.channel == m.channel:
                    lane.note_rejected(outliers, self._origin)
            if lane.pending:
                aligned += self._aligned(lane, lane.pending, packet)
        grid = None
        if self._next is not None:
            grid = self._release(self._next, packet)
        return replace(packet, blocks=(), outliers=(), grid=grid, aligned=tuple(aligned))

    def _release(self, first: int, packet: Packet) -> Grid | None:
        """Read every channel as far as possible; return the ticks that are due."""
        plan = self.plan
        had = self._status.shape[2]
        ticks = self._ticks(first + had, packet)
        if len(ticks):
            self._status = np.concatenate((self._status, self._presence(ticks, packet)), axis=2)
        tick = first + np.arange(self._status.shape[2])
        if not len(tick):
            return None
        status = ChannelStatus(*self._status)
        at = tick / plan.tick_hz + plan.base_delay_s
        waits = np.zeros(len(tick))
        for k, lane in enumerate(self._lanes):
            live, lag = status.state[k] == LIVE, status.lag_s[k]
            # wait = min(max(lag, 0), longest lag waited for) + length of packets
            wait = np.minimum(np.maximum(lag, 0.0), plan.wait_lag_s)
            wait = np.where(live, wait + status.length_s[k], 0.0)
            self._extend(lane, tick, live, lag, at + wait, packet)
            if lane.member.signal:
                np.maximum(waits, wait, out=waits)
        due = np.maximum.accumulate(np.maximum(at + waits, self._due))
        k = len(tick) if packet.end else int(np.searchsorted(due, packet.watermark, "right"))
        if not k:
            return None
        due = due[:k]
        self._due = float(due[-1])
        when = np.searchsorted(packet.arrivals, due, "left")
        stamps = np.append(packet.arrivals, packet.watermark)
        due = _due(due, packet)
        values = np.empty((len(Readings._fields), len(self._lanes), k))
        for i, lane in enumerate(self._lanes):
            # A lag beyond the waiting limit leaves its ticks without a value.
            n = min(k, lane.values.shape[1])
            values[:, i, :n], values[:, i, n:] = lane.values[:, :n], NOT_READ
            lane.values = lane.values[:, k:].copy()
            self._forget(lane, first + k, packet.watermark)
        released = ChannelStatus(*self._status[:, :, :k].transpose(0, 2, 1))
        readings = Readings(*values.transpose(0, 2, 1))
        self._status = self._status[:, :, k:].copy()
        self._next = first + k
        unknown = np.full((k, len(self._lanes)), np.nan)
        return Grid(
            first=first,
            due=due,
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

    def _ticks(self, first: int, packet: Packet) -> I64:
        """Return the ticks from `first` on whose presence is known."""
        hz, delay = self.plan.tick_hz, self.plan.base_delay_s
        newest = packet.newest_host if packet.end else -np.inf
        until = max(newest, packet.watermark - delay)
        tick = np.arange(first, max(first, int(np.floor(until * hz)) + 2))
        return tick[(tick / hz + delay <= packet.watermark) | (tick / hz <= newest)]

    def _presence(self, tick: I64, packet: Packet) -> F64:
        """Return the columns of `ChannelStatus` of each channel at each tick, (fields, c, k)."""
        plan = self.plan
        at = tick / plan.tick_hz
        since = (tick - self._origin) / plan.tick_hz
        due = _due(at + plan.base_delay_s, packet)
        out = np.empty((len(ChannelStatus._fields), len(self._lanes), len(tick)))
        for k, lane in enumerate(self._lanes):
            m, sampler, frozen = lane.member, lane.sampler, None
            age, spacing = np.full(len(at), np.inf), np.full(len(at), np.nan)
            if len(sampler):
                i = sampler.newest(since, due)
                age, spacing = since - sampler.time[i], sampler.spacing[i]
                if i[0] < 0:
                    age[i < 0], spacing[i < 0] = np.inf, np.nan
                if lane.frozen_s:
                    frozen = (i >= 0) & (since - sampler.changed[i] > lane.frozen_s)
            rate, quiet, length = lane.pace(at)
            stale_after = self._stale_after(lane, quiet)
            if (age > stale_after).any() or np.isinf(age[0]):
                age = lane.age_of_any(age, since, due)
            if frozen is not None:
                stale_after = np.where(frozen, np.minimum(stale_after, age / 2), stale_after)
            down = self._uptime.down(m.source, at) if lane.held else None
            if down is not None:  # a value is held only while its stream is up
                stale_after = np.where(down, np.minimum(stale_after, age / 2), stale_after)
            status = ChannelStatus(*out[:, k])
            locked = self._write_lag(lane, at, status)
            status.state[:], status.ramp[:], status.gaps[:] = lane.presence.step(
                int(tick[0]), plan.tick_hz, age, stale_after, locked, plan.failover.rejoin_after_s
            )
            status.rate_hz[:] = np.where(np.isnan(rate), 1.0 / spacing, rate)
            status.length_s[:] = 0.0 if plan.eager else np.nan_to_num(length)
        if len(tick):
            self._uptime.forget(float(at[-1]))
        return out

    def _stale_after(self, lane: Lane, quiet: F64) -> F64 | float:
        """Return the age at which the channel is stale (s), one a tick or one for all."""
        if lane.stale_s is not None:
            return lane.stale_s
        return np.where(np.isnan(quiet), np.inf, np.maximum(quiet, 1 / self.plan.tick_hz))

    def _write_lag(self, lane: Lane, at: F64, out: ChannelStatus) -> Bool:
        """Write the lag in force at each time into `out`; return whether it may be used.

        At host time h, dt = h - at:  lag = lag_s + rate dt, in steps of LAG_STEP_S,
        var(lag) = var + doubt + dt (2 cross_var + dt rate_var) + growth |dt|.
        """
        for column in out[2:8]:
            column[:] = np.nan
        if lane.member.lag_s is not None:
            sd = lane.member.lag_sd_s
            out.lag_s[:], out.confidence[:] = lane.member.lag_s, 1.0
            out.lag_var[:] = np.nan if sd is None else sd**2
            if sd is None:
                # All others are measured against the reference: it is exact by definition.
                for r in lane.lags:
                    out.lag_var[int(np.searchsorted(at, r.known)) :] = r.var
            return np.ones(len(at), bool)
        locked = np.zeros(len(at), bool)
        in_force = max((n for n, r in enumerate(lane.lags) if r.known <= at[0]), default=0)
        for r in lane.lags[in_force:]:
            i = int(np.searchsorted(at, r.known))
            out.lag_s[i:], out.lag_var[i:], locked[i:] = r.lag_s, r.var + r.doubt, r.locked
            out.lag_rate[i:] = r.rate if r.rate_var else np.nan
            out.lag_rate_var[i:] = r.rate_var or np.nan
            out.search_hz[i:], out.confidence[i:] = r.search_hz, r.confidence
            if r.rate or r.rate_var or r.growth:
                dt = at[i:] - r.at
                steps = np.rint(dt * (r.rate / LAG_STEP_S))
                lag = r.lag_s + steps * LAG_STEP_S
                out.lag_s[i:] = np.clip(lag, -self.max_lag_s, self.max_lag_s)
                out.lag_var[i:] += dt * (2 * r.cross_var + dt * r.rate_var) + r.growth * np.abs(dt)
        return locked

    def _extend(
        self, lane: Lane, tick: I64, live: Bool, lag: F64, due: F64, packet: Packet
    ) -> None:
        """Read the channel where it is live, at the ticks that are due with its own lag."""
        had = lane.values.shape[1]
        tick, live, due = tick[had:], live[had:], _due(due[had:], packet)
        shift = np.where(live, lag[had:], 0.0)
        n = len(tick)
        # A channel without a value has no lag to wait for: due times may decrease.
        if not packet.end and (due > packet.watermark).any():
            n = int(np.argmax(due > packet.watermark))
        new = np.empty((len(Readings._fields), n))
        new[:] = NOT_READ
        # Each step of the lag begins a new run of evenly spaced readings.
        shift, live = shift[:n], live[:n]
        turn = np.flatnonzero((shift[1:] != shift[:-1]) | (live[1:] != live[:-1])) + 1
        for a, b in pairwise([0, *turn.tolist(), n]):
            if b > a and live[a]:
                new[:, a:b] = lane.sampler.read(tick[a:b], float(shift[a]), due[a:b])
        lane.values = np.concatenate((lane.values, new), axis=1)

    def _forget(self, lane: Lane, tick: int, known: float) -> None:
        """Drop the data of a channel that no tick from `tick` on needs."""
        plan = self.plan
        reach = self.max_lag_s if lane.member.lag_s is None else abs(lane.member.lag_s)
        lane.sampler.drop_before(tick - (plan.half_width_s + reach) * plan.tick_hz)
        needed = min(tick / plan.tick_hz, known)
        old = int(np.searchsorted(lane.paces[0], needed)) - 1
        if old > 0:
            lane.paces = lane.paces[:, old:].copy()
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
        go = (block.host_time + self.plan.base_delay_s <= packet.watermark) | packet.end
        lane.pending = None if go.all() else block.take(~go)
        block = block.take(go)
        if not len(block):
            return []
        block = block.take(np.lexsort((block.host_time, block.watermark)))
        lag = np.empty(len(block))
        order = np.argsort(block.host_time, kind="stable")
        in_force = ChannelStatus(*np.empty((len(ChannelStatus._fields), len(block))))
        locked = self._write_lag(lane, block.host_time[order], in_force)
        lag[order] = np.where(locked, in_force.lag_s, 0.0)
        host = block.host_time - lag
        return [(lane.member.channel, host, block.source_time, block.arrival, block.value)]


def _due(due: F64, packet: Packet) -> F64:
    """Return the due times of ticks; at the end of the data inf beyond the watermark."""
    return np.where(due <= packet.watermark, due, np.inf) if packet.end else due
