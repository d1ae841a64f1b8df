"""The sync status of a rig in one sentence: is it in sync?

The first condition that holds gives the sentence: ticks stopped; the data have ended; results are
more than `FAR_BEHIND_S` late; a member is silent and the mode shows it; a clock has just stepped;
the mode is not `fused`; fewer than two compared members are present; results are more than
`BEHIND_S` late; a member is missing or not compared; an indicator is beyond its critical threshold;
in sync. "In sync" holds for compared members only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

from configs.thresholds import THRESHOLDS
from operators.records import INDICATORS
from operators.types import MODES
from sinks.advice.comparison import NOT_COMPARED, MemberState, loose, reasons
from sinks.advice.sparse import left_out

if TYPE_CHECKING:
    from sinks.exporter.rig_state import RigState

Level = Literal["good", "warn", "crit", "wait"]
StreamState = Literal["waiting", "down", "lost", "stale", "acquiring", "rejoining", "live"]
STALLED_S = 5.0
BEHIND_S, FAR_BEHIND_S = 1.0, 5.0
"""Delay of results after their data: late, and no longer live (s)."""
STEP_SHOWN_S = 20.0
"""Duration for which a step of a clock is shown (s, data time)."""
_FROM_WORST: tuple[StreamState, ...] = ("lost", "stale", "acquiring", "rejoining", "live")
_SILENT = ("stale", "lost")
_MODES = {
    "ure_only": "Failed over to URE",
    "sensors_only": "Failed over to the sensors",
    "degraded": "Degraded",
    "none": "Nothing to fuse",
}


class SyncStatus(NamedTuple):
    """A `head`, its time `since` (s, host time; None: now), and the explanation `text`."""

    level: Level
    head: str
    text: str
    since: float | None = None


def verdict(panel: RigState, now: float) -> SyncStatus:
    """Return the status of a rig at `now` (s, monotonic)."""
    fused = panel.fused
    if fused is None:
        return SyncStatus("wait", "Waiting for the first tick", _streams(panel))
    age, ts = now - panel.last_tick, float(fused.ts[-1])
    if panel.ended:
        return SyncStatus(
            "wait", "The data have ended", f"{_within(panel)}: so it was at the end", ts
        )
    if stalled(panel, now):
        text = f"nothing has come out for {age:.0f} s; {_streams(panel)}"
        return SyncStatus("crit", "No fresh data", text, ts)
    if panel.behind_s > FAR_BEHIND_S:
        return _behind("crit", panel)
    mode, since = MODES[int(fused.mode[-1])], panel.history.mode_since
    missing = _missing(panel)
    silent = any(state in _SILENT for state in missing.values())
    why = _named(missing) or _streams(panel)
    if mode == "none" and not silent:
        return SyncStatus("wait", "Acquiring", why, since)
    if mode != "fused" and silent:
        return SyncStatus("crit" if mode == "none" else "warn", _MODES[mode], why, since)
    step = _step(panel, ts, missing)
    if step is not None:
        return step
    if mode != "fused":
        return SyncStatus("warn", _MODES[mode], why, since)
    if not compared(panel):
        searched = any(m.searched for members in _members(panel) for m in members)
        return SyncStatus("wait" if searched else "warn", NOT_COMPARED, uncompared(panel))
    if panel.behind_s > BEHIND_S:
        return _behind("warn", panel)
    free = "; ".join(filter(None, (loose(m) for m in _members(panel) if len(m) > 1)))
    if missing or free:
        left = "; ".join(filter(None, (_named(missing), free)))
        return SyncStatus("warn", "In sync, not all of it", f"{_within(panel)}; {left}")
    beyond = [
        _beyond(name, float(x)) for name, x in zip(INDICATORS, fused.indicators[-1], strict=True)
    ]
    if any(beyond):
        text = ", ".join(filter(None, beyond))
        return SyncStatus("warn", "Aligned, but the channels disagree", f"{_within(panel)}; {text}")
    parts = (_within(panel), _streams(panel), left_out(fused, panel.sync))
    return SyncStatus("good", "In sync", "; ".join(filter(None, parts)))


def stalled(panel: RigState, now: float) -> bool:
    """Whether ticks have stopped before the data ended, so that all values are old."""
    return panel.fused is not None and not panel.ended and now - panel.last_tick > STALLED_S


def _behind(level: Level, panel: RigState) -> SyncStatus:
    text = f"results come {panel.behind_s:.1f} s late: this machine cannot keep up"
    return SyncStatus(level, "Behind", f"{text}; {_within(panel)}")


def _step(panel: RigState, ts: float, missing: dict[str, str]) -> SyncStatus | None:
    """Return the status of the newest step of a clock; None once it is `STEP_SHOWN_S` old."""
    back: set[str] = set()
    for change in reversed(panel.history.changes):
        source = change.name.partition(":")[0]
        if change.what == "channel" and change.now == "live":
            back.add(source)
        if change.what != "clock":
            continue
        again = source not in back and any(c.partition(":")[0] == source for c in missing)
        if not again and ts - change.ts > STEP_SHOWN_S:
            return None
        by = f" by {change.step_s:+.3f}\u00a0s" if change.step_s is not None else ""
        text = "re-acquiring" if again else f"corrected; {_within(panel)}"
        return SyncStatus("warn", f"Clock of {source} stepped{by}", text, change.ts)
    return None


def stream_state(panel: RigState, stream: str) -> StreamState:
    """Return the state of a stream: that of its best channel."""
    if stream not in panel.newest:
        return "waiting"
    if not panel.up[stream]:
        return "down"
    states = {
        r.state for c, r in panel.sync.items() if panel.stream_of(c.partition(":")[0]) == stream
    }
    return next((state for state in reversed(_FROM_WORST) if state in states), "live")


def compared(panel: RigState) -> bool:
    """Whether the newest tick has a bound: two compared members or more are present."""
    return panel.fused is not None and bool(panel.fused.sync_bound_s[-1] >= 0)


def uncompared(panel: RigState) -> str:
    """Return why nothing is compared, with the remedy; empty where members are compared."""
    if panel.fused is None or compared(panel):
        return ""
    return reasons(_members(panel))


def _members(panel: RigState) -> list[list[MemberState]]:
    """Return the members of each signal, from their newest sync lines."""
    return [
        [_seen(panel, channel) for channel in signal.channels]
        for signal in (panel.fused.signals if panel.fused else ())
    ]


def _seen(panel: RigState, channel: str) -> MemberState:
    report = panel.sync.get(channel)
    refused = panel.stream_of(channel.partition(":")[0]) in panel.refusals.standing
    if report is None:
        return MemberState(channel, None, None, None, False, refused)
    received = report.received > 0
    return MemberState(channel, report.state, report.lag_s, report.lag_sd_s, received, refused)


def _within(panel: RigState) -> str:
    """Return the bound as text."""
    if panel.fused is None or not compared(panel):
        return NOT_COMPARED.lower()
    bound = float(panel.fused.sync_bound_s[-1])
    if bound >= 1:
        return f"within {bound:.3g} s"
    return f"within {bound * 1e3:.2g} ms" if bound < 0.01 else f"within {bound * 1e3:.0f} ms"


def _streams(panel: RigState) -> str:
    live = sum(stream_state(panel, name) == "live" for name in panel.sources)
    return f"{live} of {len(panel.sources)} streams live"


def _missing(panel: RigState) -> dict[str, str]:
    """Return the members that are not live, with their state."""
    signals = panel.fused.signals if panel.fused else ()
    states = {c: panel.sync[c].state for s in signals for c in s.channels if c in panel.sync}
    return {c: state for c, state in states.items() if state != "live"}


def _named(missing: dict[str, str]) -> str:
    """Return the missing sources, each once, with their state."""
    by_state: dict[str, list[str]] = {}
    for channel, state in missing.items():
        names = by_state.setdefault("silent" if state in _SILENT else state, [])
        source = channel.partition(":")[0]
        if source not in names:
            names.append(source)
    return "; ".join(f"{_list(names)} {state}" for state, names in by_state.items())


def _list(names: Iterable[str]) -> str:
    first, *rest = names
    if len(rest) > 3:
        return f"{first} and {len(rest)} others"
    return ", ".join([first, *rest])


def _beyond(name: str, value: float) -> str:
    """Return a text on an indicator beyond its critical threshold; else empty."""
    budget = THRESHOLDS.get(name)
    if budget is None or value != value:
        return ""
    if value < budget.crit if budget.least else value > budget.crit:
        sign = "below" if budget.least else "above"
        return f"{name.replace('_', ' ')} {value:.3g} is {sign} {budget.crit:g}"
    return ""
