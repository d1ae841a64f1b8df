"""Presence, lag and rate of a channel at ticks, in two forms with the same bits.

`status_of` is the form for arrays of ticks, `status_at` that for one tick in plain numbers: few
ticks complete in a live packet, and a hundred calls of numpy cost more than the sums.
"""

from __future__ import annotations

import math

import numpy as np

from operators.presence import StreamUptime
from operators.records import LagReport
from operators.resample.lane import Lane
from operators.resample.open_ticks import ChannelStatus, StatusAt
from operators.settings.plan import Plan
from operators.types import F64, I64, Bool

LAG_STEP_S = 1e-4
"""Step of an applied moving lag (s): ticks within one step are read together."""
NAN, INF = float("nan"), float("inf")


def status_of(
    lane: Lane,
    plan: Plan,
    uptime: StreamUptime,
    max_lag_s: float,
    tick: I64,
    since: F64,
    due: F64,
    out: ChannelStatus,
) -> None:
    """Write the status at k consecutive ticks into `out`.

    Parameters
    ----------
    since : float64 (k,)
        The ticks as times of the sampler (s).
    due : float64 (k,)
        Rows that are ready before this are known (s); inf: all.
    out : ChannelStatus
        Filled.
    """
    at, sampler, frozen = tick / plan.tick_hz, lane.sampler, None
    age, spacing = np.full(len(at), np.inf), np.full(len(at), np.nan)
    if len(sampler):
        i = sampler.newest(since, due)
        age, spacing = since - sampler.time[i], sampler.spacing[i]
        if i[0] < 0:
            age[i < 0], spacing[i < 0] = np.inf, np.nan
        if lane.frozen_s:
            frozen = (i >= 0) & (since - sampler.changed[i] > lane.frozen_s)
    rate, quiet, length = lane.pace(at)
    stale_after: F64 | float = lane.stale_s or 0.0
    if lane.stale_s is None:
        stale_after = np.where(np.isnan(quiet), np.inf, np.maximum(quiet, 1 / plan.tick_hz))
    if (age > stale_after).any() or np.isinf(age[0]):
        age = lane.age_of_any(age, since, due)
    if frozen is not None:
        stale_after = np.where(frozen, np.minimum(stale_after, age / 2), stale_after)
    down = uptime.down(lane.member.source, at) if lane.held else None
    if down is not None:  # a value is held only while its stream is up
        stale_after = np.where(down, np.minimum(stale_after, age / 2), stale_after)
    locked = write_lag(lane, at, max_lag_s, out)
    out.state[:], out.ramp[:], out.gaps[:] = lane.presence.step(
        int(tick[0]), plan.tick_hz, age, stale_after, locked, plan.failover.rejoin_after_s
    )
    out.rate_hz[:] = np.where(np.isnan(rate), 1.0 / spacing, rate)
    out.length_s[:] = 0.0 if plan.eager else np.nan_to_num(length)


def status_at(
    lane: Lane,
    plan: Plan,
    uptime: StreamUptime,
    max_lag_s: float,
    tick: int,
    since: float,
    due: float,
) -> StatusAt:
    """Return `status_of` one tick."""
    at, sampler, frozen = tick / plan.tick_hz, lane.sampler, False
    i = sampler.newest_at(since, due)
    age, spacing = INF, NAN
    if i >= 0:
        age, spacing = since - sampler.time.item(i), sampler.spacing.item(i)
        frozen = bool(lane.frozen_s) and since - sampler.changed.item(i) > (lane.frozen_s or 0.0)
    rate, quiet, length = lane.pace_at(at)
    stale_after = lane.stale_s
    if stale_after is None:
        stale_after = INF if quiet != quiet else max(quiet, 1 / plan.tick_hz)
    if (age > stale_after or i < 0) and lane.rejected.size:
        age = float(lane.age_of_any(np.array([age]), np.array([since]), np.array([due]))[0])
    down = uptime.down(lane.member.source, np.array([at])) if lane.held else None
    if frozen or (down is not None and down[0]):
        stale_after = min(stale_after, age / 2)
    lag, lag_var, lag_rate, rate_var, search_hz, confidence, locked = _lag_at(lane, at, max_lag_s)
    state, ramp, gaps = lane.presence.step_at(
        tick, plan.tick_hz, age, stale_after, locked, plan.failover.rejoin_after_s
    )
    return (
        state,
        ramp,
        lag,
        lag_var,
        lag_rate,
        rate_var,
        search_hz,
        confidence,
        1.0 / spacing if rate != rate else rate,
        gaps,
        0.0 if plan.eager or length != length else length,
    )


def write_lag(lane: Lane, at: F64, max_lag_s: float, out: ChannelStatus) -> Bool:
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
                out.lag_var[int(at.searchsorted(r.known)) :] = r.var
        return np.ones(len(at), bool)
    locked = np.zeros(len(at), bool)
    in_force = max((n for n, r in enumerate(lane.lags) if r.known <= at[0]), default=0)
    for r in lane.lags[in_force:]:
        i = int(at.searchsorted(r.known))
        out.lag_s[i:], out.lag_var[i:], locked[i:] = r.lag_s, r.var + r.doubt, r.locked
        out.lag_rate[i:] = r.rate if r.rate_var else np.nan
        out.lag_rate_var[i:] = r.rate_var or np.nan
        out.search_hz[i:], out.confidence[i:] = r.search_hz, r.confidence
        if r.rate or r.rate_var or r.growth:
            dt = at[i:] - r.at
            steps = np.rint(dt * (r.rate / LAG_STEP_S))
            lag = r.lag_s + steps * LAG_STEP_S
            out.lag_s[i:] = np.clip(lag, -max_lag_s, max_lag_s)
            out.lag_var[i:] += dt * (2 * r.cross_var + dt * r.rate_var) + r.growth * np.abs(dt)
    return locked


def _lag_at(
    lane: Lane, at: float, max_lag_s: float
) -> tuple[float, float, float, float, float, float, bool]:
    """Return the six columns of `write_lag` at one time, and whether the lag may be used."""
    r = _in_force(lane.lags, at)
    if lane.member.lag_s is not None:
        sd = lane.member.lag_sd_s
        exact = r.var if r else NAN
        var = exact if sd is None else sd**2
        return lane.member.lag_s, var, NAN, NAN, NAN, 1.0, True
    if r is None:
        return NAN, NAN, NAN, NAN, NAN, NAN, False
    lag, var = r.lag_s, r.var + r.doubt
    if r.rate or r.rate_var or r.growth:
        dt = at - r.at
        steps = float(np.rint(dt * (r.rate / LAG_STEP_S)))
        # Beside NaN the order of the arguments counts.
        lag = min(max(lag + steps * LAG_STEP_S, -max_lag_s), max_lag_s)
        var += dt * (2 * r.cross_var + dt * r.rate_var) + r.growth * math.fabs(dt)
    rate = r.rate if r.rate_var else NAN
    return lag, var, rate, r.rate_var or NAN, r.search_hz, r.confidence, r.locked


def _in_force(lags: list[LagReport], at: float) -> LagReport | None:
    """Return the last report known at a time."""
    return next((r for r in reversed(lags) if r.known <= at), None)
