"""Expressions of rules and destinations: a small language, compiled once, run over columns.

::

    condition  = condition ("and" | "or") condition | "not" condition | "(" condition ")"
               | number (("<" | "<=" | ">" | ">=" | "==" | "!=") number)+
    number     = number ("+" | "-" | "*" | "/") number | "-" number | "(" number ")"
               | NAME | LITERAL | "abs(" number ")" | "clamp(" number "," low "," high ")"
               | ("slope" | "mean" | "min" | "max") "(" number "," DURATION ")"
    DURATION   = LITERAL directly followed by ms, s or m

Any other text is refused when the configuration is read; the error has the character and a
suggestion. The text becomes a list of steps for a stack of columns. Python's compiler is never
used, no name gives access to an object, and the evaluation needs no recursion.

Numbers are float64, NaN is unknown; non-finite results (division by zero, overflow) are unknown.
Truth is 1 true, -1 false, 0 unknown, after Kleene (1952, section 64): `and` is the minimum, `or`
the maximum, `not` the negative; a comparison with an unknown number is unknown.

A window function covers the ticks of the duration up to its own tick, at least two: `slope` (least
squares, per second), `mean`, `min`, `max` of the known ticks. It is unknown while fewer than half
of them are known, so also during the first half window. Windows do not nest.

A window is at most 10 minutes long; long ones are thinned (`operators.conditions.sliding_window`).

State: at most 600 numbers for each window function, at most 128 of these in a text. Cost: a few
microseconds for a block and an operator, about 100 for a window function. A condition without one
over `FEW` ticks or less takes 0.2 us a tick and step: no array is made but that of the result.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, cast

import numpy as np

from operators.conditions.sliding_window import WINDOWS, look_back
from operators.errors import LumenError
from operators.types import F64, State

MAX_LENGTH = 1024
MAX_DEPTH = 32
MAX_WINDOW_S = 600.0
MAX_NAME = 40
"""Shown length of a name; longer names get no suggestion."""

_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0}
_ARITHMETIC = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}
_COMPARISONS = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}
_LOGIC = {"and": np.minimum, "or": np.maximum}
FEW = 8
"""Ticks of a block for which numbers are faster than arrays."""
_ON_NUMBERS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip
_COMPARED: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
KEYWORDS = ("and", "or", "not")
_FUNCTIONS = ("abs", "clamp", *WINDOWS)
_POWER = {"or": 1, "and": 2, **dict.fromkeys(_COMPARISONS, 4), "+": 5, "-": 5, "*": 6, "/": 6}
_NOT_POWER, _MINUS_POWER = 3, 6
_MEANT = {
    "=": "==", "===": "==", "!==": "!=", "<>": "!=", "=>": ">=", "=<": "<=", "&&": "and",
    "&": "and", "||": "or", "|": "or", "!": "not ", "**": "x * x", "^": "x * x", "//": "/",
}  # fmt: skip
_KINDS = {True: "a condition, such as x > 0.5", False: "a number, not a condition"}
_TOKEN = re.compile(
    r"[ \t\r\n]*(?:"
    r"(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?P<unit>\w*)"
    r"|(?P<name>[^\W\d]\w*)"
    r"|(?P<sign>===|!==|&&|\|\||\*\*|//|<>|=>|=<|[<>=!]=|[-+*/(),<>=!&|^])"
    r"|(?P<end>\Z)|(?P<other>.))",
    re.S,
)


class ExpressionError(LumenError, ValueError):
    """A text that is no expression; `offset` is the position of the error (characters)."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"character {offset + 1}: {message}")
        self.offset = offset


