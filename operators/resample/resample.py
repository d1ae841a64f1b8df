"""resample: every member and fact on the output grid, lag removed, anti-aliased, streaming.

A member is read at tick + lag (operators/resample/sampler.py), by the lag estimate in force at the tick.
Whether it is there (operators/presence.py) is known without its lag; its value, once the newest
arrival is tick + half-width + wait + its positive lag, and, but for low latency, the length of its
packets (operators/drift/packet_rate.py). A tick is released when that holds for all members present, never
before an earlier one. Ticks are whole multiples of 1 / target_hz since the Unix epoch, from the
first event on.

State: each channel's samples of the last kernel and largest lag. Cost: about 20 kernel values
a sample. Losses: none; at the ends of the data at most a half-width of ticks has no value.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from msgspec.structs import replace

from operators.plan import ConfigPart, Plan, Profile, Wait
from operators.presence import LIVE, Presence, StreamUptime
from operators.records import Block, Grid, LagReport, Packet
from operators.resample.lane import READ, Lane, lane_of
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
        """Return what is waited beyond the kernel for late rows (s)."""
        if self.wait_s != "auto":
            return self.wait_s
        return 0.1 if self.profile == "accurate" else 0.005


THERE = 11
"""Columns of what is known of a channel without its value."""
_NOTHING = np.array([[np.nan], [0.0], [np.nan]])
MAX_HEARD = 4096
LAG_STEP_S = 1e-4
"""A moving lag is applied in steps of this: ticks between two of them are read together."""


class Resample:
    """Channels on the grid, tick by tick as they are released."""

    def __init__(self, plan: Plan, max_lag_s: float, state: State | None = None) -> None:
        self.plan, self.max_lag_s = plan, max_lag_s
        self._lanes = [lane_of(plan, m) for m in plan.lanes]
        self._next: int | None = None
        self._origin = 0
        self._due = -np.inf
        self._there: F64 = np.empty((THERE, len(self._lanes), 0))
        self._links = StreamUptime()
        if state:
            self._next, self._origin, self._due = state["next"], state["origin"], state["due"]
            self._there = state["there"]
            self._links = StreamUptime(state["links"])
            for lane, saved in zip(self._lanes, state["lanes"], strict=True):
                lane.sampler.restore(saved["sampler"])
                lane.watch = Presence(**saved["watch"])
                lane.lags = [LagReport(*r) for r in saved["lags"]]
                lane.values = saved["values"]
                lane.heard = saved["heard"]
                lane.paces = saved["paces"]
                lane.unsaid = saved["unsaid"] and Block.revive(saved["unsaid"])

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "next": self._next,
            "origin": self._origin,
            "due": self._due,
            "there": self._there,
            "links": self._links.snapshot(),
            "lanes": [
                {
                    "sampler": x.sampler.snapshot(),
                    "watch": x.watch.snapshot(),
                    "lags": [list(r) for r in x.lags],
                    "values": x.values,
                    "heard": x.heard,
                    "paces": x.paces,
                    "unsaid": x.unsaid and x.unsaid.plain(),
                }
                for x in self._lanes
            ],
        }

    def update(self, packet: Packet) -> Packet:
        """Return the packet with the ticks that it releases in place of its blocks."""
        by_channel = {b.channel: b for b in packet.blocks}
        self._links.turn(packet.turned)
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
                    lane.unsaid = Block.join((lane.unsaid, block)) if lane.unsaid else block
            for lost in packet.outliers:
                if lost.channel == m.channel:
                    lane.hear(lost, self._origin)
            if lane.unsaid:
                aligned += self._aligned(lane, lane.unsaid, packet)
        grid = None
        if self._next is not None:
            grid = self._release(self._next, packet)
        return replace(packet, blocks=(), outliers=(), grid=grid, aligned=tuple(aligned))

    def _release(self, first: int, packet: Packet) -> Grid | None:
        """Read every channel as far as it goes, and hand on the ticks that are due."""
        plan = self.plan
        had = self._there.shape[2]
        ticks = self._ticks(first + had, packet)
        if len(ticks):
            self._there = np.concatenate((self._there, self._presence(ticks, packet)), axis=2)
        tick = first + np.arange(self._there.shape[2])
        if not len(tick):
            return None
        state, lag = self._there[0], self._there[2]
        at = tick / plan.tick_hz + plan.base_delay_s
        waits = np.zeros(len(tick))
        for k, lane in enumerate(self._lanes):
            live = state[k] == LIVE
            wait = np.minimum(np.maximum(lag[k], 0.0), plan.wait_lag_s)
            wait = np.where(live, wait + self._there[10, k], 0.0)
            self._extend(lane, tick, live, lag[k], at + wait, packet)
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
        values = np.empty((READ, len(self._lanes), k))
        for i, lane in enumerate(self._lanes):
            # A lag that is not waited for leaves its ticks empty.
            n = min(k, lane.values.shape[1])
            values[:, i, :n], values[:, i, n:] = lane.values[:, :n], _NOTHING
            lane.values = lane.values[:, k:].copy()
            self._forget(lane, first + k, packet.watermark)
        there = self._there[:, :, :k].transpose(0, 2, 1)
        state, ramp, lag, var, slope, slope_var, search, confidence, rate, gaps, _ = there
        value, coverage, noise = values.transpose(0, 2, 1)
        self._there = self._there[:, :, k:].copy()
        self._next = first + k
        unknown, given = np.full((k, len(self._lanes)), np.nan), np.zeros(state.shape, np.int8)
        return Grid(
            first, due, stamps[when], state.astype(np.int8), ramp, lag, var, confidence, rate, gaps,
            value, coverage, noise, unknown, unknown, unknown, unknown, given, slope, slope_var,
            search,
        )  # fmt: skip

    def _ticks(self, first: int, packet: Packet) -> I64:
        """Return the ticks from `first` on whose channels can be judged, lags apart."""
        hz, delay = self.plan.tick_hz, self.plan.base_delay_s
        newest = packet.newest_host if packet.end else -np.inf
        until = max(newest, packet.watermark - delay)
        tick = np.arange(first, max(first, int(np.floor(until * hz)) + 2))
        return tick[(tick / hz + delay <= packet.watermark) | (tick / hz <= newest)]

    def _presence(self, tick: I64, packet: Packet) -> F64:
        """Return what is known of each channel at each tick without its value, (11, c, k).

        State, ramp, lag, its variance, its rate and the variance of that, the rate of its search,
        confidence, rate, gaps and length of packets.
        """
        plan = self.plan
        at = tick / plan.tick_hz
        since = (tick - self._origin) / plan.tick_hz
        due = _due(at + plan.base_delay_s, packet)
        out = np.empty((THERE, len(self._lanes), len(tick)))
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
                age = lane.unless_heard(age, since, due)
            if frozen is not None:
                stale_after = np.where(frozen, np.minimum(stale_after, age / 2), stale_after)
            down = self._links.down(m.source, at) if lane.held else None
            if down is not None:  # a value is held as long as somebody holds it
                stale_after = np.where(down, np.minimum(stale_after, age / 2), stale_after)
            locked = self._lag(lane, at, out[2:8, k])
            out[0, k], out[1, k], out[9, k] = lane.watch.step(
                int(tick[0]), plan.tick_hz, age, stale_after, locked, plan.failover.rejoin_after_s
            )
            out[8, k] = np.where(np.isnan(rate), 1.0 / spacing, rate)
            out[10, k] = 0.0 if plan.eager else np.nan_to_num(length)
        if len(tick):
            self._links.forget(float(at[-1]))
        return out

    def _stale_after(self, lane: Lane, quiet: F64) -> F64 | float:
        """Return the age that makes the channel stale (s), at each tick or for all."""
        if lane.stale_s is not None:
            return lane.stale_s
        return np.where(np.isnan(quiet), np.inf, np.maximum(quiet, 1 / self.plan.tick_hz))

    def _lag(self, lane: Lane, at: F64, out: F64) -> Bool:
        """Write what is known of the lag at each time; return whether it may be used.

        Rows of `out` (6, n): lag, its variance, its rate, the variance of that, the rate of the
        search, confidence.
        """
        out[:] = np.nan
        if lane.member.lag_s is not None:
            sd = lane.member.lag_sd_s
            out[0], out[5] = lane.member.lag_s, 1.0
            out[1] = np.nan if sd is None else sd**2
            if sd is None:
                # Against the reference all others are measured: it is exact by definition.
                for r in lane.lags:
                    out[1, int(np.searchsorted(at, r.known)) :] = r.var
            return np.ones(len(at), bool)
        locked = np.zeros(len(at), bool)
        in_force = max((n for n, r in enumerate(lane.lags) if r.known <= at[0]), default=0)
        for r in lane.lags[in_force:]:
            i = int(np.searchsorted(at, r.known))
            out[0, i:], out[1, i:], locked[i:] = r.lag_s, r.var + r.doubt, r.locked
            out[2, i:], out[3, i:] = (r.rate, r.rate_var) if r.rate_var else (np.nan, np.nan)
            out[4, i:], out[5, i:] = r.search_hz, r.confidence
            if r.rate or r.rate_var or r.growth:
                dt = at[i:] - r.at
                steps = np.rint(dt * (r.rate / LAG_STEP_S))
                out[0, i:] = np.clip(r.lag_s + steps * LAG_STEP_S, -self.max_lag_s, self.max_lag_s)
                out[1, i:] += dt * (2 * r.cross_var + dt * r.rate_var) + r.growth * np.abs(dt)
        return locked

    def _extend(
        self, lane: Lane, tick: I64, live: Bool, lag: F64, due: F64, packet: Packet
    ) -> None:
        """Read the channel where it is live, at those ticks that its own lag allows by now."""
        had = lane.values.shape[1]
        tick, live, due = tick[had:], live[had:], _due(due[had:], packet)
        shift = np.where(live, lag[had:], 0.0)
        n = len(tick)
        # A channel that goes stale has no lag to wait for: dues may step back.
        if not packet.end and (due > packet.watermark).any():
            n = int(np.argmax(due > packet.watermark))
        new = np.empty((READ, n))
        new[:] = _NOTHING
        # A new step of the lag begins a new run of evenly spaced readings.
        shift, live = shift[:n], live[:n]
        turn = np.flatnonzero((shift[1:] != shift[:-1]) | (live[1:] != live[:-1])) + 1
        for a, b in pairwise([0, *turn.tolist(), n]):
            if b > a and live[a]:
                new[:, a:b] = lane.sampler.read(tick[a:b], float(shift[a]), due[a:b])
        lane.values = np.concatenate((lane.values, new), axis=1)

    def _forget(self, lane: Lane, tick: int, known: float) -> None:
        plan = self.plan
        reach = self.max_lag_s if lane.member.lag_s is None else abs(lane.member.lag_s)
        lane.sampler.drop_before(tick - (plan.half_width_s + reach) * plan.tick_hz)
        needed = min(tick / plan.tick_hz, known)
        old = int(np.searchsorted(lane.paces[0], needed)) - 1
        if old > 0:
            lane.paces = lane.paces[:, old:].copy()
        past = int(np.searchsorted(lane.heard[0], (tick - self._origin) / plan.tick_hz)) - 1
        if past > 0:
            lane.heard = lane.heard[:, max(past, lane.heard.shape[1] - MAX_HEARD) :].copy()
        # A row that comes next may be as old as can be without being late.
        oldest = (tick - 1) / plan.tick_hz - plan.late_s
        while len(lane.lags) > 1 and lane.lags[1].known <= oldest:
            lane.lags.pop(0)

    def _aligned(
        self, lane: Lane, block: Block, packet: Packet
    ) -> list[tuple[str, F64, F64, F64, F64]]:
        """Return the rows for which the lag in force is known by now."""
        go = (block.host_time + self.plan.base_delay_s <= packet.watermark) | packet.end
        lane.unsaid = None if go.all() else block.take(~go)
        block = block.take(go)
        if not len(block):
            return []
        block = block.take(np.lexsort((block.host_time, block.watermark)))
        lag = np.empty(len(block))
        order = np.argsort(block.host_time, kind="stable")
        in_force = np.empty((6, len(block)))
        locked = self._lag(lane, block.host_time[order], in_force)
        lag[order] = np.where(locked, in_force[0], 0.0)
        host = block.host_time - lag
        return [(lane.member.channel, host, block.source_time, block.arrival, block.value)]


def _due(due: F64, packet: Packet) -> F64:
    """Return the dues of ticks; at the end of the data nothing more is waited for."""
    return np.where(due <= packet.watermark, due, np.inf) if packet.end else due
