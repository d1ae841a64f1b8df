"""The key of the last row of a page, as an opaque text that is safe in a URL."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from math import isfinite
from typing import TypeAlias

import msgspec

Key: TypeAlias = tuple[int | float | str, ...]
MAX_KEY = 2_048
"""Characters of a key; names in it have at most 255 bytes."""


def text_of(key: Key) -> str:
    """Return the text of a key."""
    return urlsafe_b64encode(msgspec.json.encode(key)).rstrip(b"=").decode("ascii")


def key_of(text: str, kinds: tuple[type, ...]) -> Key:
    """Return the key in a text.

    Parameters
    ----------
    text : str
    kinds : tuple of type
        Type of each value: int, float or str.

    Raises
    ------
    ValueError
        The text is no key of such values.
    """
    wrong = ValueError("after has to be the key of a former page of the same resource")
    if len(text) > MAX_KEY or not text.isascii():
        raise wrong
    try:
        padded = text + "=" * (-len(text) % 4)
        values = msgspec.json.decode(urlsafe_b64decode(padded), type=list[int | float | str])
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise wrong from error
    if len(values) != len(kinds):
        raise wrong
    for value, kind in zip(values, kinds, strict=True):
        if not isinstance(value, (int, float) if kind is float else kind):
            raise wrong
        if isinstance(value, int) and abs(value) >= 2**63:
            raise wrong
        if isinstance(value, float) and not isfinite(value):
            raise wrong
    return tuple(float(x) if kind is float else x for x, kind in zip(values, kinds, strict=True))
