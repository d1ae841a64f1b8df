"""Frames and statuses of the bridge, made up for tests of the outputs."""

from __future__ import annotations

from math import nan
from typing import Any

import numpy as np
from msgspec.structs import replace

from operators.lines import BridgeFrame
from operators.records import BridgeStatus, Packet

FRAME = BridgeFrame(
    ts=0.0, known=0.0, rig="studio", beat=0, tick_ms=200.0, rate_hz=5.0, phase_error=0.01,
    phase_sd=None, lock="locked", state="E2", why=None, safety_gain=1.0, withheld=False, slips=0,
    steps=1, kp=0.35, ki=0.08, kd=0.1, phase_diff=0.002, sync_quality=0.97, entropy_ratio=nan,
    applied=[],
)  # fmt: skip
STATUS = BridgeStatus(
    at=0.0, state="E2", since=0.0, lock="locked", tick_s=0.2, reference_hz=5.0, phase_error=0.01,
    phase_sd=nan, phase_diff=0.002, sync_quality=0.97, entropy_ratio=nan, safety_gain=1.0,
    hard_stop=False, rollback_ratio_5m=0.0, residual_stddev_10m=nan, phase_diff_mean_5m=0.002,
    sync_quality_p05_10m=0.9, entropy_ratio_mean_10m=nan, kp=0.35, ki=0.08, kd=0.1,
    loop_deviation=(0.01, 0.0, 0.0),
    targets={"harmony": True, "coherence": None}, slips=0, steps=1, locks=1,
    beats={"used": 30, "outlier": 1, "close": 0},
    transitions={("E0", "E1"): 1, ("E1", "E2"): 1}, unmet=(),
)  # fmt: skip


def frame(beat: int = 0, ts: float = 0.0, lead_s: float = 0.2, **more: Any) -> BridgeFrame:
    """Return a frame of one tick, decided `lead_s` before its time."""
    return replace(FRAME, beat=beat, ts=ts, known=ts - lead_s, **more)


def frames(first: int, count: int, start: float, hz: float = 5.0, **more: Any) -> list[BridgeFrame]:
    """Return frames of an even clock: beat `first` at `start` (s)."""
    made = {"rate_hz": hz, "tick_ms": 1000 / hz} | more
    return [frame(first + i, start + i / hz, **made) for i in range(count)]


def status(at: float = 0.0, **more: Any) -> BridgeStatus:
    """Return a status at a control step."""
    return STATUS._replace(at=at, **more)


def packet(
    *made: BridgeFrame,
    at: float | None = None,
    rig: str = "studio",
    end: bool = False,
    **more: Any,
) -> Packet:
    """Return a packet of frames; with `at`, of a status at that control step too."""
    known = None if at is None else status(at)
    return Packet(
        rig, 0.0, end, np.empty(0), **({"bridge": tuple(made), "bridge_status": known} | more)
    )
