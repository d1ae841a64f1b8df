"""Payloads of MQTT messages as events: a number, an event, or a number within JSON.

Pure. Losses: `too_long`, `json`, `schema`, `value`, `stamp`, `retained`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from operators.limits import MAX_NAME_LENGTH
from sources.events.json_event import RefusedError, decoded, event_of, number_of, unread, value_of
from sources.inbox import NO_TIME, Message, Unread

MAX_PAYLOAD = 1 << 16
"""Largest payload that is decoded (bytes)."""


class PayloadDecoder:
    """Decodes the messages of one stream.

    Parameters
    ----------
    pointer : str, optional
        JSON Pointer (RFC 6901) of the number.
    is_held : callable
        Whether a key is a held channel: its retained value is a value of unknown age.
    """

    def __init__(self, pointer: str | None, is_held: Callable[[str], bool]) -> None:
        self._parts = None if pointer is None else parts_of(pointer)
        self._is_held = is_held

    def decode(self, topic: str, payload: bytes, retained: bool, rx: float) -> Message | Unread:
        """Return the event of a message, or its loss.

        A retained message is the state of an unknown time: it has no time of its own, and only a
        held channel takes it.
        """
        if retained and not self._is_held(topic):
            return unread(RefusedError("retained"), rx, topic, payload)
        try:
            if len(payload) > MAX_PAYLOAD:
                raise RefusedError("too_long")
            if not 0 < len(topic) <= MAX_NAME_LENGTH:
                raise RefusedError("schema")
            message = self._event(topic, payload, rx)
        except RefusedError as error:
            return unread(error, rx, topic, payload)
        return message._replace(ts=NO_TIME) if retained else message

    def _event(self, topic: str, payload: bytes, rx: float) -> Message:
        content = decoded(payload)
        if self._parts is not None:
            ts = content.get("ts") if type(content) is dict else None
            return event_of({"value": number_of(at(content, self._parts)), "ts": ts}, rx, topic)
        if type(content) is dict:
            return event_of(content, rx, topic)
        return Message(rx, topic, value_of(content))


def parts_of(pointer: str) -> list[str]:
    """Return the parts of a JSON Pointer."""
    return [x.replace("~1", "/").replace("~0", "~") for x in pointer.split("/")[1:]]


def at(content: Any, parts: list[str]) -> Any:
    """Return the member of JSON that a pointer names; `RefusedError` where there is none."""
    for part in parts:
        if type(content) is dict and part in content:
            content = content[part]
        elif type(content) is list and part.isascii() and part.isdigit() and len(part) < 9:
            if int(part) >= len(content):
                raise RefusedError("schema")
            content = content[int(part)]
        else:
            raise RefusedError("schema")
    return content
