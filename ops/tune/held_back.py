"""The choice between candidates: chosen on one half of a recording, judged on the other.

With o(c, h) the objective of candidate c on half h, and 0 the configuration in force,

    c1 = argmin o(c, 1),  c2 = argmin o(c, 2)
    gain on half 2 = 1 - o(c1, 2) / o(0, 2),  gain on half 1 = 1 - o(c2, 1) / o(0, 1)

A change holds if both gains are at least 3 %. The candidate that is then proposed has the largest
gain on its worse half, min over h of 1 - o(c, h) / o(0, h); it is at least as large as that of c1,
and so beyond 3 % too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ops.text.table import number, table

MIN_GAIN = 0.03
"""Least gain on a half that was held back."""
NOTHING = "nothing found that holds; the configuration stays"


class Candidate(NamedTuple):
    """A change of the configuration, as shown and as nested keys, and its objective by half."""

    title: str
    patch: dict[str, Any]
    errors: tuple[float, float]

    def gains(self, current: Candidate) -> tuple[float, float]:
        """Return the part of the current objective that it saves, by half."""
        first, second = (_gain(e, c) for e, c in zip(self.errors, current.errors, strict=True))
        return first, second


class Decision(NamedTuple):
    """The candidates in order, the best first, and those that each half chose.

    `held` is the gain of each choice on the other half, first half first; `patch` is empty where
    nothing holds.
    """

    current: Candidate
    ordered: tuple[Candidate, ...]
    chosen: tuple[Candidate, Candidate]
    held: tuple[float, float]
    patch: dict[str, Any]

    def lines(self) -> list[str]:
        """Return the answer: current and best beside each other, the runner-up and the spread."""
        best, *others = self.ordered
        rows = [
            ("in force", self.current),
            ("best of both", best),
            *(("runner-up", c) for c in others[:1]),
            ("chosen on the first", self.chosen[0]),
            ("chosen on the second", self.chosen[1]),
        ]
        shown = table(
            ("", "first half", "second half", "gain", "gain", "settings"),
            [
                (
                    name,
                    *(number(e, 4) for e in c.errors),
                    *(_percent(g) for g in c.gains(self.current)),
                    c.title,
                )
                for name, c in rows
            ],
        )
        spread = [
            f"{min(found):.4f} to {max(found):.4f}"
            for k in (0, 1)
            if (found := [c.errors[k] for c in self.ordered if math.isfinite(c.errors[k])])
        ]
        count = len(self.ordered)
        held = " and ".join(_percent(g) for g in self.held)
        verdict = f"holds: {best.title}" if self.patch else NOTHING
        return [
            shown,
            f"spread of {count} candidates: {', '.join(spread)}",
            f"gain on the half held back: {held} (least {_percent(MIN_GAIN)} each)",
            verdict,
        ]


def decide(current: Candidate, candidates: Sequence[Candidate]) -> Decision:
    """Return the decision between the configuration in force and at least one candidate."""
    first, second = (min(candidates, key=lambda c, k=k: c.errors[k]) for k in (0, 1))  # type: ignore[misc]
    held = second.gains(current)[0], first.gains(current)[1]
    ordered = tuple(sorted(candidates, key=lambda c: -min(c.gains(current))))
    patch = ordered[0].patch if min(held) >= MIN_GAIN else {}
    return Decision(current, ordered, (first, second), held, patch)


def _gain(error: float, current: float) -> float:
    return 1 - error / current if current > 0 and math.isfinite(error) else -1.0


def _percent(part: float) -> str:
    return f"{number(part, 1, 100)} %"
