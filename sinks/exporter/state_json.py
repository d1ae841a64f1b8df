"""The live state as JSON: for each rig its verdict, mode, streams, channels and indicators.

It holds the newest values and the changes. A client that draws lines requests the history of one
rig first, and then only newer items.
"""

from __future__ import annotations

from math import isfinite, isnan, nan
from typing import Any, cast

import msgspec

from configs.thresholds import THRESHOLDS, Threshold
from operators.bridge.protocol_text import NAMES
from operators.records import INDICATORS, BridgeStatus
from operators.types import MODES, BridgeState
from sinks.advice.sparse import left_out
from sinks.advice.units import unlike
from sinks.exporter.energy import PowerNow
from sinks.exporter.live_state import LiveState
from sinks.exporter.missing_indicator import why
from sinks.exporter.rig_state import RigState
from sinks.exporter.sync_status import stalled, stream_state, verdict

MAX_FINDINGS = 20
"""Findings in the state."""


def state(board: LiveState, rig: str | None = None, since: int | None = None) -> bytes:
    """Return the state of a run, `null` where there is no value.

    Parameters
    ----------
    board : LiveState
    rig : str, optional
        All rigs by default.
    since : int, optional
        Also return the history of one rig, the first by default, after this `version`; all of it
        where no such version exists.
    """
    now = board.clock()
    with board.reading():
        history = None
        if since is not None and (rig := rig or next(iter(board.panels), None)) is not None:
            since = since if since <= board.version else 0
            history = {"rig": rig, **board.panels[rig].history.since(since)}
        panels = board.panels if rig is None else {rig: board.panels[rig]}
        shown = {
            "now": board.wall(),
            "started": board.started,
            "version": board.version,
            "fresh": not board.stale(),
            "names": list(board.panels),
            "rigs": {name: _panel(panel, now) for name, panel in panels.items()},
            "evidence": [msgspec.Raw(f.line[:-1]) for f in list(board.findings)[-MAX_FINDINGS:]],
            "energy": _energy(board),
            "history": history,
        }
    return msgspec.json.encode(shown)


def _panel(panel: RigState, now: float) -> dict[str, Any]:
    fused, empty = panel.fused, why(panel)
    weights: dict[str, float] = {}
    for signal in fused.signals if fused else ():
        for channel, weight in zip(signal.channels, signal.weights[-1].tolist(), strict=True):
            weights.setdefault(channel, weight)
    return {
        "verdict": verdict(panel, now)._asdict(),
        "ended": panel.ended,
        "stalled": stalled(panel, now),
        "began": panel.history.began,
        "ts": float(fused.ts[-1]) if fused else None,
        "tick_age_s": now - panel.last_tick if isfinite(panel.last_tick) else None,
        "behind_s": panel.behind_s if fused else None,
        "mode": MODES[int(fused.mode[-1])] if fused else None,
        "mode_since": panel.history.mode_since,
        "live": int(fused.live[-1]) if fused else None,
        "sync_bound_s": float(fused.sync_bound_s[-1]) if fused else None,
        "sync_estimate_bound_s": float(fused.sync_estimate_bound_s[-1]) if fused else None,
        "signals": {
            s.name: {
                "value": float(s.value[-1]),
                "sd": float(s.sd[-1]),
                "unit": panel.signal_units.get(s.name),
                "mode": MODES[int(s.mode[-1])],
                "live": int(s.live[-1]),
            }
            for s in (fused.signals if fused else ())
        },
        "units": [
            x.text for s in (fused.signals if fused else ()) for x in unlike(s.channels, panel.sync)
        ],
        "left_out": left_out(fused, panel.sync) or None,
        "indicators": {
            name: _indicator(name, float(fused.indicators[-1, i]) if fused else nan, empty)
            for i, name in enumerate(INDICATORS)
        },
        "bridge": None if panel.bridge is None else _bridge(panel.bridge),
        "streams": [
            {
                "stream": name,
                "state": stream_state(panel, name),
                "up": panel.up[name],
                "age_s": now - last_event,
                "spoken": name in panel.newest,
                "refused": panel.refused(name),
                **panel.ends[name],
            }
            for name, last_event in panel.last_event.items()
        ],
        "channels": [
            {
                **msgspec.structs.asdict(report),
                "weight": weights.get(report.channel),
                "unit": panel.units.get(report.channel),
            }
            for report in panel.sync.values()
        ],
        "changes": [change._asdict() for change in panel.history.changes],
        "happened": [entry._asdict() for entry in panel.history.happened()],
    }


def _energy(board: LiveState) -> dict[str, Any] | None:
    """Return the power of the process, its source, and the hottest sensor."""
    if board.energy is None:
        return None
    power, heat = board.energy.power(), board.energy.temperatures()
    shown = power._asdict() if power is not None else dict.fromkeys(PowerNow._fields)
    return {**shown, "celsius": max((celsius for _, celsius in heat), default=None)}


def _bridge(status: BridgeStatus) -> dict[str, Any]:
    """Return the status of the bridge without counts and errors, which make metrics."""
    apart = ("slips", "steps", "locks", "beats", "transitions", "loop_deviation")
    shown = {name: value for name, value in status._asdict().items() if name not in apart}
    return {"name": NAMES[cast(BridgeState, status.state)], **shown}


def _indicator(name: str, value: float, why: str) -> dict[str, Any]:
    budget = THRESHOLDS.get(name)
    return {
        "value": value,
        "why": why if isnan(value) else None,
        "budget": budget.good if budget else None,
        "warn": budget.warn if budget else None,
        "crit": budget.crit if budget else None,
        "least": budget.least if budget else None,
        "good": budget.ok(value) if budget else None,
        "level": _level(budget, value) if budget else None,
    }


def _level(budget: Threshold, value: float) -> str | None:
    good = budget.ok(value)
    if good is None:
        return None
    critical = value < budget.crit if budget.least else value > budget.crit
    return "good" if good else "crit" if critical else "warn"
