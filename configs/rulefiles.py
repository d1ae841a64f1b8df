"""Rule files: a list of rules, or `rules:` with one, each condition checked by character.

The first versions had `if:` and `match:` in place of `when:`; both are still read, and so is the
one sentence that was a condition then.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from configs.document import BAD, DataPath, Document, Fault, read
from configs.typed import convert, found, show, value_at
from operators.bridge.actions import ActionError, parse_action
from operators.bridge.calibrator import RULE as CALIBRATE
from operators.conditions import Rule
from operators.conditions.expression import ExpressionError, compile_expression
from operators.records import BRIDGE_NAMES

SYNONYMS = ("if", "match")
_EFFECT = re.compile(rf"\b(?:{'|'.join(BRIDGE_NAMES)})\b")
SENTENCES = {
    "coherence improves with lower entropy": (
        "slope(coherence, 60s) > 0 and slope(entropy_ratio, 60s) < 0"
    ),
}


def load_rules(
    path: str,
    names: Collection[str] | None,
    titles: dict[str, str],
    environ: Mapping[str, str],
    *,
    bridge: bool = True,
) -> tuple[tuple[Rule, ...], list[Fault]]:
    """Read a rule file.

    Parameters
    ----------
    path : str
    names : collection of str or None
        Names that a condition may use; None where they are unknown: conditions are not checked.
    titles : dict
        Titles of the rules read so far, and their places; those of this file are added.
    environ : mapping
        For `${NAME}`.
    bridge : bool
        Whether there is a bridge, on which the actions of a rule act.

    Returns
    -------
    rules, faults
        Rules only where there is no fault.
    """
    document = read(path, environ)
    rules: list[Rule] = []
    for at in _entries(document):
        _rename(document, at)
        rule = convert(document, at, Rule)
        if rule is not BAD:
            if rule.apply and not bridge:
                place = document.key_place((*at, "apply"))
                document.fault(
                    place, "'apply' without a bridge, expected 'bridge' in the configuration"
                )
            rule = _with_condition(document, at, rule, names)
            place = document.place(at)
            if rule.title in titles:
                message = f"a second rule of the name (or risk) of that at {titles[rule.title]}"
                document.fault(place, f"{message}, expected a 'name' of its own")
            titles.setdefault(rule.title, f"{path}:{place[0]}")
            rules.append(rule)
    return tuple(rules) if not document.faults else (), document.faults


def _entries(document: Document) -> list[DataPath]:
    at: DataPath = ()
    data = document.data
    if isinstance(data, dict) and list(data) == ["rules"]:
        at, data = ("rules",), data["rules"]
    if isinstance(data, list):
        return [(*at, index) for index in range(len(data)) if data[index] is not BAD]
    if data is not BAD and not document.faults:
        value = found(document, at, data)
        document.fault(
            document.place(at), f"{show(at) or 'the file'} {value}, expected a list of rules"
        )
    return []


def _rename(document: Document, at: DataPath) -> None:
    """Rename the older keys of a rule to `when`."""
    rule: Any = value_at(document, at)
    if not isinstance(rule, dict):
        return
    for key in SYNONYMS:
        if key not in rule:
            continue
        old, new = (*at, key), (*at, "when")
        if "when" in rule:
            place = document.key_place(old)
            document.fault(place, f"'{key}' beside another condition, expected one of them")
            del rule[key]
            continue
        rule["when"] = rule.pop(key)
        for places in (document.places, document.keys, document.verbatim):
            if old in places:
                places[new] = places[old]
        if old in document.written:
            document.written[new] = document.written[old]


def _with_condition(
    document: Document, at: DataPath, rule: Rule, names: Collection[str] | None
) -> Rule:
    where = (*at, "when")
    _check_actions(document, at, rule)
    sentence = SENTENCES.get(" ".join(rule.when.lower().split()))
    if sentence is not None:
        return msgspec.structs.replace(rule, when=sentence)
    if names is None:
        return rule
    try:
        compile_expression(rule.when, names, logical=True)
    except ExpressionError as error:
        refuse_expression(document, where, rule.when, error, "a condition over known names")
    return rule


def _check_actions(document: Document, at: DataPath, rule: Rule) -> None:
    """Check the actions of a rule, and that its condition reads none of their effects."""
    for index, text in enumerate(rule.apply):
        try:
            parse_action(text)
        except ActionError as error:
            place = (*at, "apply", index)
            refuse_expression(document, place, text, error, "an action of the bridge")
    if rule.apply and (name := _EFFECT.search(rule.when)):
        circle = ExpressionError(f"'{name[0]}' beside 'apply' is a circle", name.start())
        expected = "a condition without the results of the bridge"
        refuse_expression(document, (*at, "when"), rule.when, circle, expected)
    if rule.apply and rule.title == CALIBRATE:
        message = f"a rule with 'apply' is called '{CALIBRATE}', as the calibrator's records are"
        document.fault(document.place(at), f"{message}, expected a 'name' of its own")


def refuse_expression(
    document: Document,
    at: DataPath,
    text: str,
    error: ExpressionError | ActionError,
    expected: str,
) -> None:
    """Report an invalid expression or action, at the character of the fault."""
    line, col = document.verbatim.get(at) or document.place(at)
    if at in document.verbatim:
        col += error.offset
    message = str(error)
    if "${" in document.shown(at, text):
        message = f"not {expected} once the environment variables are in it"
    hint = "" if "expected" in message else f", expected {expected}"
    document.fault((line, col), f"in {show(at)}, {message}{hint}")
