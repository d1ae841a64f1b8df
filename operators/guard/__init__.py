"""guard: outliers out of sampled channels."""

from operators.guard.guard import Guard

__all__ = ["Guard"]
