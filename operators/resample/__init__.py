"""resample: every member and fact on the output grid, lag removed, anti-aliased, streaming."""

from operators.resample.resample import Resample, ResampleConfig

__all__ = ["Resample", "ResampleConfig"]
