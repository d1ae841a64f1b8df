"""One channel of the resampler: its samples, and the data that later ticks may need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from operators.plan import Member, Plan
from operators.presence import Presence
from operators.records import Block, LagReport
from operators.resample.sampler import Sampler, newest
from operators.types import F64, State

MAX_CLUMPED_SPACING = 0.1
"""In mean intervals: samples closer than this share one moment."""


class Readings(NamedTuple):
    """Values read at k ticks, each (k,)."""

    value: F64
    coverage: F64
    noise_var: F64


class ChannelStatus(NamedTuple):
    """State of a channel at k ticks, known without its value; each (k,), or (c, k) of c channels.

    Units: s, s^2, s/s, (s/s)^2, Hz; `length_s` is the length of its packets. Names as in `Grid`.
    """

    state: F64
    ramp: F64
    lag_s: F64
    lag_var: F64
    lag_rate: F64
    lag_rate_var: F64
    search_hz: F64
    confidence: F64
    rate_hz: F64
    gaps: F64
    length_s: F64


NOT_READ = np.array([[np.nan], [0.0], [np.nan]])
"""The columns of `Readings` at a tick without a value."""


@dataclass
class Lane:
    """One channel: samples, lag estimates, readings of unreleased ticks, and pending rows.

    `stale_s`: age at which it is stale, None for an age from its own rate. `frozen_s`: longest
    time without a change of value, None without limit. `pending`: rows not yet written as
    aligned. `rejected` (2, n): time and watermark of rejected rows.
    """

    member: Member
    held: bool
    sampler: Sampler
    stale_s: float | None
    frozen_s: float | None
    presence: Presence = field(default_factory=Presence)
    lags: list[LagReport] = field(default_factory=list)
    values: F64 = field(default_factory=lambda: np.empty((len(Readings._fields), 0)))
    pending: Block | None = None
    rejected: F64 = field(default_factory=lambda: np.empty((2, 0)))
    paces: F64 = field(default_factory=lambda: np.empty((4, 0)))
    """Watermark, rate, silence and packet length, of each `PaceReport` that a tick may need."""

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan, member: Member) -> Lane:
        """Return the lane of a snapshot."""
        lane = lane_of(plan, member)
        lane.sampler = Sampler.from_snapshot(state["sampler"], **_sampler_arguments(plan, member))
        lane.presence = Presence.from_snapshot(state["presence"])
        lane.lags = [LagReport(*report) for report in state["lags"]]
        lane.values = state["values"]
        lane.rejected = state["rejected"]
        lane.paces = state["paces"]
        lane.pending = state["pending"] and Block.from_snapshot(state["pending"])
        return lane

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "sampler": self.sampler.snapshot(),
            "presence": self.presence.snapshot(),
            "lags": [list(report) for report in self.lags],
            "values": self.values,
            "rejected": self.rejected,
            "paces": self.paces,
            "pending": self.pending and self.pending.snapshot(),
        }

    def pace(self, at: F64) -> F64:
        """Return rate (Hz), silence limit and packet length (s), (3, k).

        Known before each of the moments `at` (k,), NaN where unknown.
        """
        i = np.searchsorted(self.paces[0], at, "left") - 1
        if not self.paces.size:
            return np.full((3, len(at)), np.nan)
        return np.where(i >= 0, self.paces[1:, np.maximum(i, 0)], np.nan)

    def take(self, block: Block, origin: int) -> None:
        """Add samples; those with stamps of one moment get the mean interval as spacing."""
        mean = 1 / self.pace(block.watermark)[0]
        clumped = block.spacing < MAX_CLUMPED_SPACING * mean
        if clumped.any():
            block = replace(block, spacing=np.where(clumped, mean, block.spacing))
        self.sampler.push(block, origin)

    def note_rejected(self, outliers: Block, origin: int) -> None:
        """Note host time and watermark of rows that the guard rejected."""
        time = outliers.host_time - origin / self.sampler.tick_hz
        rejected = np.concatenate((self.rejected, (time, outliers.watermark)), axis=1)
        self.rejected = rejected[:, np.argsort(rejected[0], kind="stable")]

    def age_of_any(self, age: F64, since: F64, due: F64) -> F64:
        """Return the age (s) of the newest row, used or rejected.

        `age` is that of the newest used row.
        """
        if not self.rejected.size:
            return age
        i = newest(self.rejected[0], self.rejected[1], since, due)
        return np.where(i >= 0, np.minimum(age, since - self.rejected[0, np.maximum(i, 0)]), age)


def lane_of(plan: Plan, member: Member) -> Lane:
    """Return a channel without data."""
    held = _is_held(plan, member)
    stale_s = plan.channel(member.channel).stale_after_s
    if stale_s is None and not held and plan.failover.stale_after_s != "auto":
        stale_s = plan.failover.stale_after_s
    if stale_s is None:
        stale_s = (plan.stream_stale_s or {}).get(member.source, np.inf if held else None)
    frozen_s = (plan.frozen_after_s or {}).get(member.source)
    sampler = Sampler(**_sampler_arguments(plan, member))
    return Lane(member, held, sampler, stale_s, frozen_s)


def _is_held(plan: Plan, member: Member) -> bool:
    return not member.signal or plan.is_held(member.channel)


def _sampler_arguments(plan: Plan, member: Member) -> dict[str, Any]:
    return {
        "tick_hz": plan.tick_hz,
        "half_width_s": plan.half_width_s,
        "held": _is_held(plan, member),
        "eager": plan.eager,
        "changes": bool((plan.frozen_after_s or {}).get(member.source)),
        "decide_s": plan.decide_s,
        "spare_s": plan.wait_s - plan.settle_s,
    }
