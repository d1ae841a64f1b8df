"""Limits that several rooms share."""

from __future__ import annotations

MAX_SAMPLE = 256
"""Length of the sample in a dead letter (bytes)."""
MIN_COVERAGE = 0.9
"""Part of the resampler's window that samples must cover for a value."""
GUARD_SIDE = 5
"""Samples that the guard uses on each side of the tested one."""
MAX_FEW = 64
"""Rows up to which plain numbers are faster than arrays."""
MAX_LINE = 1 << 20
"""Of a line of a recording (bytes)."""
MAX_STAMP_S = 1e12
"""Of a time stamp's magnitude (s)."""
MAX_NAME_LENGTH = 255
"""Of the name of a source, a key or a rig (characters; bytes for a rig)."""
MAX_NAMES = 65_536
"""Channels outside the configuration that one run distinguishes."""
