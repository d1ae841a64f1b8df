"""Calibrator: advice on the gains from the phase errors of the last five minutes.

At each edge of `rebalance_window_s`, with |e| and mean(e) in cycles of a tick:

    95th percentile of |e| > 0.03   kp - 0.05, else
    |mean(e)| > drift_budget        ki - 0.02

With `apply` the change is made, once a window, until the gain is half of the configured one. It is
undone when a window is good. The constant change of the tick that the first rule of thumb advised
(`tick_delta_ms`) is recorded only: it throws a locked loop out of lock.

State: at most `MAX_ERRORS` phase errors. Cost: 0.2 us a beat, 1 ms a window.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Literal, NamedTuple

import numpy as np

from operators.bridge.actions import Actions, changes, parse_action
from operators.bridge.bridge_config import PhaseConfig
from operators.bridge.gains_in_force import Gains
from operators.bridge.trend import KNOWN_PART, quantile
from operators.lines import EvidenceRecord
from operators.types import State

RULE = "calibrate"
LOOK_BACK_S = 300.0
MAX_ERRORS = 7_500
"""300 s at 25 Hz; faster beats shorten the look back."""
P95_BUDGET = 0.03
"""95th percentile of |e| beyond which kp is lowered (cycles)."""


class _Advice(NamedTuple):
    text: str
    tick_delta_ms: float


KP_DOWN = _Advice("decrease kp by 0.05", 15.0)
KI_DOWN = _Advice("decrease ki by 0.02", 8.0)


class Calibrator:
    """Advice, its records, and with `apply` its changes.

    Parameters
    ----------
    mode : off, advise or apply
    phase : PhaseConfig
    """

    def __init__(self, mode: Literal["off", "advise", "apply"], phase: PhaseConfig) -> None:
        self._mode = mode
        self._window_s, self._drift_budget = phase.rebalance_window_s, phase.drift_budget
        self._errors: deque[tuple[float, float]] = deque(maxlen=MAX_ERRORS)
        self._edge = math.nan
        self._advice = ""
        self._since = math.nan

    @classmethod
    def from_snapshot(
        cls, state: State, mode: Literal["off", "advise", "apply"], phase: PhaseConfig
    ) -> Calibrator:
        """Return the calibrator of a snapshot."""
        found = cls(mode, phase)
        found._errors.extend(map(tuple, state["errors"].tolist()))
        found._edge, found._advice, found._since = state["edge"], state["advice"], state["since"]
        return found

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "errors": np.array(self._errors, np.float64).reshape(-1, 2),
            "edge": self._edge,
            "advice": self._advice,
            "since": self._since,
        }

    def add(self, ts: float, error: float) -> None:
        """Add the phase error (cycles, -0.5 to 0.5) of a beat at ts (s)."""
        if self._mode != "off" and math.isfinite(ts) and abs(error) <= 0.5:
            self._errors.append((ts, error))

    def tick(
        self, ts: float, rig: str, actions: Actions, configured: Gains
    ) -> tuple[EvidenceRecord, ...]:
        """Judge the last five minutes at the first grid tick of a window; not in state E4.

        Parameters
        ----------
        ts : float
            The grid tick (s).
        rig : str
        actions : Actions
            Those in force; with `apply` it takes the changes, as of rule `calibrate`.
        configured : Gains
            The gains without any change.

        Returns
        -------
        tuple of EvidenceRecord
        """
        if self._mode == "off" or not math.isfinite(ts):
            return ()
        edge = math.floor(ts / self._window_s)
        due = edge != self._edge and not math.isnan(self._edge)
        self._edge = edge
        recent = [(at, e) for at, e in self._errors if -LOOK_BACK_S < at - ts <= 0] if due else []
        if not recent or not self._covers(recent):
            return ()
        p95 = quantile(sorted(abs(e) for _, e in recent), 0.95)
        mean = math.fsum(e for _, e in recent) / len(recent)
        advice = None
        if p95 > P95_BUDGET:
            advice = KP_DOWN
        elif abs(mean) > self._drift_budget:
            advice = KI_DOWN
        facts: dict[str, float | None] = {"phase_error_p95_5m": p95, "phase_error_mean_5m": mean}
        found = self._advise(ts, advice, facts, actions, configured)
        return tuple(
            EvidenceRecord(
                ts=ts,
                rig=rig,
                rule=RULE,
                kind="risk",
                state=state,
                severity=None,
                risk="phase_error",
                action=text,
                quote=None,
                facts=facts,
                since=self._since,
            )
            for state, text in found
        )

    def _covers(self, recent: list[tuple[float, float]]) -> bool:
        """Whether the beats span the least part of a window."""
        times = [at for at, _ in recent]
        least = KNOWN_PART * min(self._window_s, LOOK_BACK_S)
        return max(times) - min(times) >= least

    def _advise(
        self,
        ts: float,
        advice: _Advice | None,
        facts: dict[str, float | None],
        actions: Actions,
        configured: Gains,
    ) -> list[tuple[Literal["firing", "resolved"], str]]:
        """Change the gains if asked for; return ended and new advice, and add to the facts."""
        text = advice.text if advice else ""
        before, earlier = actions.gains(configured), actions.of(RULE)
        actions.take(RULE, (*earlier, parse_action(text)) if advice else ())
        after = actions.gains(configured)
        applied = self._mode == "apply" and before != after
        if advice and not applied:
            actions.take(RULE, earlier)
        if text == self._advice and not applied:
            return []
        for term, old, new in changes(before, after):
            facts |= {term: old, f"{term}_after": new}
        found: list[tuple[Literal["firing", "resolved"], str]] = []
        if self._advice:
            found.append(("resolved", self._advice))
        else:
            self._since = ts
        if advice:
            facts["tick_delta_ms"] = advice.tick_delta_ms
            found.append(("firing", text))
        self._advice = text
        return found
