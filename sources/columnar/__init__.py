"""Parquet and Arrow files as recordings: columns instead of lines."""

from sources.columnar.columnar_recording import ColumnarRecording

__all__ = ["ColumnarRecording"]
