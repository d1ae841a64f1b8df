"""Nominal rates: the scrape rate of an endpoint, the header rate of an XDF stream."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.inputs import UreStream
from configs.schema import Config
from operators.limits import MAX_NAME_LENGTH
from sources.recordings.recording import is_xdf
from sources.xdf.chunks import Header, chunks

_ROOM = 8
"""Characters of a name that are reserved for a number behind it."""


def rates(config: Config | None, run: Mapping[str, Any]) -> dict[str, float]:
    """Return the nominal rate (Hz) of each source that states one.

    Parameters
    ----------
    config : Config or None
    run : mapping
        Contents of `run.json`; a recording that is missing or has changed is skipped.
    """
    streams = config.streams if config is not None else []
    found = {s.name: 1 / s.pull_interval_s for s in streams if isinstance(s, UreStream)}
    for recording in run.get("recordings") or []:
        path = Path(recording.get("path") or "")
        try:
            if is_xdf(path.name) and path.stat().st_size == recording.get("bytes"):
                found |= headers(path)
        except OSError:
            continue
    return found


def headers(path: Path) -> dict[str, float]:
    """Return the nominal rate (Hz) of each stream of an XDF file with a unique name."""
    stated: dict[str, list[float]] = {}
    with path.open("rb") as file:
        for found in chunks(file, path.stat().st_size):
            if isinstance(found, Header):
                name = found.name.strip().replace(":", "_")[: MAX_NAME_LENGTH - _ROOM]
                stated.setdefault(name, []).append(found.rate_hz)
    return {
        name: stated[name][0] for name in stated if len(stated[name]) == 1 and stated[name][0] > 0
    }
