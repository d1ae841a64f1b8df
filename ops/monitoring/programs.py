"""Programs of others: those on the PATH, else those that `make peers` has fetched."""

from __future__ import annotations

import shutil
from pathlib import Path

from operators.errors import ToolError

_FETCHED = Path(__file__).parents[2] / ".peers" / "usr" / "bin"


class PeerError(ToolError):
    """A program is not here: one line that says how to get it."""


def peer(name: str) -> str:
    """Return the path of a program, by its name in Debian.

    Raises
    ------
    PeerError
        It is not here.
    """
    found = shutil.which(name) or shutil.which(str(_FETCHED / name))
    if found is None:
        raise PeerError(f"no {name} here: run `make peers`")
    return found
