"""collect: rows of all sources as one block per channel, cut at edges of arrival time."""

from operators.collect.collect import BlockRule, Collect, CollectConfig, SharedRigError

__all__ = ["BlockRule", "Collect", "CollectConfig", "SharedRigError"]
