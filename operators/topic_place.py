"""Places in a partition: the offset of a message and a byte in it, as one number.

    place = offset * 2^20 + byte

A value has at most 2^20 bytes, so that places rise in the order of the lines. Offsets below 2^43
fit into 63 bits.
"""

from __future__ import annotations

BITS = 20
MAX_VALUE = 1 << BITS
"""Largest value of a message that is read (bytes)."""


def place_of(offset: int, byte: int = 0) -> int:
    """Return the place of a byte of a message."""
    return offset << BITS | byte


def offset_of(place: int) -> int:
    """Return the offset of the message of a place."""
    return place >> BITS


def byte_of(place: int) -> int:
    """Return the byte of a place in its message."""
    return place & (MAX_VALUE - 1)


def shown(partition: str, place: int) -> str:
    """Return a place for people: `topic/partition@offset:byte`."""
    return f"{partition}@{offset_of(place)}:{byte_of(place)}"
