"""collect: rows of all sources into one block a channel, cut at edges of arrival time."""

from operators.collect.collect import Collect, CollectConfig

__all__ = ["Collect", "CollectConfig"]
