"""A table for the terminal: minimal column widths, numbers right-aligned."""

from __future__ import annotations

import math
from collections.abc import Sequence

from configs.inert import inert


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the lines of a table: first column left-aligned, the others right-aligned."""
    cells = [[inert(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            c.rjust(w) if k else c.ljust(w)
            for k, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)


def number(value: float | None, digits: int, scale: float = 1.0) -> str:
    """Return a number times `scale`, or a dash for none."""
    if value is None or math.isnan(value):
        return "-"
    # Adding 0.0 removes the sign of a rounded zero.
    return f"{round(value * scale, digits) + 0.0:.{digits}f}"


def places(sd: float) -> int:
    """Return the decimal places at which an sd above 0 has two significant digits, at most 9."""
    return min(max(1 - math.floor(math.log10(sd)), 0), 9)


def measured(value: float | None, sd: float | None, digits: int, scale: float = 1.0) -> str:
    """Return `value ±sd`, both to the place of the sd's second digit; `digits` without an sd."""
    known = sd is not None and math.isfinite(sd) and sd > 0
    return with_sd(value, sd, places(sd * scale) if known and sd else digits, scale)


def with_sd(value: float | None, sd: float | None, digits: int, scale: float = 1.0) -> str:
    """Return `value ±sd`, without an absent sd."""
    text = number(value, digits, scale)
    return text if sd is None or text == "-" else f"{text} ±{number(sd, digits, scale)}"
