"""bridge: a beat clock in rate and phase with a reference, and the states in which it plays."""

from operators.bridge.bridge import Bridge
from operators.bridge.bridge_config import BridgeConfig

__all__ = ["Bridge", "BridgeConfig"]
