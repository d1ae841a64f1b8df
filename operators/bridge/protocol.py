"""The five states of the bridge, as one table; and the hard stop beside them.

`TABLE` is the protocol: rows of one state are judged in order at each grid tick, and the first one
reached is the change, at most one a tick. The runbook's table, the diagrams and the label pairs of
`bridge_transitions_total` are made from it.

A condition is met if all its limits hold; an unknown quantity (NaN) fails every limit. A dwell
counts grid ticks in a row, from the tick after the state was entered:

- `since`: ticks in the state; the condition must hold at the last of them only;
- `met`: ticks at which the condition is met;
- `unmet`: ticks at which it is not.

A dwell of d seconds is ceil(d tick_hz) ticks, at least one. Missing grid ticks interrupt a `met`
dwell; they neither count in the others nor interrupt them.

State: a count for each row of the state in force, and of each pair of states. Cost: 3 us a tick.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec

from operators.bridge.bridge_config import PhaseConfig, ProtocolConfig, SafetyConfig
from operators.bridge.hard_stop import HardStop
from operators.types import BRIDGE_STATES, BridgeState, BridgeWhy, State

DRIFT_BUDGET = PhaseConfig().drift_budget
TOLERANCE = 1e-6
"""Part of a tick that decimal seconds may lose on the grid."""
RELEASE: Literal["bridge.release"] = "bridge.release"
ROLLBACK: Literal["bridge.rollback"] = "bridge.rollback"

Dwell = Literal["since", "met", "unmet", "hand"]
Relation = Literal[">=", "<=", ">"]


class Judged(NamedTuple):
    """Quantities of one grid tick; NaN is unknown."""

    present: bool
    """The reference is present; without one, the mode is not `none`."""
    sync: float
    phase: float
    """Phase difference (cycles)."""
    entropy: float
    residual: float
    """Standard deviation of the entropy over 10 min."""
    ratio: float
    """Rollback ratio over 5 min."""


class Limit(NamedTuple):
    """A quantity of `Judged` beside a threshold, the field `key` of the configuration."""

    quantity: str
    relation: Relation
    key: str


class ProtocolRow(NamedTuple):
    """One way out of a state; `key` is the field of its dwell, empty for one tick."""

    state: BridgeState
    to: BridgeState
    why: BridgeWhy
    condition: tuple[Limit, ...] = ()
    dwell: Dwell = "hand"
    key: str = ""


PRESENT = (Limit("present", ">=", "present"),)
HOLD = (Limit("sync", ">=", "sync_hold"),)
GOOD = (Limit("sync", ">=", "sync_bridged"), Limit("phase", "<=", "drift_budget"))
ENTROPIC = (Limit("entropy", ">", "entropy_guard"),)
CALM = (Limit("entropy", "<=", "entropy_guard"), *GOOD)
STEADY = (Limit("residual", "<=", "residual_stddev_10m_max"),)
RATIO = (Limit("ratio", ">", "rollback_ratio_5m_max"),)

TABLE: tuple[ProtocolRow, ...] = (
    ProtocolRow("E0", "E1", "present",  PRESENT,  "since", "idle_s"),
    ProtocolRow("E1", "E2", "good",     GOOD,     "met"),
    ProtocolRow("E1", "E0", "unmet",    HOLD,     "unmet", "syncing_s"),
    ProtocolRow("E2", "E4", "ratio",    RATIO,    "met"),
    ProtocolRow("E2", "E1", "unmet",    GOOD,     "unmet", "bridged_s"),
    ProtocolRow("E2", "E3", "entropy",  ENTROPIC, "met",   "guard_s"),
    ProtocolRow("E3", "E4", "ratio",    RATIO,    "met"),
    ProtocolRow("E3", "E1", "residual", STEADY,   "unmet", "guarded_s"),
    ProtocolRow("E3", "E2", "calm",     CALM,     "met",   "calm_s"),
    ProtocolRow("E4", "E1", "release"),
    ProtocolRow("E0", "E4", "rollback"),
    ProtocolRow("E1", "E4", "rollback"),
    ProtocolRow("E2", "E4", "rollback"),
    ProtocolRow("E3", "E4", "rollback"),
)  # fmt: skip
TRANSITIONS: tuple[tuple[BridgeState, BridgeState], ...] = tuple(
    dict.fromkeys((row.state, row.to) for row in sorted(TABLE, key=lambda row: row[:2]))
)
"""The pairs of states between which a change exists."""
SENT: tuple[BridgeState, ...] = ("E2", "E3")
"""States in which ticks are sent; they are withheld in the others."""
_WANTED: tuple[BridgeWhy, ...] = ("present", "good", "calm")
"""Causes of the changes for the better, the unmet conditions of which are shown."""
_OPERATORS: dict[Relation, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
}
_INDEX = {name: index for index, name in enumerate(Judged._fields)}
_Test = tuple[int, Callable[[float, float], bool], float]


class Change(NamedTuple):
    """A change of state at `ts` (s), a grid tick or the instant of a command."""

    ts: float
    before: BridgeState
    after: BridgeState
    why: BridgeWhy


class _Watched(NamedTuple):
    row: ProtocolRow
    tests: tuple[_Test, ...]
    ticks: int


class Protocol:
    """The state in force.

    Parameters
    ----------
    config : ProtocolConfig
    safety : SafetyConfig
    tick_hz : float
        Rate of the grid.
    drift_budget : float
        Largest phase difference of state E2 (cycles).

    Attributes
    ----------
    state : BridgeState
    since : float
        Grid tick, or instant of the command, since which it is in force; NaN before the first.
    hard_stop : HardStop
        To be updated before `tick`.
    transitions : dict
        Changes by pair of states, since the start.
    """

    def __init__(
        self,
        config: ProtocolConfig,
        safety: SafetyConfig,
        tick_hz: float,
        drift_budget: float = DRIFT_BUDGET,
    ) -> None:
        self._values = bounds(config, safety, drift_budget)
        self._tick_hz = tick_hz
        self._guarded_gain = safety.guarded_gain
        self._watched = {state: self._rows(state) for state in BRIDGE_STATES}
        self.state: BridgeState = "E0"
        self.since = math.nan
        self.hard_stop = HardStop(safety.hard_stop_keep_s)
        self.transitions = dict.fromkeys(TRANSITIONS, 0)
        self._newest = math.nan
        self._judged = Judged(False, *(math.nan,) * 5)
        self._counts = [0] * len(self._watched[self.state])

    @classmethod
    def from_snapshot(
        cls,
        state: State,
        config: ProtocolConfig,
        safety: SafetyConfig,
        tick_hz: float,
        drift_budget: float = DRIFT_BUDGET,
    ) -> Protocol:
        """Return the protocol of a snapshot."""
        found = cls(config, safety, tick_hz, drift_budget)
        found.state, found.since, found._newest = state["state"], state["since"], state["newest"]
        found.hard_stop = HardStop.from_snapshot(state["hard_stop"], safety.hard_stop_keep_s)
        found.transitions = dict(zip(TRANSITIONS, state["transitions"], strict=True))
        found._judged = Judged(*state["judged"])
        found._counts = list(state["counts"])
        return found

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "state": self.state,
            "since": self.since,
            "newest": self._newest,
            "hard_stop": self.hard_stop.snapshot(),
            "transitions": list(self.transitions.values()),
            "judged": list(self._judged),
            "counts": list(self._counts),
        }

    @property
    def withheld(self) -> bool:
        """Whether ticks are made but not sent."""
        return self.state not in SENT or self.hard_stop.holds

    @property
    def safety_gain(self) -> float:
        """1, `guarded_gain` in E3, 0 while ticks are withheld."""
        if self.withheld:
            return 0.0
        return self._guarded_gain if self.state == "E3" else 1.0

    def tick(self, ts: float, judged: Judged) -> Change | None:
        """Judge a grid tick (s); return the change of state, if any."""
        if math.isnan(self.since):
            self.since = ts
        period = 1 / self._tick_hz
        consecutive = abs(ts - self._newest - period) < period / 2
        if not all(map(math.isfinite, judged)):
            known = (x if math.isfinite(x) else math.nan for x in judged[1:])
            judged = Judged(judged.present, *known)
        self._newest, self._judged = ts, judged
        reached: ProtocolRow | None = None
        counts = self._counts
        for i, (row, tests, ticks) in enumerate(self._watched[self.state]):
            met = _met(tests, judged)
            if row.dwell == "since":
                count = counts[i] + 1
            elif row.dwell == "met":
                count = (counts[i] if consecutive else 0) + 1 if met else 0
            else:
                count = 0 if met else counts[i] + 1
            counts[i] = min(count, ticks)
            if reached is None and count >= ticks and (met or row.dwell == "unmet"):
                reached = row
        return self._change(ts, reached) if reached else None

    def command(self, command: str, ts: float) -> Change | None:
        """Obey `bridge.release` or `bridge.rollback` at ts (s); return the change, if any."""
        for row in TABLE:
            if row.state == self.state and row.dwell == "hand" and command == f"bridge.{row.why}":
                return self._change(ts, row)
        return None

    def sentences(self) -> tuple[str, ...]:
        """Return each dwell that runs and each unmet condition, with the state that follows."""
        found: list[str] = []
        watched = self._watched[self.state]
        for (row, tests, ticks), count in zip(watched, self._counts, strict=True):
            met = _met(tests, self._judged)
            if row.dwell == "since" or (count and ticks > 1):
                passed = f"{count / self._tick_hz:.0f} s of {self._values[row.key]:g} s"
                reasons = self._reasons(row, tests, met)
                found.append(f"{row.state}, {passed} {reasons}; then {row.to}")
            elif not met and row.why in _WANTED:
                found.append(f"{row.state} {self._reasons(row, tests, met)}; {row.to} once met")
        if self.state == "E4":
            found.append("E4 until `lumen bridge release`; then E1")
        if self.hard_stop.holds:
            keep_s = self._values["hard_stop_keep_s"]
            found.append(f"hard stop until its conditions are false, and {keep_s:g} s longer")
        return tuple(found)

    def _reasons(self, row: ProtocolRow, tests: tuple[_Test, ...], met: bool) -> str:
        """Return the sides of the limits that are not held, of all of them where all are."""
        return " and ".join(
            _reason(limit.quantity, value, bound)
            for limit, (index, holds, bound) in zip(row.condition, tests, strict=True)
            if not holds(value := self._judged[index], bound) or met
        )

    def _change(self, ts: float, row: ProtocolRow) -> Change:
        # Grid ticks are older than a command: no change is dated before the one that it follows.
        ts = max(ts, self.since)
        change = Change(ts, row.state, row.to, row.why)
        self.state, self.since = row.to, ts
        self.transitions[row.state, row.to] += 1
        self._counts = [0] * len(self._watched[row.to])
        return change

    def _rows(self, state: BridgeState) -> tuple[_Watched, ...]:
        return tuple(
            _Watched(
                row,
                tuple(
                    (_INDEX[limit.quantity], _OPERATORS[limit.relation], self._values[limit.key])
                    for limit in row.condition
                ),
                _ticks(self._values[row.key] if row.key else 0.0, self._tick_hz),
            )
            for row in TABLE
            if row.state == state and row.dwell != "hand"
        )


def bounds(
    config: ProtocolConfig, safety: SafetyConfig, drift_budget: float = DRIFT_BUDGET
) -> dict[str, float]:
    """Return the thresholds and dwells by the keys of `TABLE`."""
    fields = {**msgspec.structs.asdict(config), **msgspec.structs.asdict(safety)}
    return {**fields, "drift_budget": drift_budget, "present": True}


def _ticks(dwell_s: float, tick_hz: float) -> int:
    return max(1, math.ceil(dwell_s * tick_hz - TOLERANCE))


def _met(tests: tuple[_Test, ...], judged: Judged) -> bool:
    for index, holds, bound in tests:  # noqa: SIM110 - the generator of all() takes twice the time
        if not holds(judged[index], bound):
            return False
    return True


def _reason(quantity: str, value: float, bound: float) -> str:
    """Return the side of a limit on which a quantity is."""
    if quantity == "present":
        return "with data present" if value else "with nothing present"
    if math.isnan(value):
        return f"with {quantity} unknown"
    side = "below" if value < bound else "above" if value > bound else "at"
    return f"{side} {quantity} {bound:g}"
