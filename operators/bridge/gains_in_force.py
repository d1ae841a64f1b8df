"""The gains of the phase loop at one instant."""

from __future__ import annotations

from typing import NamedTuple


class Gains(NamedTuple):
    """Proportional gain (1/s), integral gain (1/s^2), derivative gain (1)."""

    kp: float
    ki: float
    kd: float
