"""Bounds of the gates."""

from __future__ import annotations

MAX_FAILURE = 0.08
"""Share of ticks of a candidate that are neither `identical` nor `within`."""
MIN_UNIQUE = 0.92
"""Share of ticks that running flow and candidate both delivered, exactly once."""
MAX_V = 0.3
"""Mean of V over five minutes."""
MAX_RISE = 0.02
"""Rise of that mean over five minutes."""
MAX_BURN = {"7d": 0.6, "30d": 0.4}
"""Error budget spent, by window; 1 is all of it."""
MAX_RESTORE_S = 720.0
"""95th percentile of the drills' time (s)."""
MAX_STORE_LAG_S = 60.0
"""Lag of the history behind the ticks (s)."""
REDUCED_SHARE = 0.2
"""Share of shadowed rigs after a stop of promotions."""
