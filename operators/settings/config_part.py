"""Parts of a configuration: their base type, and the bounds of their numbers.

Windows, hops and waits are bounded, since their data are in memory and their work is repeated.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Positive = Annotated[float, Meta(gt=0, le=1e15)]
NotNegative = Annotated[float, Meta(ge=0, le=1e15)]
Number = Annotated[float, Meta(ge=-1e300, le=1e300)]
Span = Annotated[float, Meta(gt=0, le=3600)]
"""Length of a window, or distance (s); its data are in memory."""
Hop = Annotated[float, Meta(ge=0.1, le=3600)]
"""Interval of a repeated computation (s); each run costs the same."""
Wait = Annotated[float, Meta(ge=0, le=3600)]
"""Waiting time (s); its data are in memory."""
Rate = Annotated[float, Meta(gt=0, le=1000)]
Period = Annotated[float, Meta(gt=0, le=86_400)]
Rest = Annotated[float, Meta(ge=0, le=86_400)]
"""Time span (s) without data in memory."""
Profile = Literal["accurate", "low_latency"]


class ConfigPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the configuration: immutable, unknown keys refused."""
