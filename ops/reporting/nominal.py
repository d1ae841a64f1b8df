"""Rates as stated: how often an endpoint is asked, what the header of an XDF stream says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree.ElementTree import fromstring

from configs.schema import Config, UreStream
from sources.chunks import HEADER, Span, survey
from sources.names import LONGEST
from sources.recording import is_xdf

_ROOM = 8
"""Of a name's length, kept for a number behind it."""


def rates(config: Config | None, run: Mapping[str, Any]) -> dict[str, float]:
    """Return the nominal rate (Hz) of each source that states one.

    Parameters
    ----------
    config : Config or None
    run : mapping
        What `run.json` says; a recording that is gone or has changed since says nothing.
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
    """Return the nominal rate (Hz) of each stream of an XDF file that has a name of its own."""
    told: dict[str, list[float]] = {}
    with path.open("rb") as file:
        good, _ = survey(file, path.stat().st_size)
        for content in _headers(file, good):
            root = fromstring(content.decode("utf-8", "replace"))
            name = (root.findtext("name") or "").strip().replace(":", "_")[: LONGEST - _ROOM]
            told.setdefault(name, []).append(float(root.findtext("nominal_srate") or 0))
    return {name: told[name][0] for name in told if len(told[name]) == 1 and told[name][0] > 0}


def _headers(file: BinaryIO, good: list[Span]) -> Iterator[bytes]:
    """Yield the stream headers among chunks that are known to be whole, without their number."""
    for span in good:
        at = max(span.start, 4)
        while at < span.stop:
            file.seek(at)
            head = file.read(11)
            width = head[0]
            length = int.from_bytes(head[1 : 1 + width], "little")
            tag = int.from_bytes(head[1 + width : 3 + width], "little")
            if tag == HEADER:
                file.seek(at + 7 + width)
                yield file.read(length - 6)
            at += 1 + width + length
