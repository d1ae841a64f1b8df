"""One channel of the resampler: its samples, and the data that later ticks may need."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from msgspec.structs import replace

from operators.numeric.search import places
from operators.presence import Presence
from operators.records import Block, LagReport, PaceReport
from operators.resample.sampler import Sampler, newest
from operators.settings.plan import Member, Plan
from operators.types import F64, State

MAX_CLUMPED_SPACING = 0.1
"""In mean intervals: samples closer than this share one moment."""
UNKNOWN_PACE = (float("nan"), float("nan"), float("nan"))


@dataclass
class Lane:
    """One channel: samples, lag estimates, and pending rows.

    `stale_s`: age at which it is stale, None for an age from its own rate. `frozen_s`: longest
    time without a change of value, None without limit. `read`: number of open ticks that are read.
    `pending`: rows not yet written as aligned. `rejected` (2, n): time and watermark of rejected
    rows. `paces`: rate, silence and packet length from each watermark of `pace_from` on, as far
    back as a tick may need.
    """

    member: Member
    held: bool
    sampler: Sampler
    stale_s: float | None
    frozen_s: float | None
    presence: Presence = field(default_factory=Presence)
    lags: list[LagReport] = field(default_factory=list)
    read: int = 0
    pending: Block | None = None
    rejected: F64 = field(default_factory=lambda: np.empty((2, 0)))
    pace_from: list[float] = field(default_factory=list)
    paces: list[tuple[float, float, float]] = field(default_factory=list)

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan, member: Member) -> Lane:
        """Return the lane of a snapshot."""
        lane = lane_of(plan, member)
        lane.sampler = Sampler.from_snapshot(state["sampler"], **_sampler_arguments(plan, member))
        lane.presence = Presence.from_snapshot(state["presence"])
        lane.lags = [LagReport(*report) for report in state["lags"]]
        lane.rejected = state["rejected"]
        lane.read = state["values"].shape[1]
        for since, rate, quiet, length in state["paces"].T.tolist():
            lane.note_pace(PaceReport(member.channel, since, rate, quiet, length))
        lane.pending = state["pending"] and Block.from_snapshot(state["pending"])
        return lane

    def snapshot(self) -> State:
        """Return the state as plain values, without the readings of open ticks."""
        return {
            "sampler": self.sampler.snapshot(),
            "presence": self.presence.snapshot(),
            "lags": [list(report) for report in self.lags],
            "rejected": self.rejected,
            "paces": np.array([self.pace_from, *self._pace_columns()]),
            "pending": self.pending and self.pending.snapshot(),
        }

    def _pace_columns(self) -> list[list[float]]:
        """Return rates, silence limits and packet lengths."""
        return [[pace[i] for pace in self.paces] for i in range(len(UNKNOWN_PACE))]

    def note_pace(self, report: PaceReport) -> None:
        """Note a rate (Hz), silence limit and packet length (s)."""
        newest = self.pace_from[-1] if self.pace_from else report.watermark
        self.pace_from.append(max(report.watermark, newest))
        self.paces.append((report.rate_hz, report.quiet_s, report.length_s))

    def pace_at(self, at: float) -> tuple[float, float, float]:
        """Return rate (Hz), silence limit and packet length (s) known before a moment, or NaN."""
        i = bisect_left(self.pace_from, at) - 1
        return self.paces[i] if i >= 0 else UNKNOWN_PACE

    def pace(self, at: F64) -> F64:
        """Return `pace_at` moments (k,) as (3, k)."""
        i = places(np.array(self.pace_from, np.float64), at)
        return np.array([UNKNOWN_PACE, *self.paces])[i].T

    def take(self, block: Block, origin: int) -> None:
        """Add samples; those with stamps of one moment get the mean interval as spacing."""
        rates = (rate for rate, _, _ in self.paces if rate == rate)
        longest = max((1 / rate if rate else np.inf for rate in rates), default=0.0)
        if longest and (block.spacing < MAX_CLUMPED_SPACING * longest).any():
            mean = 1 / self.pace(block.watermark)[0]
            clumped = block.spacing < MAX_CLUMPED_SPACING * mean
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
