"""Numbers of 14 bits from pairs of controllers.

MIDI 1.0 detailed specification (M1 v4.2.1): the fine part of controllers 0 to 31 has a number 32
higher. Controllers 98 and 99 select a non-registered parameter, 100 and 101 a registered one; 6
and 38 are its coarse and fine part, 96 and 97 change it by one.

A coarse part sets the fine part to zero until the fine part follows. If a device sends both, the
coarse part waits for the fine part, so that no intermediate value appears; if a device never
sends a fine part, the coarse part counts at once.

State: a few numbers for each used controller and parameter: at most 16 times 32 + 16,384.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

PATIENCE_S = 0.03
"""Wait of a coarse part (s): a driver may spread a pair over three periods of 10 ms."""
_NULL = 127 << 7 | 127
_COARSE, _FINE = 6, 38
_UP, _DOWN = 96, 97
_CHOICES = {99: 7, 101: 7, 98: 0, 100: 0}
"""Controllers that select a parameter, and the position of their seven bits."""
Stated: TypeAlias = tuple[float, str, float]
"""Time (s), key, number."""


class Fine:
    """Numbers of 14 bits from controllers: `cc14/<channel>/<n>`, `nrpn/<channel>/<n>`.

    Registered and non-registered parameters of one number share a key: a device uses one kind.
    """

    def __init__(self) -> None:
        self._value: dict[str, int] = {}
        self._fine: set[str] = set()
        self._waiting: dict[str, float] = {}
        self._chosen: dict[int, int] = {}

    def take(self, message: Sequence[int], rx: float) -> list[Stated]:
        """Return the numbers completed by a message that arrived at `rx`."""
        stated = self.due(rx)
        if len(message) != 3 or message[0] & 0xF0 != 0xB0 or max(message[1:]) > 0x7F:
            return stated
        channel, n, data = (message[0] & 0x0F) + 1, message[1], message[2]
        if n in _CHOICES:
            shift = _CHOICES[n]
            before = self._chosen.get(channel, _NULL)
            self._chosen[channel] = before & ~(0x7F << shift) | data << shift
        if n < 64:
            stated += self._part(f"cc14/{channel}/{n % 32}", n < 32, data, rx)
        chosen = self._chosen.get(channel, _NULL)
        if chosen == _NULL:
            return stated
        key = f"nrpn/{channel}/{chosen}"
        if n in (_COARSE, _FINE):
            stated += self._part(key, n == _COARSE, data, rx)
        elif n in (_UP, _DOWN) and key in self._value:
            moved = self._value[key] + (1 if n == _UP else -1)
            self._value[key] = min(max(moved, 0), 0x3FFF)
            self._waiting.pop(key, None)
            stated.append((rx, key, float(self._value[key])))
        return stated

    def due(self, now: float) -> list[Stated]:
        """Return coarse parts whose wait for the fine part has ended."""
        over = [key for key, end in self._waiting.items() if not 0 <= end - now <= PATIENCE_S]
        for key in over:
            del self._waiting[key]
        return [(now, key, float(self._value[key])) for key in over]

    def _part(self, key: str, coarse: bool, data: int, rx: float) -> list[Stated]:
        if coarse:
            self._value[key] = data << 7
            if key in self._fine:
                self._waiting[key] = rx + PATIENCE_S
                return []
        else:
            self._fine.add(key)
            self._waiting.pop(key, None)
            if key not in self._value:
                return []  # the coarse part is unknown
            self._value[key] = self._value[key] & ~0x7F | data
        return [(rx, key, float(self._value[key]))]
