"""drift: source time to host time, source by source, and disorder put right."""

from operators.drift.drift import Drift, DriftConfig

__all__ = ["Drift", "DriftConfig"]
