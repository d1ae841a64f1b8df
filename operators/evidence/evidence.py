"""evidence: rules over fused ticks become findings.

A rule's condition is true, false or unknown at each tick (`operators.evidence.expression`). The
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

import math
import re
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from msgspec.structs import replace

from operators.evidence.expression import KEYWORDS, compile_expression
from operators.lines import EvidenceRecord
from operators.records import BRIDGE_NAMES, INDICATORS, Fused, Packet
from operators.settings.config_part import ConfigPart, Rest
from operators.settings.plan import Plan
from operators.types import F64, State

SECOND_NAMES = {
    "coherence_level": "coherence",
    "harmony_index": "harmony",
    "phase_diff_mean": "phase_diff",
}
"""Further names of indicators."""


class EvidenceConfig(ConfigPart, frozen=True, kw_only=True):
    """Files of rules, each a list of `Rule`; an empty list is no evidence."""

    rules: Annotated[
        list[str],
        Meta(
            description="Files of rules; at most 64.",
            examples=[["configs/rules/risk_map.yaml"]],
        ),
    ]


class Rule(ConfigPart, frozen=True, kw_only=True):
    """One rule.

    Attributes
    ----------
    when : str
        The condition, over `names(plan)`.
    name : str or None
        Name of its records; default: its risk, else its condition as an identifier.
    for_s : float
        Time for which the condition must be true before the rule fires (s, data time).
    keep_for_s : float
        Time after the last true tick for which the rule keeps firing (s, data time).
    severity, risk, action, quote : str or None
        Copied to the records; a rule with a quote is of kind `quote`, else `risk`.
    """

    when: Annotated[
        str,
        Meta(
            description="Condition over indicators, signals and facts.",
            examples=["phase_diff > 0.025"],
        ),
    ]
    name: Annotated[
        str | None,
        Meta(
            description="Name of the records; else the risk, else the condition.",
            examples=["clarity"],
        ),
    ] = None
    for_s: Annotated[
        Rest,
        Meta(
            description="Data time for which the condition must hold before the rule fires.",
            examples=[10.0],
        ),
    ] = 0.0
    keep_for_s: Annotated[
        Rest,
        Meta(
            description="Data time for which the rule still fires after the condition last held.",
            examples=[15.0],
        ),
    ] = 0.0
    severity: Annotated[
        str | None, Meta(description="Copied to the records.", examples=["warning"])
    ] = None
    risk: Annotated[
        str | None, Meta(description="Copied to the records.", examples=["sync_degradation"])
    ] = None
    action: Annotated[
        str | None, Meta(description="Copied to the records.", examples=["Increase kd by 0.02."])
    ] = None
    quote: Annotated[
        str | None,
        Meta(
            description="Copied to the records; a rule with a quote is of kind `quote`.",
            examples=["Clarity invites harmony."],
        ),
    ] = None

    @property
    def title(self) -> str:
        """Name of its records."""
        return self.name or self.risk or "_".join(re.findall(r"\w+", self.when))


@dataclass(frozen=True, slots=True)
class RuleColumn:
    """Source of a name's values in a `Fused`."""

    kind: Literal["indicator", "bound", "estimate", "live", "signal", "sd", "fact", "bridge"]
    index: int = 0

    def of(self, fused: Fused) -> F64:
        """Return one value a tick; NaN is unknown."""
        match self.kind:
            case "indicator":
                return fused.indicators[:, self.index]
            case "bound":
                return fused.sync_bound_s
            case "estimate":
                return fused.sync_estimate_bound_s
            case "live":
                return fused.live.astype(np.float64)
            case "signal":
                return fused.signals[self.index].value
            case "sd":
                return fused.signals[self.index].sd
            case "fact":
                return fused.facts[:, self.index]
            case "bridge":
                return fused.bridge[:, self.index]


def _identifier(text: str) -> str:
    """Return the text as one identifier."""
    name = re.sub(r"\W", "_", text)
    return f"_{name}" if name[:1].isdecimal() or not name else name


def readable(plan: Plan) -> dict[str, RuleColumn]:
    """Return each name that an expression may read.

    The five indicators, `sync_bound_s`, `sync_estimate_bound_s`, `live` (present channels), the
    names of the bridge where there is one, `<signal>`, `<signal>_sd`, for each fact its key, and
    second names of indicators. Characters that are illegal in identifiers become `_`. If a name is
    taken, the later entry gets a longer one: `signal_<signal>`, or the whole channel name of a
    fact. If that is taken too, it cannot be read.
    """
    columns = {name: RuleColumn("indicator", i) for i, name in enumerate(INDICATORS)}
    columns |= {
        "sync_bound_s": RuleColumn("bound"),
        "sync_estimate_bound_s": RuleColumn("estimate"),
        "live": RuleColumn("live"),
    }
    if plan.bridge:
        columns |= {name: RuleColumn("bridge", i) for i, name in enumerate(BRIDGE_NAMES)}
    wanted: list[tuple[str, str, RuleColumn]] = []
    for i, signal in enumerate(plan.signals):
        name = _identifier(signal.name)
        wanted.append((name, f"signal_{name}", RuleColumn("signal", i)))
        wanted.append((f"{name}_sd", f"signal_{name}_sd", RuleColumn("sd", i)))
    for i, channel in enumerate(plan.facts):
        key = channel.partition(":")[2] or channel
        wanted.append((_identifier(key), _identifier(channel), RuleColumn("fact", i)))
    for short, long, column in wanted:
        columns.setdefault(long if short in columns or short in KEYWORDS else short, column)
    for second, name in SECOND_NAMES.items():
        columns.setdefault(second, columns[name])
    return columns


