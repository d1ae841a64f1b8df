"""The bench counts each expression of a station that reaches numpy, and changes no result."""

from __future__ import annotations

import numpy as np
import pytest

from ops.bench.numpy_calls import Counter, counting


def counted(body: str) -> tuple[int, object]:
    """Return the calls of a function with this body over `x` (3,), and its result."""
    lines = "\n".join("    " + line for line in body.splitlines())
    tree = counting(f"def f(x):\n{lines}")
    counter = Counter()
    space = {"__numpy_calls__": counter, "np": np}
    exec(compile(tree, "body", "exec"), space)
    result = space["f"](np.array([3.0, 1.0, 2.0]))  # type: ignore[operator]
    return counter.calls, result


@pytest.mark.parametrize(
    ("body", "calls", "result"),
    [
        ("return len([1, 2]) + max(1, 2)", 0, 4),
        ("return float(np.sum(x))", 1, 6.0),
        ("return (2 * x + 1).tolist()", 3, [7.0, 3.0, 5.0]),
        ("return bool((x[1:] < x[:-1]).any())", 4, True),
        ("return np.maximum.accumulate(x).tolist()", 2, [3.0, 3.0, 3.0]),
        ("x += 1\nx[0] = 0\nreturn x.tolist()", 3, [0.0, 2.0, 3.0]),
        ("y: list[float] = x.tolist()\nreturn y[0]", 1, 3.0),
        ("return [k for k in x.tolist() if k > 1]", 1, [3.0, 2.0]),
        ("def g(y):\n    return -y\nreturn g(x).tolist()", 2, [-3.0, -1.0, -2.0]),
    ],
)
def test_calls_are_counted(body: str, calls: int, result: object) -> None:
    assert counted(body) == (calls, result)
