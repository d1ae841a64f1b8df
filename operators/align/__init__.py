"""align: each member's lag against its signal's reference, searched, then tracked."""

from operators.align.align import Align, AlignConfig

__all__ = ["Align", "AlignConfig"]
