"""One channel on its way to the grid: its samples, and all that ticks may still ask of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace

from operators.plan import Member, Plan
from operators.presence import Presence
from operators.records import Block, LagReport
from operators.resample.sampler import Sampler, newest
from operators.types import F64

READ = 3
"""Columns of a reading: value, coverage, noise."""
CLUMPED = 0.1
"""Of the mean interval: samples closer than this share a moment."""


@dataclass
class Lane:
    """One channel: samples, lag estimates, values of ticks not yet released, rows not yet written.

    `stale_s`: age that makes it stale, None where its own pace decides; `frozen_s`: how long the
    same value may come, None for ever.
    """

    member: Member
    held: bool
    sampler: Sampler
    stale_s: float | None
    frozen_s: float | None
    watch: Presence = field(default_factory=Presence)
    lags: list[LagReport] = field(default_factory=list)
    values: F64 = field(default_factory=lambda: np.empty((READ, 0)))
    unsaid: Block | None = None
    heard: F64 = field(default_factory=lambda: np.empty((2, 0)))
    paces: F64 = field(default_factory=lambda: np.empty((4, 0)))
    """Moment, rate, silence and length of packets, of each renewal that a tick may need."""

    def pace(self, at: F64) -> F64:
        """Return rate (Hz), silence that makes it stale and length of packets (s), (3, k).

        As known before each of the moments `at` (k,), NaN where unknown.
        """
        i = np.searchsorted(self.paces[0], at, "left") - 1
        if not self.paces.size:
            return np.full((3, len(at)), np.nan)
        return np.where(i >= 0, self.paces[1:, np.maximum(i, 0)], np.nan)

    def take(self, block: Block, origin: int) -> None:
        """Take samples in; those with stamps of one moment stand for the mean interval."""
        mean = 1 / self.pace(block.watermark)[0]
        clumped = block.spacing < CLUMPED * mean
        if clumped.any():
            block = replace(block, spacing=np.where(clumped, mean, block.spacing))
        self.sampler.push(block, origin)

    def hear(self, lost: Block, origin: int) -> None:
        """Note when rows came that cannot be used, and when that was known."""
        time = lost.host_time - origin / self.sampler.tick_hz
        heard = np.concatenate((self.heard, (time, lost.watermark)), axis=1)
        self.heard = heard[:, np.argsort(heard[0], kind="stable")]

    def unless_heard(self, age: F64, since: F64, due: F64) -> F64:
        """Return how long ago (s) anything came, given the age of the newest sample."""
        if not self.heard.size:
            return age
        i = newest(self.heard[0], self.heard[1], since, due)
        return np.where(i >= 0, np.minimum(age, since - self.heard[0, np.maximum(i, 0)]), age)


def lane_of(plan: Plan, member: Member) -> Lane:
    """Return a channel of which nothing is known yet."""
    held = not member.signal or plan.is_held(member.channel)
    stale_s = plan.channel(member.channel).stale_after_s
    if stale_s is None and not held and plan.failover.stale_after_s != "auto":
        stale_s = plan.failover.stale_after_s
    if stale_s is None:
        stale_s = (plan.stream_stale_s or {}).get(member.source, np.inf if held else None)
    frozen_s = (plan.frozen_after_s or {}).get(member.source)
    sampler = Sampler(
        plan.tick_hz, plan.half_width_s, held, eager=plan.eager, changes=bool(frozen_s),
        decide_s=plan.decide_s, spare_s=plan.wait_s - plan.settle_s,
    )  # fmt: skip
    return Lane(member, held, sampler, stale_s, frozen_s)
