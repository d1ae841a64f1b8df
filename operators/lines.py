"""Output lines of a run: sync reports, evidence, dead letters, markers."""

from __future__ import annotations

from typing import Literal

import msgspec

from operators.types import BridgeState, BridgeWhy, ChannelState, Lock, Reason, ScaleState, Why


class SyncReport(msgspec.Struct, frozen=True, kw_only=True):
    """One channel's clock and lag with sd, and its counts, as known at host time `ts`."""

    ts: float
    rig: str
    channel: str
    why: Why
    state: ChannelState
    offset_s: float | None
    offset_sd_s: float | None
    skew_ppm: float | None
    skew_sd_ppm: float | None
    clock_resets: int
    reset_at: float | None
    lag_s: float | None
    lag_sd_s: float | None
    confidence: float | None
    search_hz: float | None = None
    """Rate of the series on which the lag was found (Hz)."""
    rate_hz: float | None
    jitter_p95_s: float | None
    gain: float | None = None
    gain_sd: float | None = None
    level: float | None = None
    level_sd: float | None = None
    scale_state: ScaleState | None = None
    hindsight: bool = False
    """Whether estimates use the whole recording, not only the data before `ts`."""
    received: int
    used: int
    outliers: int
    late: int
    duplicate: int
    rejected: int
    gaps: int


class EvidenceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One finding: a rule began or ceased to hold."""

    ts: float
    rig: str
    rule: str
    kind: Literal["risk", "quote"]
    state: Literal["firing", "resolved"]
    severity: str | None
    risk: str | None
    action: str | None
    quote: str | None
    facts: dict[str, float | None]
    since: float


class DeadLine(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters of one kind within `sync_every_s`, as a line."""

    ts: float
    rig: str
    stage: str
    reason: Reason
    source: str
    where: str
    count: int
    sample: str


class MarkerLine(msgspec.Struct, frozen=True, kw_only=True):
    """A marker, as a line."""

    ts: float
    source_ts: float
    rig: str
    channel: str
    value: str


class BridgeFrame(msgspec.Struct, frozen=True, kw_only=True):
    """One tick of the output clock, or one change of the bridge's state.

    `ts` is the host time of the tick, `known` the control step that settled it. For a change, `why`
    is its cause, `ts` the grid tick that decided it, `beat` and `tick_ms` those in force. Phases
    are in cycles of a tick, rates in Hz, gains in 1/s, 1/s^2 and 1.
    """

    ts: float
    known: float
    rig: str
    beat: int
    tick_ms: float
    rate_hz: float
    phase_error: float | None
    phase_sd: float | None
    lock: Lock
    state: BridgeState
    why: BridgeWhy | None
    safety_gain: float
    withheld: bool
    slips: int
    steps: int
    kp: float
    ki: float
    kd: float
    phase_diff: float | None
    sync_quality: float | None
    entropy_ratio: float | None
    applied: list[str]
