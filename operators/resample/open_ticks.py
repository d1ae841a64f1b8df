"""Ticks whose presence is known and that are not released yet, channel by channel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from operators.types import F64


class ChannelStatus(NamedTuple):
    """State of a channel at k ticks, known without its value; each (k,), or (c, k) of c channels.

    Units: s, s^2, s/s, (s/s)^2, Hz; `length_s` is the length of its packets. Names as in `Grid`.
    """

    state: F64
    ramp: F64
    lag_s: F64
    lag_var: F64
    lag_rate: F64
    lag_rate_var: F64
    search_hz: F64
    confidence: F64
    rate_hz: F64
    gaps: F64
    length_s: F64


class Readings(NamedTuple):
    """Values read at k ticks, each (k,)."""

    value: F64
    coverage: F64
    noise_var: F64


StatusAt = tuple[float, ...]
"""`ChannelStatus` of one tick, as plain numbers."""
FIELDS = len(ChannelStatus._fields)
NOT_READ = (float("nan"), 0.0, float("nan"))
"""`Readings` of a tick without a value."""
_STATUS, _OWN, _READINGS = slice(0, FIELDS), FIELDS, slice(FIELDS + 1, FIELDS + 4)
_MIN_ROOM = 64


class OpenTicks:
    """Status, due time and reading of c channels at n consecutive ticks.

    State: n ticks, in a buffer that grows and is reused.
    """

    def __init__(self, channels: int) -> None:
        self._buffer: F64 = np.empty((FIELDS + 4, channels, _MIN_ROOM))
        self._dues: F64 = np.empty(_MIN_ROOM)
        self._from = self._to = 0

    def __len__(self) -> int:
        return self._to - self._from

    @property
    def status(self) -> F64:
        """The columns of `ChannelStatus` (fields, c, n)."""
        return self._buffer[_STATUS, :, self._from : self._to]

    @property
    def own_due(self) -> F64:
        """Watermark at which a channel may be read (s), (c, n)."""
        return self._buffer[_OWN, :, self._from : self._to]

    @property
    def readings(self) -> F64:
        """The columns of `Readings` (3, c, n)."""
        return self._buffer[_READINGS, :, self._from : self._to]

    @property
    def due(self) -> F64:
        """Watermark at which a tick is released (s), (n,)."""
        return self._dues[self._from : self._to]

    def append(self, status: F64, own_due: F64, due: F64) -> None:
        """Append k ticks: (fields, c, k), (c, k) and (k,)."""
        new = self._room(len(due))
        self._buffer[_STATUS, :, new], self._buffer[_OWN, :, new] = status, own_due
        self._buffer[_READINGS, :, new] = np.array(NOT_READ)[:, None, None]
        self._dues[new] = due

    def append_one(self, columns: list[tuple[StatusAt, float]], due: float) -> None:
        """Append one tick: status and due time of each channel."""
        j = self._room(1).start
        for k, (status, own_due) in enumerate(columns):
            self._buffer[:, k, j] = (*status, own_due, *NOT_READ)
        self._dues[j] = due

    def drop(self, k: int) -> None:
        """Drop the first k ticks."""
        self._from += k

    def _room(self, k: int) -> slice:
        """Return the place of k more ticks."""
        n = len(self)
        if self._to + k > len(self._dues):
            size = max(_MIN_ROOM, 2 * (n + k))
            buffer, dues = np.empty((*self._buffer.shape[:2], size)), np.empty(size)
            buffer[:, :, :n] = self._buffer[:, :, self._from : self._to]
            dues[:n] = self.due
            self._buffer, self._dues, self._from, self._to = buffer, dues, 0, n
        self._to += k
        return slice(self._to - k, self._to)
