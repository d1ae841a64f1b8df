"""LSL streams on the network: found by their properties, described in a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pylsl import ContinuousResolver, resolve_bypred

from configs.inert import inert

if TYPE_CHECKING:
    from pylsl import StreamInfo

FORMS = ("none", "float32", "double64", "string", "int32", "int16", "int8", "int64")
"""Formats of channels by their number in LSL."""
TEXT = "string"
_ANSWER_S = 1.0
"""Time for all answers to a query."""
_GONE_S = 3.0
_FORGET_S = 3.0
_MAX_SHOWN = 64


def predicate(wanted: Mapping[str, str]) -> str:
    """Return the XPath predicate of streams with these properties."""
    return " and ".join(f"{name}={_literal(text)}" for name, text in wanted.items())


def _literal(text: str) -> str:
    """Return a text as XPath 1.0 writes it, which has no escapes."""
    if "'" not in text:
        return f"'{text}'"
    if '"' not in text:
        return f'"{text}"'
    return "concat(" + ', "\'", '.join(f"'{part}'" for part in text.split("'")) + ")"


def resolved(wanted: Mapping[str, str], at_least: int = 2) -> list[StreamInfo]:
    """Return the streams that answer within a second, or as soon as there are `at_least`."""
    found: list[StreamInfo] = resolve_bypred(predicate(wanted), at_least, _ANSWER_S)
    return found


def described(info: StreamInfo) -> str:
    """Return what a stream is, with its identifier and host."""
    rate = info.nominal_srate()
    form = FORMS[info.channel_format()] if 0 <= info.channel_format() < len(FORMS) else "?"
    at = f"{rate:g} Hz" if rate > 0 else "irregular"
    kind, identifier = _cut(info.type()), _cut(info.source_id())
    parts = [kind] if kind else []
    parts += [f"{info.channel_count()} channels, {form}, {at}"]
    parts += [f"source_id {identifier}" if identifier else "no source_id"]
    parts += [f"host {_cut(info.hostname())}"]
    return f"{_cut(info.name())} ({', '.join(parts)})"


def ambiguous(found: Sequence[StreamInfo]) -> str:
    """Return the reason why none of several streams is taken."""
    both = "; ".join(described(info) for info in found[:2])
    alike = len({info.source_id() for info in found}) < len(found)
    remedy = "end one of them" if alike else "name one by source_id"
    return f"{len(found)} streams fit: {both}: {remedy}"


def _cut(text: str) -> str:
    return inert(text[:_MAX_SHOWN])


class StillThere:
    """Whether a silent stream is still announced, without waiting for an answer.

    Parameters
    ----------
    uid : str
        Of the stream's instance.
    """

    def __init__(self, uid: str, now: float) -> None:
        self._resolver = ContinuousResolver(pred=predicate({"uid": uid}), forget_after=_FORGET_S)
        self._began = now

    def answer(self, now: float) -> bool | None:
        """Return whether it is there; None before that is known."""
        if self._resolver.results():
            return True
        return False if now - self._began > _GONE_S else None
