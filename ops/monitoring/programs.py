"""Third-party programs: from the PATH, else from the folder of `make peers`."""

from __future__ import annotations

import shutil
from pathlib import Path

from operators.errors import ToolError

_FETCHED = Path(__file__).parents[2] / ".peers" / "usr" / "bin"


class PeerError(ToolError):
    """A missing program: one line with the command that fetches it."""


def peer(name: str) -> str:
    """Return the path of a program by its name in Debian.

    Raises
    ------
    PeerError
        The program is missing.
    """
    places = (_FETCHED / name, _FETCHED.with_name("sbin") / name)
    found = next(filter(None, map(shutil.which, (name, *map(str, places)))), None)
    if found is None:
        raise PeerError(f"no {name} here: run `make peers`")
    return found
