"""Names and truth values of expressions in tests."""

from __future__ import annotations

NAMES = ("a", "b", "c", "coherence", "entropy_ratio")


TRUTH = {True: 1.0, False: -1.0, None: 0.0}
