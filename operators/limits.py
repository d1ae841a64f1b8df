"""Limits that several rooms share."""

from __future__ import annotations

MAX_SAMPLE = 256
"""Length of the sample in a dead letter (bytes)."""
MIN_COVERAGE = 0.9
"""Part of the resampler's window that samples must cover for a value."""
GUARD_SIDE = 5
"""Samples that the guard uses on each side of the tested one."""
