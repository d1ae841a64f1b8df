"""Grid ticks as the bridge judges them: indicators, hard stops, rules with actions.

Conditions are evaluated over the columns of a packet; the ticks are judged one by one, later.

State: that of the conditions' windows and of the watched rules. Cost: some numpy calls a packet,
and a few for each condition.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from operators.bridge.actions import Action, parse_action
from operators.bridge.bridge_config import BridgeConfig
from operators.bridge.trend import REPORTED_ENTROPY
from operators.conditions import Rule, RuleWatch, readable
from operators.conditions.expression import compile_expression
from operators.lines import EvidenceRecord
from operators.records import BRIDGE_NAMES, Fused
from operators.settings.plan import Plan
from operators.types import F64, MODES, State

_NO_MODE = MODES.index("none")


class RuleChange(NamedTuple):
    """A rule with actions that began (or ceased) to hold."""

    actions: tuple[Action, ...]
    record: EvidenceRecord


class GridTick(NamedTuple):
    """One grid tick.

    `indicators` are in the order of INDICATORS, `reported` is the entropy that the engine reports,
    else the fused one. `measured`: the mode is not `none`. `stop` is 1 if a hard stop is true, -1
    if none is, else 0. `value` is that of the signal of the reference, NaN without one.
    """

    ts: float
    released: float
    indicators: tuple[float, ...]
    reported: float
    measured: bool
    stop: float
    value: float
    changes: tuple[RuleChange, ...] = ()

    def snapshot(self) -> State:
        """Return the tick as plain values."""
        changes = [record_state(change.record) for change in self.changes]
        return {**self._asdict(), "indicators": list(self.indicators), "changes": changes}


def record_state(record: EvidenceRecord) -> State:
    """Return a record as plain values."""
    return {name: getattr(record, name) for name in record.__struct_fields__}


class GridTicks:
    """Reader of fused ticks."""

    def __init__(self, plan: Plan, config: BridgeConfig, rules: tuple[Rule, ...]) -> None:
        self._tick_hz = plan.tick_hz
        # A condition over values of the bridge itself would be a circle.
        columns = readable(plan)
        self._readable = {name: c for name, c in columns.items() if name not in BRIDGE_NAMES}
        names = tuple(self._readable)
        self._stops = [
            compile_expression(text, names, logical=True) for text in config.safety.hard_stop_on
        ]
        self._windows: list[State | None] = [None] * len(self._stops)
        self._rules = [RuleWatch(rule, names, plan.tick_hz) for rule in rules if rule.apply]
        watched = [watch.names for watch in self._rules] + [stop.names for stop in self._stops]
        read = dict.fromkeys(name for names in watched for name in names)
        self._read = [(name, self._readable[name]) for name in read]
        self._actions = {
            watch.rule.title: tuple(map(parse_action, watch.rule.apply)) for watch in self._rules
        }
        reported = [i for i, fact in enumerate(plan.facts) if fact.endswith(f":{REPORTED_ENTROPY}")]
        self._reported = reported[0] if reported else None
        signal = config.reference.signal if config.reference else None
        signals = [each.name for each in plan.signals]
        self._signal = signals.index(signal) if signal in signals else None

    @classmethod
    def from_snapshot(
        cls, state: State, plan: Plan, config: BridgeConfig, rules: tuple[Rule, ...]
    ) -> GridTicks:
        """Return the reader of a snapshot."""
        reader = cls(plan, config, rules)
        reader._windows = list(state["windows"])
        names = tuple(reader._readable)
        reader._rules = [
            RuleWatch.from_snapshot(each, watch.rule, names, plan.tick_hz)
            for watch, each in zip(reader._rules, state["rules"], strict=True)
        ]
        return reader

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "windows": list(self._windows),
            "rules": [watch.snapshot() for watch in self._rules],
        }

    def tick(self, state: State) -> GridTick:
        """Return a tick of a snapshot."""
        records = [EvidenceRecord(**record) for record in state["changes"]]
        changes = tuple(RuleChange(self._actions[r.rule], r) for r in records)
        indicators = tuple(state["indicators"])
        return GridTick(**{**state, "indicators": indicators, "changes": changes})

    def read(self, fused: Fused, rig: str) -> list[GridTick]:
        """Return the ticks of a packet."""
        first = round(float(fused.ts[0]) * self._tick_hz)
        ticks = range(first, first + len(fused))
        columns = {name: column.of(fused) for name, column in self._read}
        stop = self._stop(columns, ticks)
        changes: dict[int, list[RuleChange]] = {}
        for watch in self._rules:
            actions = self._actions[watch.rule.title]
            for at, since, firing in watch.changes(columns, ticks, fused.ts):
                record = watch.record(rig, fused.ts, columns, at, since, firing)
                changes.setdefault(at, []).append(RuleChange(actions, record))
        reported = fused.indicators[:, -1]
        if self._reported is not None:
            reported = fused.facts[:, self._reported]
        value = [math.nan] * len(fused)
        if self._signal is not None:
            value = fused.signals[self._signal].value.tolist()
        listed = zip(
            fused.ts.tolist(),
            fused.released.tolist(),
            fused.indicators.tolist(),
            reported.tolist(),
            fused.mode.tolist(),
            stop,
            value,
            strict=True,
        )
        return [
            GridTick(
                ts,
                known,
                tuple(five),
                entropy,
                mode != _NO_MODE,
                truth,
                x,
                tuple(changes[at]) if at in changes else (),
            )
            for at, (ts, known, five, entropy, mode, truth, x) in enumerate(listed)
        ]

    def _stop(self, columns: dict[str, F64], ticks: range) -> list[float]:
        """Return the truth of any hard stop, (k,)."""
        found: F64 | None = None
        for i, condition in enumerate(self._stops):
            truth, self._windows[i] = condition.evaluate(
                columns, ticks, self._tick_hz, self._windows[i]
            )
            found = truth if found is None else np.maximum(found, truth)
        return [-1.0] * len(ticks) if found is None else found.tolist()
