"""fuse: members to one value with its sd, a mode, the indicators as exported, the sync lines."""

from operators.fuse.fuse import Fuse

__all__ = ["Fuse"]
