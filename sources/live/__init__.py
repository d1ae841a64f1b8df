"""The live streams of a configuration as a source: one partition for all of them."""

from sources.live.live import LivePartition, preflight

__all__ = ["LivePartition", "preflight"]
