"""Events as JSON objects, one by one: the content of a message of a broker or browser.

An event has `value` (a number, a text or an array of numbers), `key`, and may have `ts` (s) and
`seq`, also within `meta`. Other members are not read.

Cost: about 2 us an event. State: none. Losses: `json`, `schema`, `value`, `stamp`, counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import msgspec

from operators.errors import SourceError
from operators.limits import MAX_NAME_LENGTH, MAX_SAMPLE, MAX_STAMP_S
from operators.types import Reason
from sources.inbox import NO_TIME, Message, Unread

MAX_ELEMENTS = 1024
"""Elements of an array; a larger one is refused."""
BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode = msgspec.json.Decoder().decode


class RefusedError(SourceError, ValueError):
    """An event that cannot be used, and the reason."""

    def __init__(self, reason: Reason) -> None:
        self.reason: Reason = reason
        super().__init__(reason)


def decoded(data: bytes | str) -> Any:
    """Return the content of a JSON text.

    Raises
    ------
    RefusedError
        It is none.
    """
    try:
        return _decode(data)
    except BROKEN:
        raise RefusedError("json") from None


def event_of(content: Any, rx: float, key: str | None = None) -> Message:
    """Return the event that an object is.

    Parameters
    ----------
    content : decoded JSON
    rx : float
        Arrival (s).
    key : str, optional
        Instead of the object's own.

    Raises
    ------
    RefusedError
        It is no event.
    """
    if type(content) is not dict or "value" not in content:
        raise RefusedError("schema")
    if key is None:
        key = content.get("key")
        if type(key) is not str or not 0 < len(key) <= MAX_NAME_LENGTH:
            raise RefusedError("schema")
    meta = content.get("meta")
    seq = content.get("seq", meta.get("seq", -1) if type(meta) is dict else -1)
    if type(seq) is not int or not -1 <= seq < 1 << 62:
        raise RefusedError("schema")
    return Message(rx, key, value_of(content["value"]), _stamp(content.get("ts")), seq)


def value_of(content: Any) -> float | str | tuple[float | str, ...]:
    """Return the value of an event; `RefusedError` where it is none."""
    if type(content) is str:
        return content
    if type(content) is list:
        if not 0 < len(content) <= MAX_ELEMENTS:
            raise RefusedError("value")
        return tuple(x if type(x) is str else _element(x) for x in content)
    return number_of(content)


def number_of(content: Any) -> float:
    """Return a finite number; `RefusedError` where it is none."""
    if type(content) is float and isfinite(content):
        return content
    if type(content) is int:
        try:
            return float(content)
        except OverflowError:
            pass
    raise RefusedError("value")


def _element(content: Any) -> float:
    """Return an element of an array; NaN stands for one that is no finite number."""
    try:
        return number_of(content)
    except RefusedError:
        return NO_TIME


def _stamp(content: Any) -> float:
    """Return the source time; NaN without one."""
    if content is None:
        return NO_TIME
    try:
        seconds = number_of(content)
    except RefusedError:
        raise RefusedError("stamp") from None
    if abs(seconds) > MAX_STAMP_S:
        raise RefusedError("stamp")
    return seconds


def events_of(data: bytes | str, rx: float, where: str) -> Sequence[Message | Unread]:
    """Return the events of a text: one, or an array of them, each with its own fate."""
    try:
        content = decoded(data)
    except RefusedError as error:
        return [unread(error, rx, where, data)]
    if type(content) is not list:
        content = [content]
    elif not content:
        return [unread(RefusedError("schema"), rx, where, data)]
    items: list[Message | Unread] = []
    for each in content:
        try:
            items.append(event_of(each, rx))
        except RefusedError as error:
            items.append(unread(error, rx, where, msgspec.json.encode(each)))
    return items


def unread(error: RefusedError, rx: float, where: str, data: bytes | str) -> Unread:
    """Return the reject of a text."""
    sample = data[:MAX_SAMPLE]
    if isinstance(sample, str):
        sample = sample.encode("utf-8", "replace")[:MAX_SAMPLE]
    return Unread(rx, error.reason, where[:MAX_NAME_LENGTH], bytes(sample))
