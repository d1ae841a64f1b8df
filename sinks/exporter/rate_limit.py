"""Limit of requests by address: token buckets.

A bucket holds at most a second's requests, at least one, and gains `per_s` a second. IPv6 addresses
of one /64 share a bucket: one machine has all of them.

State: `MAX_ADDRESSES` buckets, and one that all further addresses share. Full buckets are removed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

MAX_ADDRESSES = 1_024
_SWEEP_S = 1.0


class RateLimit:
    """Token buckets of addresses.

    Parameters
    ----------
    per_s : float
        Requests a second of one address.
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._clock = per_s, clock
        self._most = max(1.0, per_s)
        self._lock = threading.Lock()
        self._buckets: dict[int | None, tuple[float, float]] = {}
        self._swept_at = clock()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, address: IPv4Address | IPv6Address | None) -> float:
        """Take one request of an address; return 0, or the time until one is admitted (s)."""
        key = None if address is None else int(address)
        if isinstance(address, IPv6Address):
            key = int(address) >> 64 << 64
        with self._lock:
            now = self._clock()
            if key not in self._buckets and len(self._buckets) >= MAX_ADDRESSES:
                self._sweep(now)
                if len(self._buckets) >= MAX_ADDRESSES:
                    key = None
            level = self._level(key, now)
            if level < 1:
                self._buckets[key] = level, now
                return (1 - level) / self._per_s
            self._buckets[key] = level - 1, now
            return 0.0

    def _level(self, key: int | None, now: float) -> float:
        level, at = self._buckets.get(key, (self._most, now))
        return min(level + (now - at) * self._per_s, self._most)

    def _sweep(self, now: float) -> None:
        """Remove the buckets that are full again: a new one is full too."""
        if now - self._swept_at >= _SWEEP_S:
            self._swept_at = now
            self._buckets = {
                key: bucket
                for key, bucket in self._buckets.items()
                if self._level(key, now) < self._most
            }
