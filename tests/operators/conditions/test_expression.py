"""The language of rules: its meaning, its windows, and the same bits however cut."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.conditions import sliding_window as window
from operators.conditions.expression import compile_expression
from operators.types import F64, State
from tests.operators.conditions.evaluated import NAMES, TRUTH

WRITTEN = {True: "1 > 0", False: "1 < 0", None: "a > 0"}


def run(text: str, tick_hz: float = 5.0, first: int = 0, **columns: Any) -> list[float]:
    """Evaluate in one piece."""
    arrays = {name: np.array(values, float) for name, values in columns.items()}
    count = max((len(values) for values in arrays.values()), default=1)
    ticks = range(first, first + count)
    result, _ = compile_expression(text, NAMES).evaluate(arrays, ticks, tick_hz)
    return [float(v) for v in result]


def unknown(values: list[float]) -> list[bool]:
    return [math.isnan(v) for v in values]


@pytest.mark.parametrize(("left", "right"), [*itertools.product([True, False, None], repeat=2)])
def test_and_or_follow_kleene(left: bool | None, right: bool | None) -> None:
    both = False if False in (left, right) else None if None in (left, right) else True
    either = True if True in (left, right) else None if None in (left, right) else False
    assert run(f"({WRITTEN[left]}) and ({WRITTEN[right]})", a=[math.nan]) == [TRUTH[both]]
    assert run(f"({WRITTEN[left]}) or ({WRITTEN[right]})", a=[math.nan]) == [TRUTH[either]]


@pytest.mark.parametrize(("value", "negated"), [(True, False), (False, True), (None, None)])
def test_not_follows_kleene(value: bool | None, negated: bool | None) -> None:
    assert run(f"not {WRITTEN[value]}", a=[math.nan]) == [TRUTH[negated]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("7 - 2 - 1", 4.0),
        ("8 / 4 / 2", 1.0),
        ("-2 * -3", 6.0),
        ("2 - -3", 5.0),
        ("1e-3 * .5e3 + 2.", 2.5),
        ("abs(-2) + clamp(5, 0, 1.5) + clamp(-5, -1, 1)", 2.5),
        ("1 < 2 < 3", 1.0),
        ("1 < 3 < 2", -1.0),
        ("3 > 2 >= 2 != 1 == 1 <= 1", 1.0),
        ("1 > 2 or 2 > 1 and 1 > 2", -1.0),
        ("not 1 > 2 and 2 > 1", 1.0),
        ("not (1 > 2 or 2 > 1)", -1.0),
        ("not not 1 < 2", 1.0),
    ],
)
def test_precedence_is_the_usual_one(text: str, value: float) -> None:
    assert run(text) == [value]


def test_a_non_finite_result_is_unknown() -> None:
    zero, huge, nan = [0.0], [1e308], [math.nan]
    for text in ("1 / a", "a / a", "b * 10", "b + b", "-b - b", "c", "c - c", "abs(c)"):
        assert unknown(run(text, a=zero, b=huge, c=nan)) == [True], text
    assert unknown(run("a", a=[math.inf, -math.inf, 1.0])) == [True, True, False]
    assert run("1 / a > 0 or a == 0", a=zero) == [1.0]
    assert run("c == c", c=nan) == [0.0]


def test_an_expression_lists_its_names_and_its_type() -> None:
    rule = compile_expression("b > 1 and slope(a - b, 5s) > 0", NAMES)
    assert (rule.names, rule.logical) == (("b", "a"), True)
    sent = compile_expression("127*(1-entropy_ratio)", NAMES)
    assert (sent.names, sent.logical) == (("entropy_ratio",), False)


def test_slope_is_per_second_at_any_rate() -> None:
    for tick_hz in (5.0, 50.0, 100.0):
        t = np.arange(int(20 * tick_hz)) / tick_hz
        values = run("slope(a, 4s)", tick_hz, a=3.0 - 0.25 * t)
        assert values[-1] == pytest.approx(-0.25, rel=1e-9)


def test_a_constant_has_slope_zero_and_itself_as_mean() -> None:
    constant = [0.1] * 40 + [math.nan] * 3 + [0.1] * 40
    assert set(run("slope(a, 3s)", a=constant)[8:]) == {0.0}
    assert set(run("mean(a, 3s)", a=constant)[8:]) == {0.1}


def test_a_window_is_unknown_until_half_of_it_is_known() -> None:
    values = run("max(a, 2s)", a=[1.0] * 12)  # 10 ticks
    assert unknown(values) == [True] * 4 + [False] * 8
    holes = [1.0] * 10 + [math.nan] * 6 + [1.0] * 10
    assert unknown(run("mean(a, 2s)", a=holes)[10:]) == [False] * 5 + [True] * 5 + [False] * 6


@pytest.mark.parametrize("text", ["500ms", "0.5s", "5e-1s", ".5s", "0.00833333m"])
def test_durations_are_ms_s_and_m(text: str) -> None:
    values = [0.0, 8.0, 2.0, 1.0, 1.0, 1.0]
    assert run(f"max(a, {text})", 4.0, a=values) == [0.0, 8.0, 8.0, 2.0, 1.0, 1.0]


@st.composite
def series(draw: st.DrawFn) -> tuple[list[float], int]:
    number = st.floats(-1e6, 1e6, allow_subnormal=False)
    values = draw(st.lists(st.one_of(number, st.just(math.nan), number), min_size=1, max_size=60))
    return values, draw(st.integers(-50, 10**10))


def by_definition(name: str, values: list[float], length: int) -> list[float]:
    """One window after another, in fractions."""
    found = []
    for end in range(1, len(values) + 1):
        ticks = range(max(0, end - length), end)
        known = [(t, Fraction(values[t])) for t in ticks if not math.isnan(values[t])]
        result = math.nan
        if 2 * len(known) >= length:
            xs = [x for _, x in known]
            mean, mean_t = Fraction(sum(xs), len(xs)), Fraction(sum(t for t, _ in known), len(xs))
            if name == "slope":
                over = sum((t - mean_t) ** 2 for t, _ in known)
                if over:
                    result = float(sum((t - mean_t) * (x - mean) for t, x in known) / over)
            else:
                result = float({"mean": mean, "min": min(xs), "max": max(xs)}[name])
        found.append(result)
    return found


@settings(max_examples=150, deadline=None)
@given(series(), st.sampled_from(window.WINDOWS), st.integers(2, 25))
def test_windows_follow_their_definition(
    made: tuple[list[float], int], name: str, length: int
) -> None:
    values, first = made
    got = run(f"{name}(a, {length}s)", 1.0, first, a=values)
    assert got == pytest.approx(by_definition(name, values, length), 1e-9, 1e-9 * 1e6, nan_ok=True)


def test_a_window_of_many_ticks_is_thinned_on_the_absolute_tick() -> None:
    rng = np.random.default_rng(4)
    values, first = rng.normal(size=4000), 1_000_003
    got = np.array(run("mean(a, 30s)", 100.0, first, a=values))  # 3000 ticks, every fifth seen
    at = np.arange(first, first + len(values))
    seen = np.flatnonzero(at % 5 == 0)
    for i in (3500, 3501, 3502, 3503, 3504, 3505):
        inside = seen[seen <= i][-600:]
        assert got[i] == pytest.approx(values[inside].mean(), abs=1e-12)


def in_pieces(text: str, columns: dict[str, F64], first: int, cuts: list[int], hz: float) -> F64:
    found = compile_expression(text, NAMES)
    carried: State | None = None
    pieces = []
    for begin, end in itertools.pairwise(cuts):
        part = {name: values[begin:end] for name, values in columns.items()}
        piece, carried = found.evaluate(part, range(first + begin, first + end), hz, carried)
        pieces.append(piece)
    return np.concatenate(pieces)


@settings(max_examples=60, deadline=None)
@given(
    st.data(),
    st.sampled_from([1.0, 5.0, 100.0]),
    st.integers(-(10**4), 10**11),
    st.integers(0, 2**32),
)
def test_any_division_into_calls_gives_the_same_bits(
    data: st.DataObject, hz: float, first: int, seed: int
) -> None:
    rng, count = np.random.default_rng(seed), 1500
    columns = {name: rng.normal(10, 3, count) for name in "ab"}
    columns["a"][rng.random(count) < 0.3] = math.nan
    columns["b"][200:900] = math.nan
    inner = sorted(data.draw(st.lists(st.integers(0, count), max_size=12)))
    for text in (
        "slope(a, 7s) + mean(a * b, 2s) / max(b, 10s) - min(a, 900ms)",
        "slope(a + b, 10s) > mean(a, 5s) or b > 9 and not a < 11",
    ):
        whole = in_pieces(text, columns, first, [0, count], hz)
        cut = in_pieces(text, columns, first, [0, *inner, count], hz)
        single = in_pieces(text, columns, first, list(range(40)), hz)
        assert whole.tobytes() == cut.tobytes()
        assert whole[:39].tobytes() == single.tobytes()


def test_missed_ticks_are_unknown_and_a_jump_back_restarts_windows() -> None:
    found = compile_expression("mean(a, 2s)", NAMES)  # 10 ticks
    _, carried = found.evaluate({"a": np.ones(10)}, range(10), 5.0)
    after, _ = found.evaluate({"a": np.ones(1)}, range(14, 15), 5.0, carried)
    assert after.tolist() == [1.0]  # five known ticks before four missed ones, and its own
    for ticks in (range(16, 17), range(10**12, 10**12 + 1), range(3, 4)):
        after, _ = found.evaluate({"a": np.ones(1)}, ticks, 5.0, carried)
        assert unknown(after.tolist()) == [True]


def test_the_longest_and_deepest_legal_expressions_run() -> None:
    deep = "(" * 32 + "a > 1" + ")" * 32
    assert run(deep, a=[2.0]) == [1.0]
    assert run("a" + " + a" * 255, a=[1.0]) == [256.0]
    assert run("1" + "<a" * 511, a=[1.0]) == [-1.0]