def names(plan: Plan) -> tuple[str, ...]:
    """Return the names that a rule may read, in the order of `readable`."""
    return tuple(readable(plan))


class Evidence:
    """The station.

    Parameters
    ----------
    plan : Plan
    rules : tuple of Rule

    Raises
    ------
    ExpressionError
        A `when` is no condition over `names(plan)`.
    """

    def __init__(self, plan: Plan, rules: tuple[Rule, ...]) -> None:
        self._tick_hz = plan.tick_hz
        self._readable = readable(plan)
        self._rules = [_RuleState(rule, tuple(self._readable), plan.tick_hz) for rule in rules]

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan, rules: tuple[Rule, ...]) -> Evidence:
        """Return the station of a snapshot.

        Raises
        ------
        ValueError
            The snapshot is of other rules.
        """
        texts = [rule.when for rule in rules]
        if state["rules"] != texts:
            raise ValueError(f"the snapshot is of other rules: {state['rules']}, not {texts}")
        station = cls(plan, rules)
        station._rules = [
            _RuleState.from_snapshot(each, rule, tuple(station._readable), plan.tick_hz)
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


class _RuleState:
    """State of one rule.

    `since` (s) is set while it fires. `begun` (tick, and `begun_ts` in s) is the beginning of the
    run of true ticks up to the newest tick, None without one. `last` is the last true tick.
    """

    def __init__(self, rule: Rule, readable: tuple[str, ...], tick_hz: float) -> None:
        self.rule = rule
        self._expression = compile_expression(rule.when, readable, logical=True)
        self.names = self._expression.names
        self._tick_hz = tick_hz
        self._since: float | None = None
        self._begun: int | None = None
        self._begun_ts = 0.0
        self._last = 0
        self._windows: State | None = None

    @classmethod
    def from_snapshot(
        cls, state: State, rule: Rule, readable: tuple[str, ...], tick_hz: float
    ) -> _RuleState:
        """Return the rule's state of a snapshot."""
        found = cls(rule, readable, tick_hz)
        found._since, found._windows = state["since"], state["windows"]
        found._begun, found._begun_ts = state["begun"], state["begun_ts"]
        found._last = state["last"]
        return found

    def changes(
        self, columns: dict[str, F64], ticks: range, ts: F64
    ) -> list[tuple[int, float, bool]]:
        """Return (position, since, whether it fires from then on) of each change."""
        if self._windows is None or self._windows["next"] != ticks.start:
            self._begun = None  # the ticks between are unknown
            self._last = min(self._last, ticks.start - 1)
        truth, self._windows = self._expression.evaluate(
            columns, ticks, self._tick_hz, self._windows
        )
        true = truth > 0
        at = np.arange(len(ticks))
        run = 0 if self._begun is None else self._begun - ticks.start
        broken = np.maximum.accumulate(np.where(true, -1, at))
        begun = np.where(broken < 0, run, broken + 1)
        last = np.maximum.accumulate(np.where(true, at, self._last - ticks.start))
        # Decimal seconds may lose up to a millionth of a tick on the grid.
        waited, kept = (s * self._tick_hz - 1e-6 for s in (self.rule.for_s, self.rule.keep_for_s))
        fires = np.flatnonzero(true & (at - begun >= waited))
        ends = np.flatnonzero((truth < 0) & (at - last >= kept))

        def begun_ts(position: int) -> float:
            start = int(begun[position])
            return self._begun_ts if start < 0 else float(ts[start])

        changes: list[tuple[int, float, bool]] = []
        position = 0
        while True:
            following = fires if self._since is None else ends
            index = int(np.searchsorted(following, position))
            if index == len(following):
                break
            position = int(following[index])
            if self._since is None:
                self._since = begun_ts(position)
                changes.append((position, self._since, True))
            else:
                changes.append((position, self._since, False))
                self._since = None
            position += 1
        if true[-1]:
            self._begun, self._begun_ts = ticks.start + int(begun[-1]), begun_ts(-1)
        else:
            self._begun = None
        self._last = ticks.start + int(last[-1])
        return changes

    def record(
        self, rig: str, ts: F64, columns: dict[str, F64], at: int, since: float, firing: bool
    ) -> EvidenceRecord:
        """Return the evidence line of a change at position `at`."""
        values = {name: float(columns[name][at]) for name in self.names}
        return EvidenceRecord(
            ts=float(ts[at]),
            rig=rig,
            rule=self.rule.title,
            kind="quote" if self.rule.quote else "risk",
            state="firing" if firing else "resolved",
            severity=self.rule.severity,
            risk=self.rule.risk,
            action=self.rule.action,
            quote=self.rule.quote,
            facts={name: v if math.isfinite(v) else None for name, v in values.items()},
            since=since,
        )

    def snapshot(self) -> State:
        return deepcopy(
            {
                "since": self._since,
                "begun": self._begun,
                "begun_ts": self._begun_ts,
                "last": self._last,
                "windows": self._windows,
            }
        )
