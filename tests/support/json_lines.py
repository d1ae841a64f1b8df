"""Rows of a JSON lines file, also of one that a running program appends to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the rows of the whole lines; a missing file has none.

    A line that is being written has no end yet; it is left for the next look.
    """
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().rpartition(b"\n")[0].splitlines()]
