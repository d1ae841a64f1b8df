"""guard: removal of outliers from sampled channels."""

from operators.guard.guard import Guard

__all__ = ["Guard"]
