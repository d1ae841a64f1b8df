"""Actions of rules on the bridge: changes of a gain, a safety gain, the hard stop.

::

    action = ("increase" | "decrease") ("kp" | "ki" | "kd") "by" NUMBER
           | "safety gain" NUMBER                  0 to 1
           | "hard stop"

A rule's actions are in force while it fires. The changes of a gain are added up, and the sum is
limited: the gain is between half and twice the configured one.

State: the actions in force. Cost: 1 us, 3 us with actions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple, NoReturn, cast

from operators.bridge.gains_in_force import Gains
from operators.errors import LumenError
from operators.types import State

MAX_CHANGE = 100.0
"""Largest change of a gain."""
TERMS: tuple[str, ...] = Gains._fields
_WORD = re.compile(r"\S+")
_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

Target = Literal["kp", "ki", "kd", "safety_gain", "hard_stop"]


class ActionError(LumenError, ValueError):
    """A text that is no action; `offset` is the position of the error (characters)."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"character {offset + 1}: {message}")
        self.offset = offset


class Action(NamedTuple):
    """One action: a change of a gain by `value`, a safety gain of `value`, or the hard stop."""

    text: str
    target: Target
    value: float


class GainChange(NamedTuple):
    """The change of one gain in force."""

    term: str
    before: float
    after: float


def parse_action(text: str) -> Action:
    """Return the action of a text.

    Raises
    ------
    ActionError
        The text is not in the grammar.
    """
    return _ActionParser(text).action()


class _ActionParser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._words = [(found[0], found.start()) for found in _WORD.finditer(text)]
        self._at = 0

    def action(self) -> Action:
        first = self._take("increase", "decrease", "safety", "hard")
        target: str
        if first in ("increase", "decrease"):
            target = self._take(*TERMS)
            self._take("by")
            value = self._number(MAX_CHANGE) * (1 if first == "increase" else -1)
        elif first == "safety":
            self._take("gain")
            target, value = "safety_gain", self._number(1.0)
        else:
            self._take("stop")
            target, value = "hard_stop", 1.0
        if self._at < len(self._words):
            self._refuse("the end")
        return Action(" ".join(word for word, _ in self._words), cast(Target, target), value)

    def _take(self, *expected: str) -> str:
        if self._at == len(self._words) or self._words[self._at][0] not in expected:
            self._refuse(" or ".join(map(repr, expected)))
        self._at += 1
        return self._words[self._at - 1][0]

    def _number(self, largest: float) -> float:
        number = self._words[self._at][0] if self._at < len(self._words) else ""
        if not _NUMBER.fullmatch(number) or float(number) > largest:
            self._refuse(f"a number from 0 to {largest:g}")
        self._at += 1
        return float(number)

    def _refuse(self, expected: str) -> NoReturn:
        if self._at == len(self._words):
            raise ActionError(f"unexpected end, expected {expected}", len(self._text))
        word, offset = self._words[self._at]
        raise ActionError(f"unexpected {word[:40]!r}, expected {expected}", offset)


class Actions:
    """The actions in force, by rule."""

    def __init__(self) -> None:
        self._taken: dict[str, tuple[Action, ...]] = {}

    @classmethod
    def from_snapshot(cls, state: State) -> Actions:
        """Return the actions of a snapshot."""
        found = cls()
        for rule, texts in state["taken"].items():
            found.take(rule, [parse_action(text) for text in texts])
        return found

    def take(self, rule: str, actions: Sequence[Action]) -> None:
        """Put the actions of a rule into force, in place of its earlier ones."""
        self.undo(rule)
        if actions:
            self._taken[rule] = tuple(actions)

    def of(self, rule: str) -> tuple[Action, ...]:
        """Return the actions of a rule that are in force."""
        return self._taken.get(rule, ())

    def undo(self, rule: str) -> None:
        """End the actions of a rule."""
        self._taken.pop(rule, None)

    def undo_all(self) -> None:
        """End all actions, as state E4 does; a rule that still fires is not taken again."""
        self._taken.clear()

    @property
    def texts(self) -> list[str]:
        """The texts in force, in the order in which the rules fired."""
        return [action.text for action in self._all()]

    @property
    def hard_stop(self) -> bool:
        """Whether an action stops the output."""
        return any(action.target == "hard_stop" for action in self._all())

    def safety_gain(self, state_gain: float) -> float:
        """Return the least of the state's safety gain and those of actions."""
        if not self._taken:
            return state_gain
        values = [action.value for action in self._all() if action.target == "safety_gain"]
        return min(state_gain, *values) if values else state_gain

    def gains(self, configured: Gains) -> Gains:
        """Return the gains in force."""
        if not self._taken:
            return configured
        sums = dict.fromkeys(TERMS, 0.0)
        for action in self._all():
            if action.target in sums:
                sums[action.target] += action.value
        return Gains(
            *(
                min(max(gain + sums[term], gain / 2), 2 * gain)
                for term, gain in zip(TERMS, configured, strict=True)
            )
        )

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "taken": {
                rule: [action.text for action in actions] for rule, actions in self._taken.items()
            }
        }

    def _all(self) -> list[Action]:
        return [action for actions in self._taken.values() for action in actions]


def changes(before: Gains, after: Gains) -> tuple[GainChange, ...]:
    """Return each gain that differs, for the records of a rule."""
    return tuple(
        GainChange(term, a, b) for term, a, b in zip(TERMS, before, after, strict=True) if a != b
    )
