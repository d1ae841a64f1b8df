"""drift: source time to host time, source by source, in the order of host time."""

from operators.drift.drift import Drift, DriftConfig

__all__ = ["Drift", "DriftConfig"]
