"""How far a tape has been sent to a topic: a small file beside its segments.

It is replaced atomically after acknowledgements, and is on the disk then. The file of a new tape
is written before the first event, so that no tape is forgotten after a kill.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from pathlib import Path

import msgspec

from configs.files import PRIVATE, Access, read_own, write_whole

_MAX_BYTES = 64 << 10
_UNSOUND = (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class SentPlace(msgspec.Struct):
    """How far a tape has been sent.

    Attributes
    ----------
    topic : str
    tape : str
        Identifies the tape among those of all edges.
    place : int
        Everything before this offset is acknowledged (bytes).
    lines, lost : int
        Lines before the place; those of them that could not be sent.
    partitions : int or None
        Of the topic when the first message was sent.
    complete : bool
        The tape has ended, and all of it is acknowledged.
    """

    topic: str
    tape: str
    place: int = 0
    lines: int = 0
    lost: int = 0
    partitions: int | None = None
    complete: bool = False


def place_path(folder: Path, topic: str) -> Path:
    """Return the path of the file of a topic."""
    name = topic if len(topic) <= 100 else sha256(topic.encode()).hexdigest()
    return folder / f"sent.{name}.json"


def begun(folder: Path, topic: str, access: Access = PRIVATE) -> SentPlace:
    """Write the file of a new tape, and return it."""
    place = SentPlace(topic, f"{folder.name}-{secrets.token_hex(6)}")
    save(folder, place, access)
    return place


def place_of(folder: Path, topic: str) -> SentPlace | None:
    """Return how far a tape has been sent to a topic; None where that was never begun."""
    try:
        data = read_own(place_path(folder, topic), _MAX_BYTES)
        found = msgspec.json.decode(data, type=SentPlace)
    except _UNSOUND:
        return None
    return found if found.topic == topic else None


def save(folder: Path, place: SentPlace, access: Access = PRIVATE) -> None:
    """Replace the file of a tape."""
    data = msgspec.json.format(msgspec.json.encode(place), indent=1)
    write_whole(place_path(folder, place.topic), data, access)
