"""align: each member's lag against its signal's reference: search, then tracking."""

from operators.align.align import Align
from operators.align.align_config import AlignConfig

__all__ = ["Align", "AlignConfig"]
