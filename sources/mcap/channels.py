"""The channels of an MCAP file before it is read: what of them is used."""

from __future__ import annotations

from pathlib import Path

from configs.inert import inert
from sources.mcap.records import MAGIC, McapChannel, channels
from sources.recordings.recording import UnusableError

_SHOWN = 4


def channels_of(path: str) -> list[McapChannel]:
    """Return the channels that a file announces.

    Raises
    ------
    OSError
        The file cannot be opened.
    UnusableError
        It is no MCAP file, or it announces channels and none of them is JSON.
    """
    try:
        with Path(path).open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise UnusableError(f"{path}: no MCAP file: its first bytes are not those of one")
            found = channels(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"recording not found: {path}") from None
    if found and not any(each.encoding == "json" for each in found):
        raise UnusableError(f"{path}: no channel is JSON: {_named(found)}")
    return found


def remarks(path: str) -> list[str]:
    """Return the remark on channels of other encodings, which are not read."""
    others = [each for each in channels_of(path) if each.encoding != "json"]
    return [f"{path}: not read, as their messages are not JSON: {_named(others)}"] if others else []


def _named(found: list[McapChannel]) -> str:
    shown = [f"{inert(each.topic)} ({inert(each.encoding) or '?'})" for each in found[:_SHOWN]]
    rest = len(found) - len(shown)
    return ", ".join([*shown, *([f"{rest} more"] if rest else [])])
