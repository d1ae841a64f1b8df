"""Return of free memory to the system during a live run.

The allocator of glibc keeps freed memory between blocks that are in use. Batches, lines and
packed segments of many sizes come and go beside small blocks that stay, so that the free parts
grow for hours. `malloc_trim` returns every whole free page. Cost: 2 to 4 ms each time.
"""

from __future__ import annotations

import ctypes
import sys

TRIM_EVERY_S = 10.0


class Heap:
    """Trims the heap at intervals; does nothing where the allocator has no `malloc_trim`."""

    def __init__(self) -> None:
        self._trim = None
        self._next = 0.0
        if sys.platform == "linux":
            self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

    def trim(self, now: float) -> bool:
        """Trim where the interval is over.

        Parameters
        ----------
        now : float
            Monotonic time (s).

        Returns
        -------
        bool
            Whether it trimmed.
        """
        if self._trim is None or now < self._next:
            return False
        self._trim(0)
        self._next = now + TRIM_EVERY_S
        return True
