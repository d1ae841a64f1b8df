"""align: each member's lag against its signal's reference, and each row's rate and noise.

Two jobs: rows get the interval and the noise of their channel (operators/align/rate_noise.py),
and lags are searched and tracked (operators/align/lag_tracker.py). In the second of two passes
the lags of the whole recording are known; they are reported by the ticks that need them.

State: that of the two modules. Cost: 30 numpy calls a packet, beside that of the two modules.
Losses: none.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from operator import attrgetter

import numpy as np
from msgspec.structs import replace

from operators.align.align_config import AlignConfig
from operators.align.lag_path import path_of
from operators.align.lag_tracker import LagTracker, fixed_reference, reference_report
from operators.align.rate_noise import RateNoise
from operators.hindsight import Hindsight
from operators.records import Block, LagReport, Packet
from operators.settings.plan import Plan
from operators.types import State


class Align:
    """Lags, and each row's interval and noise for the later stations."""

    def __init__(
        self,
        plan: Plan,
        config: AlignConfig,
        *,
        learn: bool = False,
        known: Hindsight | None = None,
    ) -> None:
        self.plan, self.config = plan, config
        self._known = known
        self._due: list[LagReport] | None = None
        self._reported = 0
        self._learnt: dict[tuple[str, str], list[LagReport]] | None = {} if learn else None
        self._tracker = None if known else LagTracker(plan, config)
        self._rate_noise = RateNoise()
        self._announced = False
        self._sampled: dict[str, bool] = {}

    @classmethod
    def from_snapshot(
        cls,
        state: State,
        plan: Plan,
        config: AlignConfig,
        *,
        learn: bool = False,
        known: Hindsight | None = None,
    ) -> Align:
        """Return the station of a snapshot."""
        core = cls(plan, config, learn=learn, known=known)
        core._rate_noise = RateNoise.from_snapshot(state["rate_noise"])
        if core._tracker:
            core._tracker = LagTracker.from_snapshot(state["tracker"], plan, config)
        core._announced, core._reported = state["announced"], state["reported"]
        return core

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "rate_noise": self._rate_noise.snapshot(),
            "tracker": self._tracker and self._tracker.snapshot(),
            "announced": self._announced,
            "reported": self._reported,
        }

    @property
    def dated_s(self) -> float:
        """By how much the date of a report lies behind the data of the estimate (s)."""
        return self._tracker.dated_s if self._tracker else 0.0

    def update(self, packet: Packet) -> Packet:
        """Attach interval and noise to the rows, and the lag reports that the packet completes."""
        if self._tracker:
            for b in packet.blocks:
                self._tracker.push(b)
        reports: list[LagReport] = []
        if self._known:
            reports += self._until(packet, self._known)
        elif not self._announced:
            self._announced = True
            reports += [
                reference_report(s, channel)
                for s in self.plan.signals
                if (channel := fixed_reference(s))
            ]
        # The squares of values near the largest float overflow: such values have no lag.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            blocks = self._with_rate_noise(packet.blocks)
            if self._tracker:
                reports += self._tracker.hops(packet)
        if self._learnt is not None:
            for r in reports:
                self._learnt.setdefault((r.signal, r.channel), []).append(r)
        return replace(packet, blocks=blocks, lags=tuple(reports))

    def shown(self) -> State:
        """Return each member's lag over the whole recording; see `Learner`."""
        found = [
            r for reports in (self._learnt or {}).values() for r in path_of(reports, self.dated_s)
        ]
        return {"lags": [list(r) for r in found]}

    def _until(self, packet: Packet, known: Hindsight) -> list[LagReport]:
        """Return the known reports that the ticks due by now are the first to need."""
        if self._due is None:
            lags = known.of(packet.rig, "align").get("lags", ())
            self._due = sorted((LagReport(*r) for r in lags), key=attrgetter("known"))
        first, until = self._reported, np.inf if packet.end else packet.watermark
        self._reported = max(first, bisect_right(self._due, until, key=attrgetter("known")))
        return self._due[first : self._reported]

    def _with_rate_noise(self, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        """Return the blocks with the interval and noise of their channels at each row."""
        ordered = [
            b.take(~b.straggler) if np.count_nonzero(b.straggler) else b
            for b in blocks
            if self._is_sampled(b.channel)
        ]
        old = [self._rate_noise.of(b.channel) for b in ordered]
        pace = self._rate_noise.push([(b.channel, b.host_time, b.value) for b in ordered])
        edge = list(accumulate(map(len, ordered), initial=0))
        place = {b.channel: i for i, b in enumerate(ordered)}
        out = []
        for b in blocks:
            if b.channel not in place:
                nothing = np.full(len(b), np.nan)
                out.append(replace(b, spacing=nothing, noise=nothing))
                continue
            i = place[b.channel]
            mine = pace[:, edge[i] : edge[i + 1]]
            if ordered[i] is not b:
                # A straggler gets the numbers of the last ordered row that was final before it.
                at = np.searchsorted(ordered[i].watermark, b.watermark, "right")
                at[~b.straggler] = 1 + np.arange(len(ordered[i]))
                mine = np.column_stack((old[i], mine))[:, at]
            out.append(replace(b, spacing=mine[0], noise=mine[1]))
        return tuple(out)

    def _is_sampled(self, channel: str) -> bool:
        if channel not in self._sampled:
            self._sampled[channel] = not self.plan.is_held(channel)
        return self._sampled[channel]