class Instruction(NamedTuple):
    """One step of a running stack: an operator, or a name or a number to push.

    `value` is the number; of a window, its duration (s).
    """

    op: str
    name: str = ""
    value: float = math.nan


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression, from `compile_expression`.

    `names` are the columns that it reads, in order of appearance. A `logical` expression gives
    truth (1, 0, -1), not numbers. A `windowed` one has a window function.
    """

    text: str
    names: tuple[str, ...]
    logical: bool
    steps: tuple[Instruction, ...]
    windowed: bool

    def evaluate(
        self, columns: Mapping[str, F64], ticks: range, tick_hz: float, carried: State | None = None
    ) -> tuple[F64, State]:
        """Return a value for each tick, and the state for the next call.

        Parameters
        ----------
        columns : float64 (k,) by name
            At least `names`.
        ticks : range (k,)
            Absolute tick indices. Ticks missed since the previous call count as unknown; after
            a jump back, windows restart.
        tick_hz : float
        carried : State
            From the previous call; None at the beginning. The result of a tick is the same to
            the bit for any division into calls.

        Returns
        -------
        float64 (k,), State
        """
        if len(ticks) <= FEW and self.logical and not self.windowed:
            listed = {name: columns[name].tolist() for name in self.names}
            truth = [self._truth(listed, k) for k in range(len(ticks))]
            return np.array(truth), {"next": ticks.stop, "tails": []}
        tails: list[F64] = []
        stack: list[F64] = []
        with np.errstate(all="ignore"):
            for op, name, value in self.steps:
                if op == "number":
                    stack.append(np.full(len(ticks), value))
                elif op == "name":
                    stack.append(_finite(columns[name]))
                elif op in WINDOWS:
                    tail = carried["tails"][len(tails)] if carried else None
                    following = carried["next"] if carried else 0
                    span = value * tick_hz
                    result, tail = look_back(op, stack.pop(), ticks, span, tail, following)
                    tails.append(tail)
                    stack.append(_finite(result * tick_hz if op == "slope" else result))
                elif op == "negative":
                    stack.append(-stack.pop())
                elif op == "not":
                    stack.append(0.0 - stack.pop())  # unknown is 0, not -0
                elif op == "abs":
                    stack.append(np.abs(stack.pop()))
                elif op == "clamp":
                    high, low = stack.pop(), stack.pop()
                    stack.append(np.minimum(np.maximum(stack.pop(), low), high))
                else:
                    right, left = stack.pop(), stack.pop()
                    stack.append(_apply(op, left, right))
        return stack.pop(), {"next": ticks.stop, "tails": tails}

    def _truth(self, columns: Mapping[str, list[float]], k: int) -> float:
        """Return the truth at position k: that of `evaluate`, with numbers for arrays."""
        stack: list[float] = []
        for op, name, value in self.steps:
            if op == "name":
                stack.append(_known(columns[name][k]))
            elif op == "number":
                stack.append(value)
            elif op == "negative":
                stack.append(-stack.pop())
            elif op == "not":
                stack.append(0.0 - stack.pop())
            elif op == "abs":
                stack.append(abs(stack.pop()))
            elif op == "clamp":
                high, low, x = stack.pop(), stack.pop(), stack.pop()
                stack.append(
                    math.nan if x != x or low != low or high != high else min(max(x, low), high)
                )
            else:
                right, left = stack.pop(), stack.pop()
                if op in _COMPARED:
                    unknown = left != left or right != right
                    stack.append(0.0 if unknown else 1.0 if _COMPARED[op](left, right) else -1.0)
                elif op in _LOGIC:
                    stack.append(min(left, right) if op == "and" else max(left, right))
                elif op == "/" and not right:
                    stack.append(math.nan)
                else:
                    stack.append(_known(_ON_NUMBERS[op](left, right)))
        return stack.pop()


def compile_expression(
    text: str, names: Collection[str], logical: bool | None = None
) -> Expression:
    """Compile an expression over `names`.

    With `logical`, it must be a condition (True) or a number (False).

    Raises
    ------
    ExpressionError
        The text is not in the grammar; raised within a few milliseconds.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expression has at most {MAX_LENGTH} characters", MAX_LENGTH)
    part = _Parser(text, names).whole()
    if logical is not None and part.logical != logical:
        raise ExpressionError(f"expected {_KINDS[logical]}", part.offset)
    read = tuple(dict.fromkeys(s.name for s in part.steps if s.op == "name"))
    windowed = any(step.op in WINDOWS for step in part.steps)
    return Expression(text, read, part.logical, part.steps, windowed)


