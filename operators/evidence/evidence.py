"""evidence: rules over fused ticks become findings.

A rule's condition is true, false or unknown at each tick (`operators.conditions.expression`). The
rule fires at the first tick at which the condition has been true without a break for `for_s` of
data time. It resolves at the first tick at which the condition is false and was last true at least
`keep_for_s` before. An unknown condition is no evidence: it interrupts the wait for `for_s`, and a
firing rule keeps firing, without limit. Only these two changes are written. The end of the data is
no change.

`facts` are the values read by the rule at the tick of the change. `since` is the tick at which the
firing condition became true.

Cost: a few numpy calls a rule and packet, and a loop over the changes. State: for each rule
four numbers, and at most 600 for each of its window functions. Losses: none.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from operators.conditions import Rule, RuleWatch, readable
from operators.records import Packet
from operators.settings.config_part import ConfigPart
from operators.settings.plan import Plan
from operators.types import State


class EvidenceConfig(ConfigPart, frozen=True, kw_only=True):
    """Files of rules, each a list of `Rule`; an empty list is no evidence."""

    rules: Annotated[
        list[str],
        Meta(
            description="Files of rules; at most 64.",
            examples=[["configs/rules/risk_map.yaml"]],
        ),
    ]


class Evidence:
    """The station.

    Parameters
    ----------
    plan : Plan
    rules : tuple of Rule
        Those with actions belong to the bridge, where there is one.

    Raises
    ------
    ExpressionError
        A `when` is no condition over `names(plan)`.
    """

    def __init__(self, plan: Plan, rules: tuple[Rule, ...]) -> None:
        rules = _without_actions(plan, rules)
        self._tick_hz = plan.tick_hz
        self._readable = readable(plan)
        self._rules = [RuleWatch(rule, tuple(self._readable), plan.tick_hz) for rule in rules]

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan, rules: tuple[Rule, ...]) -> Evidence:
        """Return the station of a snapshot.

        Raises
        ------
        ValueError
            The snapshot is of other rules.
        """
        rules = _without_actions(plan, rules)
        texts = [rule.when for rule in rules]
        if state["rules"] != texts:
            raise ValueError(f"the snapshot is of other rules: {state['rules']}, not {texts}")
        station = cls(plan, rules)
        station._rules = [
            RuleWatch.from_snapshot(each, rule, tuple(station._readable), plan.tick_hz)
            for rule, each in zip(rules, state["states"], strict=True)
        ]
        return station

    def update(self, packet: Packet) -> Packet:
        """Return the packet with the rules that began or ceased to hold, by tick, then by rule."""
        fused = packet.fused
        if fused is None or not len(fused) or not self._rules:
            return packet
        first = round(float(fused.ts[0]) * self._tick_hz)
        ticks = range(first, first + len(fused))
        read = dict.fromkeys(name for rule in self._rules for name in rule.names)
        columns = {name: self._readable[name].of(fused) for name in read}
        found = [
            (at, rule.record(packet.rig, fused.ts, columns, at, since, firing))
            for rule in self._rules
            for at, since, firing in rule.changes(columns, ticks, fused.ts)
        ]
        found.sort(key=lambda each: each[0])
        return replace(packet, evidence=packet.evidence + tuple(record for _, record in found))

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "rules": [rule.rule.when for rule in self._rules],
            "states": [rule.snapshot() for rule in self._rules],
        }


def _without_actions(plan: Plan, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    return tuple(rule for rule in rules if not (plan.bridge and rule.apply))
