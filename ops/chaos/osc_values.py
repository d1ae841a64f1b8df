"""Faults on the values of OSC datagrams: noise on numbers, and a step of time tags.

A datagram keeps its length. What is no OSC, or cannot be read to its end, is left as it is.

State: mean and variance of at most 4,096 arguments.
"""

from __future__ import annotations

import struct

import numpy as np

from ops.chaos.fault import NOISE_SD, STEP_S, Disturbance
from ops.chaos.rewriting import Spread

MAX_ARGUMENTS = 4096
MAX_DEPTH = 8
_FORMS = {"f": ">f", "d": ">d", "i": ">i", "h": ">q"}
_SIZES = {"f": 4, "d": 8, "i": 4, "h": 8, "t": 8, "c": 4, "r": 4, "m": 4}
_IMMEDIATELY = 1
"""The time tag without a time."""


class OscValues:
    """Changes datagrams of one stream."""

    def __init__(self, fault: Disturbance, rng: np.random.Generator) -> None:
        self._fault, self._rng = fault, rng
        self._spreads: dict[tuple[bytes, int], Spread] = {}

    def changed(self, data: bytes, active: bool) -> bytes:
        """Return a datagram; outside the window it is read for the spread of its values alone."""
        made = bytearray(data)
        try:
            self._packet(made, 0, len(made), active, 0)
        except (struct.error, IndexError, ValueError, OverflowError):
            return data
        return bytes(made)

    def _packet(self, data: bytearray, begin: int, end: int, active: bool, depth: int) -> None:
        if data[begin : begin + 8] != b"#bundle\0":
            self._message(data, begin, end, active)
            return
        if depth == MAX_DEPTH:
            raise ValueError("too deep")
        (tag,) = struct.unpack_from(">Q", data, begin + 8)
        if active and self._fault.mode == "step" and tag != _IMMEDIATELY:
            tag = min(tag + round(STEP_S * 2**32), 2**64 - 1)
            struct.pack_into(">Q", data, begin + 8, tag)
        at = begin + 16
        while at < end:
            (size,) = struct.unpack_from(">i", data, at)
            if not 0 < size <= end - at - 4:
                raise ValueError("size")
            self._packet(data, at + 4, at + 4 + size, active, depth + 1)
            at += 4 + size

    def _message(self, data: bytearray, begin: int, end: int, active: bool) -> None:
        if self._fault.mode != "spike":
            return
        address, at = _text(data, begin, end)
        types, at = _text(data, at, end)
        if not (address.startswith(b"/") and types.startswith(b",")):
            raise ValueError("no message")
        for place, kind in enumerate(types[1:].decode("latin-1")):
            if kind in _FORMS:
                if at + _SIZES[kind] > end:
                    raise ValueError("size")
                (value,) = struct.unpack_from(_FORMS[kind], data, at)
                made = self._value(bytes(address), place, float(value), active)
                if active and np.isfinite(made):
                    whole = kind in "ih"
                    struct.pack_into(_FORMS[kind], data, at, round(made) if whole else made)
            if kind in _SIZES:
                at += _SIZES[kind]
            elif kind in "sS":
                at = _text(data, at, end)[1]
            elif kind == "b":
                (size,) = struct.unpack_from(">i", data, at)
                at += 4 + (size + 3) // 4 * 4
            elif kind not in "TFNI[]":
                raise ValueError(kind)

    def _value(self, address: bytes, place: int, value: float, active: bool) -> float:
        spread = self._spreads.get((address, place))
        if active:
            sd = spread.sd if spread else 0.0
            return value + NOISE_SD * sd * float(self._rng.standard_normal())
        if np.isfinite(value):
            if spread is None and len(self._spreads) < MAX_ARGUMENTS:
                spread = self._spreads[address, place] = Spread()
            if spread is not None:
                spread.add(np.array([value]))
        return value


def _text(data: bytearray, begin: int, end: int) -> tuple[bytes, int]:
    """Return a padded text and the place behind it."""
    stop = data.index(0, begin, end)
    return bytes(data[begin:stop]), begin + (stop - begin) // 4 * 4 + 4
