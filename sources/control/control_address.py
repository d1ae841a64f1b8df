"""Address of the control socket in the output folder of a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.outputs import CONTROL

_MAX_PATH = 100
"""Bytes of a path that every system accepts as an address."""


@contextmanager
def control_address(folder: Path) -> Iterator[str]:
    """Yield the address of the socket in an output folder, valid inside the block.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    OSError
        The folder cannot be opened. Elsewhere than on Linux, a socket with a longer path fails.
    """
    path = folder / CONTROL
    if len(os.fsencode(path)) <= _MAX_PATH or sys.platform != "linux":
        yield str(path)
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{opened}/{CONTROL}"
    finally:
        os.close(opened)
