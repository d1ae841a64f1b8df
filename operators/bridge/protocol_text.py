"""The table of the protocol as a drawing and as a table, for README and runbook."""

from __future__ import annotations

from operators.bridge.bridge_config import ProtocolConfig, SafetyConfig
from operators.bridge.protocol import TABLE, TRANSITIONS, ProtocolRow, bounds
from operators.types import BRIDGE_STATES, BridgeState

NAMES: dict[BridgeState, str] = {
    "E0": "idle", "E1": "syncing", "E2": "bridged", "E3": "guarded", "E4": "rollback",
}  # fmt: skip
EFFECTS: dict[BridgeState, str] = {
    "E0": "estimates run, nothing is sent",
    "E1": "the output steps into lock, withheld",
    "E2": "the output slews, sent, safety gain 1",
    "E3": "as E2, safety gain {guarded_gain:g}, alert",
    "E4": "withheld, gains as configured, applied actions undone, alert",
}


def diagram() -> str:
    """Return the states and their changes as a Mermaid drawing."""
    names = [f"    {state}: {state} {NAMES[state]}" for state in BRIDGE_STATES]
    arrows = []
    for before, after in TRANSITIONS:
        causes = dict.fromkeys(row.why for row in TABLE if (row.state, row.to) == (before, after))
        arrows.append(f"    {before} --> {after}: {' or '.join(causes)}")
    return "\n".join(["stateDiagram-v2", *names, "    [*] --> E0", *arrows])


def markdown_table() -> str:
    """Return `TABLE` in Markdown, with the default thresholds and dwells."""
    values = bounds(ProtocolConfig(), SafetyConfig())
    lines = ["| state | in force | to | cause | when, in this order |", "|---|---|---|---|---|"]
    shown: set[BridgeState] = set()
    for row in TABLE:
        state, effect = f"{row.state} {NAMES[row.state]}", EFFECTS[row.state].format_map(values)
        if row.state in shown:
            state = effect = ""
        shown.add(row.state)
        if row.why != "rollback":
            lines.append(f"| {state} | {effect} | {row.to} | {row.why} | {_when(row, values)} |")
    lines.append("| E0, E1, E2, E3 | | E4 | rollback | by hand: `lumen bridge rollback` |")
    return "\n".join(lines)


def _when(row: ProtocolRow, values: dict[str, float]) -> str:
    """Return the condition and the dwell of a row in words."""
    if row.dwell == "hand":
        return f"by hand: `lumen bridge {row.why}`, and only so"
    condition = " and ".join(
        limit.quantity
        if limit.quantity == "present"
        else f"{limit.quantity} {limit.relation} {values[limit.key]:g}"
        for limit in row.condition
    )
    span = f"{values[row.key]:g} s (`{row.key}`)" if row.key else ""
    if row.dwell == "since":
        return f"{condition}, after at least {span} in {row.state}"
    if row.dwell == "unmet":
        return (
            f"({condition}) unmet for {span}"
            if len(row.condition) > 1
            else f"{condition} unmet for {span}"
        )
    return f"{condition} for {span}" if span else condition
