"""Settings of channels by name or pattern, and the keys of MIDI."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from operators.settings.config_part import ConfigPart, Number, Period

Kind = Literal["sampled", "held", "beat"]
Reduce = Literal["norm", "sum", "mean"]
_CHANNEL, _DATA = r"(?:[1-9]|1[0-6])", r"(?:\d\d?|1[01]\d|12[0-7])"
_14_BITS = r"(?:\d{1,4}|1[0-5]\d{3}|16[0-2]\d\d|163[0-7]\d|1638[0-3])"
MIDI_PLAYED = re.compile(
    rf"(?:note|cc)/{_CHANNEL}/{_DATA}|pressure/{_CHANNEL}(?:/{_DATA})?|(?:pitch|program)/{_CHANNEL}"
)
"""Keys of played MIDI messages."""
MIDI_KEY = re.compile(
    rf"{MIDI_PLAYED.pattern}|cc14/{_CHANNEL}/(?:[12]?\d|3[01])|nrpn/{_CHANNEL}/{_14_BITS}|transport"
)
"""Keys that a MIDI device sends on change; only its clock has a rate."""


class ChannelConfig(ConfigPart, frozen=True, kw_only=True):
    """Conversion of the values of channels that match a name or pattern.

    A `gain` or `offset` of `auto` is learnt against the members of the channel's signal. `unit` is
    that of the values after `gain` and `offset`, or before a learnt gain; it is for display only.
    """

    kind: Annotated[
        Kind | None,
        Meta(
            description="`sampled` at a rate, `held` until the next change, or a `beat` of the"
            " bridge's reference; by default held for facts and MIDI, sampled otherwise.",
            examples=["held"],
        ),
    ] = None
    gain: Annotated[
        Number | Literal["auto"] | None,
        Meta(
            description="Factor applied to each value; `auto` learns it against the other members.",
            examples=[0.007874],
        ),
    ] = None
    offset: Annotated[
        Number | Literal["auto"] | None,
        Meta(
            description="Added after the gain; `auto` learns it against the other members.",
            examples=[-5.0],
        ),
    ] = None
    range: Annotated[
        tuple[Number, Number] | None,
        Meta(
            description="Smallest and largest accepted value, after gain and offset.",
            examples=[[0.0, 1.0]],
        ),
    ] = None
    reduce: Annotated[
        Reduce | None,
        Meta(
            description="Reduces the numbers of one message to one value.",
            examples=["norm"],
        ),
    ] = None
    stale_after_s: Annotated[
        Period | None,
        Meta(
            description="Silence after which the channel is stale; by default that of `failover`.",
            examples=[1.0],
        ),
    ] = None
    unit: Annotated[
        Annotated[str, Meta(min_length=1, max_length=32)] | None,
        Meta(
            description="Unit of the values after gain and offset, before them where a gain is"
            " learnt; for display.",
            examples=["g"],
        ),
    ] = None

    @property
    def learnt(self) -> bool:
        """Whether a part of the conversion is learnt."""
        return "auto" in (self.gain, self.offset)

    @property
    def given_offset(self) -> float:
        """The configured offset, 0 where it is absent or learnt."""
        return self.offset if isinstance(self.offset, float | int) else 0.0

    @property
    def conversion(self) -> tuple[float, float]:
        """Gain and offset to apply in `normalize`: 1 and 0 before a learnt gain."""
        if self.gain == "auto":
            return 1.0, 0.0
        return 1.0 if self.gain is None else self.gain, self.given_offset


def matches(pattern: str, name: str) -> bool:
    """Whether a name equals the pattern, or matches its wildcards."""
    return bool(_compile(pattern).fullmatch(name)) if is_pattern(pattern) else pattern == name


def is_pattern(name: str) -> bool:
    """Whether a name has wildcards."""
    return "*" in name or "?" in name


@lru_cache(maxsize=4096)
def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern), re.S)


def resolve(patterns: tuple[tuple[str, ChannelConfig], ...], name: str) -> ChannelConfig:
    """Return the merged settings of a channel: exact beats pattern, later beats earlier."""
    merged: dict[str, object] = {}
    matching = [p for p in patterns if is_pattern(p[0]) and _compile(p[0]).fullmatch(name)]
    for _, config in matching + [p for p in patterns if p[0] == name]:
        merged |= {f: v for f in config.__struct_fields__ if (v := getattr(config, f)) is not None}
    return msgspec.convert(merged, ChannelConfig)
