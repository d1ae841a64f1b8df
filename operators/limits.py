"""Limits that several rooms share."""

from __future__ import annotations

MAX_SAMPLE = 256
"""Of the sample in a dead letter (bytes)."""
MIN_COVERAGE = 0.9
"""Of the resampler's window that samples must cover, for a value to exist."""
GUARD_SIDE = 5
"""Samples on each side of the one that the guard judges."""
