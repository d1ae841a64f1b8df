"""A rule, and its state while ticks go by: when it fires and when it resolves."""

from __future__ import annotations

import math
import re
from copy import deepcopy
from typing import Annotated

import numpy as np
from msgspec import Meta

from operators.conditions.expression import compile_expression
from operators.lines import EvidenceRecord
from operators.settings.config_part import ConfigPart, Rest
from operators.types import F64, State

MAX_APPLY = 8
"""Actions of a rule."""


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
    apply : tuple of str
        Actions of the bridge while the rule fires (`operators.bridge.actions`).
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
    apply: Annotated[
        tuple[str, ...],
        Meta(
            max_length=MAX_APPLY,
            description="Actions of the bridge while the rule fires: changes of a gain,"
            " `safety gain 0.9`, `hard stop`.",
            examples=[["increase kd by 0.02"]],
        ),
    ] = ()

    @property
    def title(self) -> str:
        """Name of its records."""
        return self.name or self.risk or "_".join(re.findall(r"\w+", self.when))


class RuleWatch:
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
    ) -> RuleWatch:
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
        """Return the state as plain values."""
        return deepcopy(
            {
                "since": self._since,
                "begun": self._begun,
                "begun_ts": self._begun_ts,
                "last": self._last,
                "windows": self._windows,
            }
        )
