"""Lines whose value is an array of numbers, as columns: one row an element.

The fast form of `one_line.read_line` for them; it leaves every line that it cannot read.

Cost: 0.1 us an element.
"""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec.json import Decoder

from operators.events import Meta
from operators.limits import MAX_LINE, MAX_NAME_LENGTH, MAX_STAMP_S
from operators.types import F64, I32, I64
from sources.rows.names import Names, is_rig
from sources.rows.one_line import BROKEN, MAX_ELEMENTS, NAN, is_sound


class NumberArray(msgspec.Struct, gc=False):
    """A line."""

    ts: float
    source: str
    key: str
    value: list[float]
    rig: str | None = None
    meta: Meta | None = None


class ArrayRows(NamedTuple):
    """Rows of several lines, `counts` of each; NaN, for `seq` -1, where a line has no value."""

    counts: I64
    name: I32
    ts: F64
    value: F64
    rx: F64
    seq: I64


_PARSER = Decoder(NumberArray)


def read_array(line: bytes, per_second: float = 1.0) -> NumberArray | None:
    """Return an array of numbers, else None.

    `per_second` units of the source's stamps make a second.
    """
    if b"[" not in line or len(line) > MAX_LINE or not is_sound(line):
        return None
    try:
        array = _PARSER.decode(line)
    except BROKEN:
        return None
    names = (array.source, array.key)
    fits = (
        0 < len(array.value) <= MAX_ELEMENTS
        and max(map(len, names)) <= MAX_NAME_LENGTH
        and (array.rig is None or is_rig(array.rig))
        and abs(array.ts / per_second) <= MAX_STAMP_S
    )
    meta = array.meta
    if meta is not None:
        fits &= meta.own_time is not False or abs(array.ts) <= MAX_STAMP_S
        fits &= meta.seq is None or -(2**63) <= meta.seq < 2**63
        fits &= meta.rx is None or abs(meta.rx) <= MAX_STAMP_S
    return array if fits else None


class ArrayReader:
    """Reads the arrays among several lines.

    Parameters
    ----------
    names : Names
        Numbers the elements; new ones are entered.
    per_second : float
        Units of the source's stamps in a second.
    """

    def __init__(self, names: Names, per_second: float) -> None:
        self._names, self._per_second = names, per_second
        self._arrays: list[NumberArray] = []
        self._numbers: list[I32] = []
        self._known: dict[tuple[str | None, str, str, int], I32] = {}

    def read(self, line: bytes) -> bool:
        """Read a line; return whether it is an array of numbers."""
        array = read_array(line, self._per_second)
        if array is None:
            return False
        key = (array.rig, array.source, array.key, len(array.value))
        if key not in self._known:
            owners = ((array.rig, array.source, f"{array.key}[{i}]") for i in range(key[3]))
            self._known[key] = np.array([self._names.add(owner) for owner in owners], np.int32)
        self._arrays.append(array)
        self._numbers.append(self._known[key])
        return True

    def rows(self) -> ArrayRows | None:
        """Return the rows of all arrays, None where there is no array."""
        arrays = self._arrays
        if not arrays:
            return None
        counts = np.array([len(array.value) for array in arrays])
        values = chain.from_iterable(array.value for array in arrays)
        ts = np.array([array.ts for array in arrays])
        metas = [array.meta or Meta() for array in arrays]
        rx = np.array([NAN if m.rx is None else m.rx for m in metas])
        seq = np.array([-1 if m.seq is None else m.seq for m in metas], np.int64)
        own_time = np.array([m.own_time is not False for m in metas])
        np.copyto(rx, ts, where=~own_time & np.isnan(rx))
        ts = np.where(own_time, ts / self._per_second, NAN)
        return ArrayRows(
            counts=counts,
            name=np.concatenate(self._numbers),
            ts=np.repeat(ts, counts),
            value=np.fromiter(values, np.float64, counts.sum()),
            rx=np.repeat(rx, counts),
            seq=np.repeat(seq, counts),
        )
