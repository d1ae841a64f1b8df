"""What the live page shows, as JSON: for each rig its mode, streams, channels and indicators."""

from __future__ import annotations

from math import isfinite
from typing import Any

import msgspec

from operators.records import INDICATORS, MODES
from sinks.board import Board, Panel
from sinks.budgets import BUDGETS

RECENT = 20
"""Findings that are shown."""


def state(board: Board) -> bytes:
    """Return the state of a run, `null` where there is no value."""
    now = board.clock()
    with board.lock:
        shown = {
            "now": board.wall(),
            "fresh": not board.stale(),
            "rigs": {rig: _panel(panel, now) for rig, panel in board.panels.items()},
            "evidence": [msgspec.Raw(f.line[:-1]) for f in list(board.findings)[-RECENT:]],
        }
    return msgspec.json.encode(shown)


def _panel(panel: Panel, now: float) -> dict[str, Any]:
    fused = panel.fused
    weights: dict[str, float] = {}
    for signal in fused.signals if fused else ():
        for channel, weight in zip(signal.channels, signal.weights[-1].tolist(), strict=True):
            weights.setdefault(channel, weight)
    return {
        "ended": panel.ended,
        "ts": float(fused.ts[-1]) if fused else None,
        "tick_age_s": now - panel.ticked if isfinite(panel.ticked) else None,
        "mode": MODES[int(fused.mode[-1])] if fused else None,
        "live": int(fused.live[-1]) if fused else None,
        "sync_bound_s": float(fused.sync_bound_s[-1]) if fused else None,
        "signals": {
            s.name: {"value": float(s.value[-1]), "sd": float(s.sd[-1]),
                     "mode": MODES[int(s.mode[-1])], "live": int(s.live[-1])}
            for s in (fused.signals if fused else ())
        },
        "indicators": {
            name: _indicator(name, float(fused.indicators[-1, i]) if fused else float("nan"))
            for i, name in enumerate(INDICATORS)
        },
        "streams": [
            {"stream": name, "up": panel.up[name], "age_s": now - heard,
             "spoken": name in panel.newest, **panel.ends[name]}
            for name, heard in panel.heard.items()
        ],
        "channels": [
            {**msgspec.structs.asdict(report), "weight": weights.get(report.channel)}
            for report in panel.sync.values()
        ],
    }  # fmt: skip


def _indicator(name: str, value: float) -> dict[str, Any]:
    budget = BUDGETS.get(name)
    return {
        "value": value,
        "budget": budget.good if budget else None,
        "least": budget.least if budget else None,
        "good": budget.keeps(value) if budget else None,
    }
