"""The verdict of each gate from the answers of a Prometheus, and the verdict of all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Literal, TypeAlias

import msgspec

from ops.gate.gates import BURN_ALERTS, GATES, MIN_COVERED, PromotionGate
from ops.gate.queries import QueryError, RuleState, alerts, last_two, number, together

Verdict: TypeAlias = Literal["GO", "NO-GO", "UNKNOWN"]
EXIT_CODES: dict[Verdict, int] = {"GO": 0, "NO-GO": 1, "UNKNOWN": 3}
NAMES = tuple(gate.name for gate in GATES)
_Answer: TypeAlias = float | list[list[float]] | list[RuleState] | None


class GateResult(msgspec.Struct):
    """One gate: its verdict with the numbers behind it.

    `value` is that of the first condition; `covered` the least covered part of the window, 0 to 1.
    """

    name: str
    verdict: Verdict
    value: float | None
    bound: str
    window: str
    covered: float | None
    needed: float
    required: bool
    expression: str
    reason: str


class Judgement(msgspec.Struct):
    """All gates: the time (s), the server and the verdict."""

    ts: float
    prometheus: str
    verdict: Verdict
    gates: list[GateResult]


def judge(
    url: str,
    now: Callable[[], float],
    required: Collection[str] = NAMES,
    covered: float = MIN_COVERED,
) -> Judgement:
    """Ask a Prometheus for all gates.

    Parameters
    ----------
    url : str
    now : callable
        Host time (s).
    required : collection of str
        Gates that may not be unknown.
    covered : float
        Least covered part of an error budget's window.
    """
    plans = [_questions(url, gate, now) for gate in GATES]
    answers = together([question for plan in plans for question in plan])
    results, at = [], 0
    for gate, plan in zip(GATES, plans, strict=True):
        part = answers[at : at + len(plan)]
        at += len(plan)
        results.append(_result(gate, part, gate.name in required, covered))
    return Judgement(now(), url, total(results), results)


def total(results: Sequence[GateResult]) -> Verdict:
    """Return the verdict of all gates: the worst, of unknown ones only if required."""
    if any(result.verdict == "NO-GO" for result in results):
        return "NO-GO"
    unknown = any(result.verdict == "UNKNOWN" and result.required for result in results)
    return "UNKNOWN" if unknown or not any(r.verdict == "GO" for r in results) else "GO"


def _questions(
    url: str, gate: PromotionGate, now: Callable[[], float]
) -> list[Callable[[], _Answer]]:
    """Return the questions of a gate: its conditions, covered parts, and its note."""
    if gate.kind == "alerts":
        return [partial(alerts, url)]
    if gate.kind == "last_two":
        return [partial(last_two, url, gate.conditions[0].expr, now)]
    texts = [condition.expr for condition in gate.conditions] + list(gate.covered)
    texts += [gate.note.partition(" = ")[2]] if gate.note else []
    return [partial(number, url, text, now) for text in texts]


def _result(
    gate: PromotionGate, answers: Sequence[_Answer | QueryError], required: bool, adjusted: float
) -> GateResult:
    needed = adjusted if gate.adjustable else gate.needed
    made = GateResult(
        name=gate.name,
        verdict="UNKNOWN",
        value=None,
        bound=" and ".join(condition.text() for condition in gate.conditions),
        window=gate.window,
        covered=None,
        needed=needed,
        required=required,
        expression=" ; ".join(condition.expr for condition in gate.conditions),
        reason="",
    )
    failed = [answer for answer in answers if isinstance(answer, QueryError)]
    if failed:
        made.reason = str(failed[0])
        return made
    if gate.kind == "alerts":
        return _of_alerts(gate, made, answers[0])
    if gate.kind == "last_two":
        return _of_last_two(gate, made, answers[0])
    values = [answer if isinstance(answer, float) else None for answer in answers]
    n, m = len(gate.conditions), len(gate.covered)
    made.value = values[0]
    parts = values[n : n + m]
    known = [part for part in parts if part is not None]
    made.covered = min(known) if m and len(known) == m else None
    if m and (made.covered is None or made.covered < needed):
        shown = f"{made.covered or 0:.0%} covered, {needed:.0%} needed"
        made.reason = gate.missing if made.covered is None else shown
        return made
    broken = [
        f"{condition.expr} is {value:g}"
        for condition, value in zip(gate.conditions, values[:n], strict=True)
        if value is not None and not condition.holds(value)
    ]
    if broken:
        made.verdict, made.reason = "NO-GO", "; ".join(broken)
    elif None in values[:n]:
        made.reason = gate.missing
    else:
        made.verdict = "GO"
        made.reason = _note(gate, values[n + m] if gate.note else None)
    return made


def _note(gate: PromotionGate, value: float | None) -> str:
    return "" if value is None else f"{gate.note.partition(' = ')[0]} {value:g}"


def _of_last_two(gate: PromotionGate, made: GateResult, answer: object) -> GateResult:
    """Judge the last two samples of each series, the worst first."""
    pairs = answer if isinstance(answer, list) else []
    if not pairs or any(len(pair) < 2 for pair in pairs):
        made.reason = gate.missing
        return made
    condition = gate.conditions[0]
    made.value = min(min(pair) for pair in pairs)
    made.covered = 1.0
    made.verdict = "GO" if condition.holds(made.value) else "NO-GO"
    if made.verdict != "GO":
        made.reason = f"{made.value:g} among the last two of {len(pairs)} series"
    return made


def _of_alerts(gate: PromotionGate, made: GateResult, answer: object) -> GateResult:
    """Judge the alerts on error budgets: all have to be loaded and evaluated."""
    rules: list[RuleState] = answer if isinstance(answer, list) else []
    burns = {
        (rule.labels.get("family", ""), rule.labels.get("severity", "")): rule
        for rule in rules
        if (rule.labels.get("family"), rule.labels.get("severity")) in BURN_ALERTS
    }
    firing = sorted(
        rule.name
        for rule in burns.values()
        if any(alert.state == "firing" for alert in rule.alerts)
    )
    if firing:
        made.value, made.verdict = float(len(firing)), "NO-GO"
        made.reason = f"{', '.join(firing)} fires"
    elif burns.keys() != BURN_ALERTS:
        made.reason = gate.missing
    elif ill := [rule.name for rule in burns.values() if rule.health != "ok"]:
        made.reason = f"{ill[0]} is not evaluated"
    else:
        made.value, made.verdict = 0.0, "GO"
    return made
