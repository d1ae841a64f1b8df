"""The content of a packed recording (gzip, zstd), within bounds.

A small archive may expand to a large content: 268 kB of gzip are 256 MiB of blank lines. The
content is read up to `MAX_RATIO` times the archive's size plus `FREE`. It ends as well after
`MAX_BLANK` bytes of white space or `MAX_EMPTY` empty members or frames in a row. Beyond a bound,
or a damaged byte, nothing is read; `fault` names the cause. All bounds count bytes of the archive
or of its content, so that the cut does not depend on the sizes of the reads.

Cost: that of zlib or zstd, and 2 us a member. State: 64 KiB, and the window of the format.

Source: RFC 1952 (members), RFC 8878 (frames).
"""

from __future__ import annotations

import zlib
from typing import Any, BinaryIO

from backports import zstd

FREE, MAX_RATIO = 1 << 26, 250
"""Bytes of content of any archive; further ones for each byte of the archive."""
MAX_BLANK = 1 << 24
MAX_EMPTY = 65_536
_SLICE = 1 << 14
_OUT = 1 << 16
_AT_ONCE = 1024
"""Members in one call: a read has to return soon for any content."""
_DEFLATE = -15
_EXTRA, _NAME, _COMMENT, _SUM = 4, 8, 16, 2
"""Flags of a gzip member."""
_MAX_TEXT = 1 << 16
"""Of a member's name or comment (bytes)."""


class Unpacker:
    """Reads one archive from its beginning.

    Parameters
    ----------
    raw : binary file
    is_zstd : bool
        Else gzip.
    size : int
        Of the archive (bytes).

    Attributes
    ----------
    ended : bool
        There is no more readable content.
    fault : str or None
        The reason why the rest cannot be read.
    """

    def __init__(self, raw: BinaryIO, is_zstd: bool, size: int) -> None:
        self.ended = False
        self.fault: str | None = None
        self._raw, self._is_zstd = raw, is_zstd
        self._max_content = FREE + MAX_RATIO * size
        self._done = self._blank = self._empty = 0
        self._input = b""
        self._member: Any = None
        self._has_content, self._sum, self._count = False, 0, 0

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes of content; an empty result is not the end."""
        parts: list[bytes] = []
        length = 0
        for _ in range(_AT_ONCE):
            if self.ended or length >= size:
                break
            data = self._bounded(self._next(min(size - length, _OUT)))
            if data:
                parts.append(data)
                length += len(data)
        return b"".join(parts)

    def _next(self, size: int) -> bytes:
        """Return content of one member, nothing where one begins or ends."""
        if self._member is None and not self._begin():
            return b""
        member = self._member
        needs_input = not self._input and getattr(member, "needs_input", True)
        if needs_input:
            self._input = self._raw.read(_SLICE)
        try:
            data = bytes(member.decompress(self._input, size))
        except (zlib.error, zstd.ZstdError, EOFError) as error:
            self._stop(f"cannot be unpacked: {error}")
            return b""
        if data:
            self._has_content, self._empty = True, 0
            self._sum, self._count = zlib.crc32(data, self._sum), self._count + len(data)
        if member.eof:
            self._input = member.unused_data
            self._end()
        elif needs_input and not self._input and not data:
            self._stop("cut off")
        else:
            # A zstd member keeps its unread input itself.
            self._input = getattr(member, "unconsumed_tail", b"")
        return data

    def _begin(self) -> bool:
        """Begin the next member; return whether there is one."""
        if not self._is_zstd:
            self._input = self._input.lstrip(b"\0")  # padding between members
        if not self._input:
            self._input = self._raw.read(_SLICE)
            self.ended = not self._input
            return False
        if not self._is_zstd and not self._header():
            self._stop("cut off or no gzip archive")
            return False
        self._member = zstd.ZstdDecompressor() if self._is_zstd else zlib.decompressobj(_DEFLATE)
        self._has_content, self._sum, self._count = False, 0, 0
        return True

    def _header(self) -> bool:
        """Read the header of a gzip member; return whether it is valid."""
        head = self._take(10)
        if len(head) < 10 or head[:3] != b"\x1f\x8b\x08":
            return False
        flags = head[3]
        if flags & _EXTRA:
            size = self._take(2)
            if len(self._take(int.from_bytes(size, "little"))) < int.from_bytes(size, "little"):
                return False
        for flag in (_NAME, _COMMENT):
            if flags & flag:
                text = self._take(_MAX_TEXT)
                end = text.find(b"\0") + 1
                if not end:
                    return False
                self._input = text[end:] + self._input
        return not flags & _SUM or len(self._take(2)) == 2

    def _take(self, size: int) -> bytes:
        """Return the next bytes of the archive, fewer at its end."""
        while len(self._input) < size and (more := self._raw.read(_SLICE)):
            self._input += more
        taken, self._input = self._input[:size], self._input[size:]
        return taken

    def _end(self) -> None:
        """End a member."""
        self._member = None
        if not self._is_zstd:
            trailer = self._sum.to_bytes(4, "little") + (self._count % 2**32).to_bytes(4, "little")
            if self._take(8) != trailer:
                self._stop("cut off, or its content is not the one that was packed")
        self._empty += not self._has_content
        if self._empty > MAX_EMPTY:
            self._stop(f"more than {MAX_EMPTY:,} parts in a row hold nothing")

    def _bounded(self, data: bytes) -> bytes:
        """Return content, cut at a bound."""
        front = len(data) - len(data.lstrip())
        room = MAX_BLANK - self._blank
        if front > room:
            data = data[:room]
            self._stop(f"more than {MAX_BLANK >> 20} MiB without an event")
        self._blank = self._blank + front if front == len(data) else len(data) - len(data.rstrip())
        left = self._max_content - self._done
        if len(data) > left:
            data = data[:left]
            self._stop(
                f"more than {FREE >> 20} MiB and {MAX_RATIO} times its size: too much to believe"
            )
        self._done += len(data)
        return data

    def _stop(self, why: str) -> None:
        self.ended, self.fault = True, self.fault or why
