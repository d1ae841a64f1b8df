"""Form of a command on the control socket."""

from __future__ import annotations

import msgspec

from operators.types import BridgeCommand


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """One datagram, as JSON; without `rig` it is for the rig of the run's configuration."""

    command: BridgeCommand
    rig: str | None = None
