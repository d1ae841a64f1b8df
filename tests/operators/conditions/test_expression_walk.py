"""Columns of an expression against a walk over its tree, one tick at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from operators.conditions import expression
from operators.conditions.expression import compile_expression
from tests.operators.conditions.evaluated import NAMES, TRUTH

Tree = Any


numbers = st.recursive(
    st.one_of(st.sampled_from(NAMES[:3]), st.sampled_from([0.0, 0.5, 1.0, 3.0, 1e300])),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from("+-*/"), inner, inner),
        st.tuples(st.just("negative"), inner),
        st.tuples(st.just("abs"), inner),
        st.tuples(st.just("clamp"), inner, inner, inner),
    ),
    max_leaves=6,
)


comparisons = st.builds(
    lambda left, rest: ("chain", left, *rest),
    numbers,
    st.lists(
        st.tuples(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), numbers),
        min_size=1,
        max_size=3,
    ),
)


conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["and", "or"]), inner, inner),
        st.tuples(st.just("not"), inner),
    ),
    max_leaves=5,
)


def written(tree: Tree) -> str:
    match tree:
        case str():
            return tree
        case float():
            return repr(tree)
        case ("chain", left, *rest):
            return written(left) + "".join(f" {op} {written(right)}" for op, right in rest)
        case ("not", inner):
            return f"(not {written(inner)})"
        case ("negative", inner):
            return f"(-{written(inner)})"
        case (("abs" | "clamp") as name, *inner):
            return f"{name}({', '.join(map(written, inner))})"
        case (op, left, right):
            return f"({written(left)} {op} {written(right)})"
    raise AssertionError(tree)


def walked(tree: Tree, row: dict[str, float]) -> Any:
    """Return a number, a bool, or None for unknown."""
    match tree:
        case str():
            return row[tree] if math.isfinite(row[tree]) else None
        case float():
            return tree
        case ("chain", left, *rest):
            found: bool | None = True
            for op, right in rest:
                found = walked_logic(
                    "and", found, compared(op, walked(left, row), walked(right, row))
                )
                left = right
            return found
        case ("not", inner):
            value = walked(inner, row)
            return None if value is None else not value
        case (("and" | "or") as op, left, right):
            return walked_logic(op, walked(left, row), walked(right, row))
        case (op, *inner):
            values = [walked(each, row) for each in inner]
            return None if None in values else calculated(op, values)
    raise AssertionError(tree)


def walked_logic(op: str, left: bool | None, right: bool | None) -> bool | None:
    decides = op == "or"
    if decides in (left, right):
        return decides
    return None if None in (left, right) else not decides


def compared(op: str, x: float | None, y: float | None) -> bool | None:
    if x is None or y is None:
        return None
    return {"<": x < y, "<=": x <= y, ">": x > y, ">=": x >= y, "==": x == y, "!=": x != y}[op]


def calculated(op: str, values: list[float]) -> float | None:
    match op, values:
        case "negative", [x]:
            result = -x
        case "abs", [x]:
            result = abs(x)
        case "clamp", [x, low, high]:
            result = min(max(x, low), high)
        case "/", [_, 0]:
            return None
        case _, [x, y]:
            result = {"+": x + y, "-": x - y, "*": x * y, "/": x / (y or 1)}[op]
    return result if math.isfinite(result) else None


value = st.sampled_from([0.0, -0.0, 0.5, 1.0, -1.0, 3.0, 1e300, -1e308, math.nan, math.inf])


rows = st.lists(st.tuples(value, value, value), min_size=1, max_size=8)


@settings(max_examples=400, deadline=None)
@given(st.one_of(conditions, numbers), rows)
def test_columns_give_the_result_of_a_walk_over_the_tree(
    tree: Tree, made: list[tuple[float, float, float]]
) -> None:
    text = written(tree)
    assume(len(text) <= expression.MAX_LENGTH)
    columns = dict(zip(NAMES, np.array(made).T, strict=False))
    found = compile_expression(text, NAMES)
    got, _ = found.evaluate(columns, range(len(made)), 5.0)
    for row, result in zip(made, got.tolist(), strict=True):
        expected = walked(tree, dict(zip(NAMES, row, strict=False)))
        if found.logical:
            assert result == TRUTH[expected]
        else:
            assert math.isnan(result) if expected is None else result == expected


@settings(max_examples=300, deadline=None)
@given(conditions, rows)
def test_numbers_give_the_bits_of_arrays(
    tree: Tree, made: list[tuple[float, float, float]]
) -> None:
    text = written(tree)
    assume(len(text) <= expression.MAX_LENGTH)
    found = compile_expression(text, NAMES)
    many = np.array(made * (expression.FEW + 1)).T
    columns = dict(zip(NAMES, many, strict=False))
    whole, after = found.evaluate(columns, range(many.shape[1]), 5.0)
    single = []
    for k in range(many.shape[1]):
        one = {name: values[k : k + 1] for name, values in columns.items()}
        truth, state = found.evaluate(one, range(k, k + 1), 5.0)
        single.append(truth)
    assert np.concatenate(single).tobytes() == whole.tobytes()
    assert state == after
