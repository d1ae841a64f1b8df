"""The partition of a topic in which a rig's messages lie.

    partition = (murmur2(name) & 0x7fffffff) mod n

This is the default of Apache Kafka's own producers (murmur2 by Appleby 2008, seed 0x9747b28c), so
that a producer of any kind that keys by rig deals alike.

Cost: 5 us a name; callers keep the results. State: none.
"""

from __future__ import annotations

_M, _R, _SEED = 0x5BD1E995, 24, 0x9747B28C
_MASK = 0xFFFFFFFF


def partition_of(rig: str, count: int) -> int:
    """Return the partition of a rig among `count`."""
    return (murmur2(rig.encode()) & 0x7FFFFFFF) % count


def murmur2(data: bytes) -> int:
    """Return the 32-bit hash of a key, unsigned."""
    n = len(data)
    h = (_SEED ^ n) & _MASK
    whole = n & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * _M & _MASK
        k = (k ^ k >> _R) * _M & _MASK
        h = h * _M & _MASK ^ k
    if n > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15
