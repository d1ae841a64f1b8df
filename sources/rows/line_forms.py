"""Forms of the lines of a recording, as this program writes them: tapes, converted recordings."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from operators.types import BridgeCommand
from sources.rows.one_line import Link, UnreadLine


class LineMeta(msgspec.Struct, omit_defaults=True, gc=False):
    """Arrival, absence of a sender's time, sequence number."""

    rx: float | None = None
    own_time: bool | None = None
    seq: int = -1


class EventForm(msgspec.Struct, gc=False):
    """An event; without the sender's time, `ts` is the arrival."""

    ts: float
    source: str
    key: str
    value: float | str | list[float | str | None]
    rig: str | UnsetType = UNSET
    meta: LineMeta | UnsetType = UNSET


class TickForm(msgspec.Struct, omit_defaults=True, gc=False):
    """A tick of the host clock, with a stream that came up or went down, or a step (s)."""

    tick: float
    rig: str | UnsetType = UNSET
    turned: Link | None = None
    step: float | None = None


class ControlForm(msgspec.Struct, gc=False):
    """A command of a person."""

    control: BridgeCommand
    rx: float
    rig: str | UnsetType
    by: str


class UnreadForm(msgspec.Struct, gc=False):
    """Inputs that could not be used."""

    lost: UnreadLine


NO_TIME = LineMeta(own_time=False)
