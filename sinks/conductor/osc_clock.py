"""A tick of the bridge as an OSC bundle (OSC 1.0, Wright 2002).

    #bundle <time tag> <size> <address> ,iffi beat rate_hz phase_error state

The time tag is the time at which the tick is to sound, by the wall clock, in the form of NTP
(RFC 5905): seconds since 1900 in 32.32 bits. An unknown phase error is NaN.
"""

from __future__ import annotations

import struct

from sinks.conductor.tick_schedule import Tick
from sinks.send.destination import float32, padded

_SINCE_1900_S = 2_208_988_800
_TICKS_A_SECOND = 1 << 32
_MAX_INT32 = (1 << 31) - 1


def time_tag(wall: float) -> int:
    """Return a time of the wall clock (Unix s) as a time tag."""
    return (_SINCE_1900_S * _TICKS_A_SECOND + round(wall * _TICKS_A_SECOND)) % (1 << 64)


def tick_bundle(address: str, tick: Tick, offset_s: float) -> bytes:
    """Return the bundle of a tick that is to sound `offset_s` after its time."""
    beat = (tick.beat + _MAX_INT32 + 1) % (1 << 32) - _MAX_INT32 - 1
    values = struct.pack(">i", beat) + float32(tick.rate_hz)
    values += float32(tick.phase_error) + struct.pack(">i", tick.state)
    message = padded(address) + padded(",iffi") + values
    return struct.pack(">8sQi", b"#bundle", time_tag(tick.wall + offset_s), len(message)) + message
