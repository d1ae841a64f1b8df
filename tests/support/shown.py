"""Builders for what is shown of a run: a configuration, ticks, packets, a board and its clocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from configs.inputs import FileStream, OscStream, UreStream
from configs.schema import Config
from configs.signals import MemberConfig, SignalConfig
from operators.lines import EvidenceRecord, SyncReport
from operators.records import INDICATORS, Ends, Fused, FusedSignal, Packet
from sinks.exporter.live_state import LiveState
from sinks.exporter.rig_state import RigState

NAN = float("nan")


def config(*, live: bool = True, **given: Any) -> Config:
    """A sensor `osc_1` and an engine `ure` that measure `pulse`, live or recorded."""
    streams: list[Any] = [FileStream(name="demo", path="demo.ndjson")]
    if live:
        streams = [
            OscStream(name="osc_1", addr="127.0.0.1:9000"),
            UreStream(name="ure", metrics_url="http://127.0.0.1:9305/"),
        ]
    members = {"ure:p": MemberConfig(group="ure"), "osc_1:p": MemberConfig()}
    return Config(
        version=2, streams=streams, signals={"pulse": SignalConfig(members=members)}, rig="r",
        **given,
    )  # fmt: skip


def ticks(
    first: int, k: int = 1, *, hz: float = 1.0, facts: Any = None, released: float = 0.5,
    mode: int = 0, **indicators: Any,
) -> Fused:  # fmt: skip
    """k ticks; indicators by name, all others 0.5; `facts`: the residual entropy."""
    ts = (first + np.arange(k)) / hz
    table = np.full((k, len(INDICATORS)), 0.5)
    for name, value in indicators.items():
        table[:, INDICATORS.index(name)] = value
    signal = FusedSignal(
        "pulse", ("ure:p", "osc_1:p"), ts / 3, ts / 7, ts / 9, np.full(k, mode), np.full(k, 2),
        np.tile([0.75, 0.25], (k, 1)),
    )  # fmt: skip
    given = facts is not None
    return Fused(
        ts, ts + released, np.full(k, mode), np.full(k, 2), (signal,), table, table, table * NAN,
        np.full((k, 1), facts) if given else np.empty((k, 0)),
        ("ure:ure_residual_entropy_last",) if given else (), ts * 0 + 0.002,
        ts * 0 + 0.001,
    )  # fmt: skip


def packet(fused: Fused | None = None, *, rig: str = "r", end: bool = False, **more: Any) -> Packet:
    return Packet(rig, 0.0, end, np.zeros(1), fused=fused, **more)


def events(source: str, n: int = 1, end: Any = "used", channel: str | None = None) -> tuple:
    """n events of a source, with their end."""
    channel = f"{source}:p" if channel is None else channel
    before = np.arange(100.0, 100.0 + n)
    return tuple(Ends(source, channel, e, before) for e in ("received", end))


def finding(ts: float, rule: str = "low") -> EvidenceRecord:
    return EvidenceRecord(
        ts=ts, rig="r", rule=rule, kind="risk", state="firing", severity="warn", risk="x",
        action=None, quote=None, facts={"pulse": 1.0, "live": None}, since=ts,
    )  # fmt: skip


def report(channel: str, **given: Any) -> SyncReport:
    """A channel's line: live, and all is known."""
    known: dict[str, Any] = {
        "ts": 1.0, "why": "hop", "state": "live", "offset_s": 0.1, "offset_sd_s": 1e-4,
        "skew_ppm": 1.0, "skew_sd_ppm": 0.1, "clock_resets": 0, "reset_at": None, "lag_s": 0.01,
        "lag_sd_s": 1e-3, "confidence": 1.0, "rate_hz": 100.0, "jitter_p95_s": 1e-3,
        "received": 9, "used": 4, "outliers": 1, "late": 2, "duplicate": 1, "rejected": 1,
        "gaps": 0,
    }  # fmt: skip
    return SyncReport(rig="r", channel=channel, **{**known, **given})


def rig_of(board: LiveState, rig: str = "r") -> RigState:
    """Return a rig of a board, brought up to date."""
    with board.reading():
        return board.panels[rig]


class Time:
    """The clocks of a board: monotonic `now`, and the host's time `wall`."""

    def __init__(self) -> None:
        self.now, self.wall = 1000.0, 1.7e9

    def board(self, of: Config | None = None, rigs: tuple[str, ...] = ()) -> LiveState:
        return LiveState(of or config(), rigs, lambda: self.now, lambda: self.wall)