def _known(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _finite(values: F64) -> F64:
    return np.where(np.isfinite(values), values, np.nan)


def _apply(op: str, left: F64, right: F64) -> F64:
    if op in _ARITHMETIC:
        return _finite(_ARITHMETIC[op](left, right))
    if op in _LOGIC:
        return np.asarray(_LOGIC[op](left, right))
    truth = np.where(_COMPARISONS[op](left, right), 1.0, -1.0)
    return np.where(np.isnan(left) | np.isnan(right), 0.0, truth)


class _Token(NamedTuple):
    kind: str
    text: str
    offset: int
    unit: str = ""


class _Part(NamedTuple):
    steps: tuple[Instruction, ...]
    logical: bool
    offset: int


class _Parser:
    """Precedence climbing (Pratt 1973), one token ahead."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        self._text = text
        self._names = names
        self._at = 0
        self._token = self._read()

    def whole(self) -> _Part:
        part = self._expression(0, 0)
        if self._token.kind != "end":
            self._refuse("expected an operator or the end")
        return part

    def _read(self) -> _Token:
        found = cast(re.Match[str], _TOKEN.match(self._text, self._at))
        kind = cast(str, found.lastgroup)
        if kind == "unit":
            kind = "number"
        self._at = found.end()
        return _Token(kind, found[kind], found.start(kind), found["unit"] or "")

    def _take(self, expected: str = "") -> _Token:
        token = self._token
        if expected and token.text != expected:
            self._refuse(f"expected {expected!r}")
        self._token = self._read()
        return token

    def _refuse(self, expected: str) -> NoReturn:
        kind, text, offset, _ = self._token
        if text in _MEANT:
            hint = f": did you mean {_MEANT[text]!r}?"
        elif kind == "name" and text.lower() in KEYWORDS and text not in KEYWORDS:
            hint = f": did you mean {text.lower()!r}?"
        else:
            hint = f", {expected}"
        message = "unexpected end" if kind == "end" else f"unexpected {text[:MAX_NAME]!r}"
        raise ExpressionError(message + hint, offset)

    def _expression(self, floor: int, depth: int) -> _Part:
        left = self._operand(depth)
        while _POWER.get(self._token.text, 0) > floor:
            operator = self._take()
            right = self._expression(_POWER[operator.text], depth)
            logical = operator.text in _LOGIC
            _require(logical, operator, left, right)
            steps = (*left.steps, *right.steps, Instruction(operator.text))
            # a < b < c: the operand between stands in both comparisons
            while operator.text in _COMPARISONS and self._token.text in _COMPARISONS:
                following = self._take()
                middle, right = right, self._expression(_POWER[following.text], depth)
                _require(False, following, right)
                steps += (
                    *middle.steps,
                    *right.steps,
                    Instruction(following.text),
                    Instruction("and"),
                )
            left = _Part(steps, operator.text not in _ARITHMETIC, left.offset)
        return left

    def _operand(self, depth: int) -> _Part:
        token = self._token
        if depth > MAX_DEPTH:
            raise ExpressionError(f"nested deeper than {MAX_DEPTH}", token.offset)
        if token.kind == "number":
            if token.unit:
                self._duration()
                hint = "a duration belongs in a window, as in mean(x, 60s)"
                raise ExpressionError(hint, token.offset)
            return _Part((Instruction("number", value=self._number()),), False, token.offset)
        if token.text == "(":
            self._take()
            inner = self._expression(0, depth + 1)
            self._take(")")
            return inner._replace(offset=token.offset)
        if token.text in ("not", "-"):
            self._take()
            logical = token.text == "not"
            inner = self._expression(_NOT_POWER if logical else _MINUS_POWER, depth + 1)
            _require(logical, token, inner)
            step = Instruction("not" if logical else "negative")
            return _Part((*inner.steps, step), logical, token.offset)
        if token.kind != "name" or token.text in KEYWORDS:
            self._refuse("expected a name, a number or '('")
        self._take()
        if self._token.text == "(":
            return self._call(token, depth)
        if token.text not in self._names:
            known = [*self._names, *KEYWORDS, *_FUNCTIONS]
            raise ExpressionError(f"unknown name{_closest(token.text, known)}", token.offset)
        return _Part((Instruction("name", token.text),), False, token.offset)

    def _call(self, function: _Token, depth: int) -> _Part:
        if function.text not in _FUNCTIONS:
            hint = _closest(function.text, _FUNCTIONS)
            raise ExpressionError(f"unknown function{hint}", function.offset)
        self._take("(")
        argument = self._expression(0, depth + 1)
        _require(False, function, argument)
        steps, value = argument.steps, math.nan
        if function.text in WINDOWS:
            if any(step.op in WINDOWS for step in steps):
                raise ExpressionError("a window inside a window", argument.offset)
            self._take(",")
            value = self._duration()
        elif function.text == "clamp":
            for _ in ("low", "high"):
                self._take(",")
                argument = self._expression(0, depth + 1)
                _require(False, function, argument)
                steps += argument.steps
        self._take(")")
        return _Part((*steps, Instruction(function.text, value=value)), False, function.offset)

    def _number(self) -> float:
        token = self._take()
        if not math.isfinite(value := float(token.text)):
            raise ExpressionError("a number beyond float64", token.offset)
        return value

    def _duration(self) -> float:
        token = self._token
        if token.kind != "number":
            self._refuse("expected a duration such as 60s")
        if token.unit not in _UNITS:
            hint = f": did you mean {token.text[:MAX_NAME]}s?" if not token.unit else ""
            raise ExpressionError(f"expected a duration in ms, s or m{hint}", token.offset)
        seconds = self._number() * _UNITS[token.unit]
        if not 0 < seconds <= MAX_WINDOW_S:
            raise ExpressionError(f"a window is 0 to {MAX_WINDOW_S:g} s long", token.offset)
        return seconds


def _require(logical: bool, operator: _Token, *parts: _Part) -> None:
    for part in parts:
        if part.logical != logical:
            raise ExpressionError(f"{operator.text!r} needs {_KINDS[logical]}", part.offset)


def _closest(name: str, known: Collection[str]) -> str:
    """Return the quoted name, with the closest known name as a suggestion."""
    quoted, lower = f" {name[:MAX_NAME]!r}", name.lower()
    if len(name) > MAX_NAME:
        return quoted
    folded = {k.lower(): k for k in known if len(k) <= MAX_NAME}
    # A comparison costs up to 0.2 ms: only names with mostly the same letters are compared.
    likely = sorted(folded, key=lambda k: len(set(k) ^ set(lower)) + abs(len(k) - len(lower)))
    near = difflib.get_close_matches(lower, likely[:24], n=1)
    return f"{quoted}: did you mean {folded[near[0]]!r}?" if near else quoted
