"""collect: rows of all sources as one block per channel, cut at edges of arrival time."""

from operators.collect.collect import Collect, CollectConfig, SharedRigError

__all__ = ["Collect", "CollectConfig", "SharedRigError"]
