"""A bound on the content of zstd data by the headers of its blocks, without unpacking it.

A block holds at most 128 KiB, whatever its packed size, and its decoder refuses more. So the count
of blocks bounds the content.

Source: RFC 8878, "Zstandard Compression", sections 3.1.1 and 3.1.2.
"""

from __future__ import annotations

ZSTD_BLOCK = 128 << 10
"""Largest content of a block (bytes)."""
_MAGIC, _SKIPPED = 0xFD2FB528, 0x184D2A50
_RAW, _RLE, _PACKED = range(3)


def most_of_zstd(data: bytes) -> int | None:
    """Return the largest possible size of the content (bytes); None for data of another form."""
    at = most = 0
    while at < len(data):
        magic = int.from_bytes(data[at : at + 4], "little")
        if magic & ~15 == _SKIPPED:
            at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
            continue
        if magic != _MAGIC or at + 5 > len(data):
            return None
        flags = data[at + 4]
        single = flags >> 5 & 1
        size_of_content = (single, 2, 4, 8)[flags >> 6]
        at += 5 + (1 - single) + (0, 1, 2, 4)[flags & 3] + size_of_content
        last = 0
        while not last:
            if at + 3 > len(data):
                return None
            head = int.from_bytes(data[at : at + 3], "little")
            last, kind, size = head & 1, head >> 1 & 3, head >> 3
            if kind > _PACKED:
                return None
            most += ZSTD_BLOCK if kind == _PACKED else size
            at += 3 + (1 if kind == _RLE else size)
        at += 4 * (flags >> 2 & 1)
    return most if at == len(data) else None
