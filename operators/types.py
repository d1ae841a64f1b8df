"""Aliases of arrays and states, and the closed lists of names in output lines."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

F64: TypeAlias = NDArray[np.float64]
I8: TypeAlias = NDArray[np.int8]
I32: TypeAlias = NDArray[np.int32]
I64: TypeAlias = NDArray[np.int64]
Bool: TypeAlias = NDArray[np.bool_]
State: TypeAlias = dict[str, Any]
"""A snapshot: plain values only (numbers, text, lists, dicts, numpy arrays)."""

End = Literal["received", "used", "ignored", "late", "duplicate", "outliers", "rejected", "dropped"]
"""Final outcome of an event; `received` counts every event."""
ENDS: tuple[End, ...] = (
    "received",
    "used",
    "ignored",
    "late",
    "duplicate",
    "outliers",
    "rejected",
    "dropped",
)

Mode = Literal["fused", "ure_only", "sensors_only", "degraded", "none"]
MODES: tuple[Mode, ...] = ("fused", "ure_only", "sensors_only", "degraded", "none")
"""From best to worst; the mode of a line is the worst of its signals."""

ScaleState = Literal["given", "learning", "live", "unobservable", "inverted", "nonlinear"]
"""State of a member's gain and level against the other members."""
ChannelState = Literal["acquiring", "live", "stale", "lost", "rejoining"]
Why = Literal["hop", "reset", "state", "end"]

Reason = Literal[
    "json", "schema", "value", "stamp", "too_long", "torn", "archive", "too_many_rigs",
    "wild_stamp", "out_of_range", "osc", "peer", "midi", "filtered", "inbox_full",
    "kernel_full", "stopped", "http", "timeout", "exposition", "repeated", "osc_limit",
    "no_type_tags", "text", "too_many_names", "control", "retained", "foreign_partition",
    "offset_gone",
]  # fmt: skip
"""Reason of an unusable input; a closed list, since it is a metric label."""

ENDED: dict[Reason, End] = {
    "filtered": "ignored", "inbox_full": "dropped", "kernel_full": "dropped",
    "stopped": "dropped", "repeated": "duplicate", "text": "ignored",
    "retained": "ignored", "offset_gone": "dropped",
}  # fmt: skip
"""Outcome of inputs that are no loss by themselves, or were lost unseen; others: rejected."""

SCALE_STATES: tuple[ScaleState, ...] = (
    "given",
    "learning",
    "live",
    "unobservable",
    "inverted",
    "nonlinear",
)
STATES: tuple[ChannelState, ...] = ("acquiring", "live", "stale", "lost", "rejoining")

Lock = Literal["none", "locked", "holdover", "saturated"]
LOCKS: tuple[Lock, ...] = ("none", "locked", "holdover", "saturated")
BridgeState = Literal["E0", "E1", "E2", "E3", "E4"]
"""idle, syncing, bridged, guarded, rollback."""
BRIDGE_STATES: tuple[BridgeState, ...] = ("E0", "E1", "E2", "E3", "E4")
BridgeCommand = Literal["bridge.release", "bridge.rollback"]
BRIDGE_COMMANDS: tuple[BridgeCommand, ...] = ("bridge.release", "bridge.rollback")
"""Commands of a person to the bridge."""
BridgeWhy = Literal[
    "present", "good", "unmet", "entropy", "calm", "residual", "ratio", "rollback", "release"
]
"""Cause of a change of the bridge's state."""
