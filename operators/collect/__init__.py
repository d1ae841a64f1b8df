"""collect: rows of all sources as one block per channel, cut at edges of arrival time."""

from operators.collect.collect import Collect, SharedRigError
from operators.collect.collect_config import BlockRule, CollectConfig

__all__ = ["BlockRule", "Collect", "CollectConfig", "SharedRigError"]
