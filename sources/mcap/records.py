"""Records of an MCAP file, within bounds: its framing, channels, messages and chunks.

Hostile or cut input ends in a `CutError` with the reason, never in another exception. A record of
another kind is skipped, an attachment without being read.

State: one chunk, packed and unpacked (at most 64 MiB each). Source: mcap.dev/spec, format 0.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from struct import Struct
from typing import BinaryIO, NamedTuple, TypeAlias

from backports import zstd

from operators.errors import SourceError

MAGIC = b"\x89MCAP0\r\n"
MAX_RECORD = 1 << 26
"""Largest record, and largest content of a chunk (bytes)."""
_FOOT, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 2, 4, 5, 6, 15
_LOOK = 4 << 20
_FRAME, _FOOTER = Struct("<BQ"), Struct("<BQQQI")
_MESSAGE_HEAD = Struct("<HIQQ")
_CHUNK_HEAD = Struct("<QQQI")
_SHORT, _LONG, _WIDE = Struct("<H"), Struct("<I"), Struct("<Q")


class CutError(SourceError, ValueError):
    """The place from which on a file, or one chunk of it, cannot be read: the reason."""


class McapChannel(NamedTuple):
    """One channel: number, topic, encoding of its messages, and metadata."""

    number: int
    topic: str
    encoding: str
    metadata: dict[str, str]


class McapMessage(NamedTuple):
    """One message: number of its channel, times (ns), content."""

    channel: int
    log_ns: int
    publish_ns: int
    data: bytes


class Damaged(NamedTuple):
    """A chunk that could not be read, and the reason; the file goes on."""

    why: str


Record: TypeAlias = McapChannel | McapMessage | Damaged


def records(file: BinaryIO) -> Iterator[Record]:
    """Yield channels and messages in the order of the file.

    Parameters
    ----------
    file : binary file
        At its beginning.

    Raises
    ------
    CutError
        The file ends before its end of data, or cannot be read further.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise CutError("no MCAP file")
    yield from _framed(file)


def _framed(file: BinaryIO) -> Iterator[Record]:
    """Yield the records from the position of a file on, up to the end of data."""
    while True:
        head = file.read(_FRAME.size)
        if len(head) < _FRAME.size:
            raise CutError("cut off")
        kind, size = _FRAME.unpack(head)
        if kind in (_DATA_END, _FOOT):
            return
        if kind not in (_CHANNEL, _MESSAGE, _CHUNK):
            _skip(file, size)
            continue
        if size > MAX_RECORD:
            raise CutError(f"a record of {size:,} bytes, and no more than {MAX_RECORD:,} are read")
        content = file.read(size)
        if len(content) < size:
            yield from _cut(kind, content)
            raise CutError("cut off")
        if kind != _CHUNK:
            yield _record(kind, content)
            continue
        try:
            chunk = _unpacked(content)
        except CutError as error:
            yield Damaged(str(error))
            continue
        yield from _inside(chunk)


def channels(file: BinaryIO) -> list[McapChannel]:
    """Return the channels of the summary at a file's end; without one, those of its first 4 MiB."""
    end = file.seek(0, 2)
    file.seek(max(end - _FOOTER.size - len(MAGIC), 0))
    foot = file.read(_FOOTER.size)
    start = 0
    if len(foot) == _FOOTER.size and foot[:9] == _FRAME.pack(2, 20):
        start = _FOOTER.unpack(foot)[2]
    found: dict[int, McapChannel] = {}
    at = start or len(MAGIC)
    file.seek(0)
    try:
        if start:
            file.seek(start)
            each = _framed(file)
        else:
            each = records(file)
        for record in each:
            if isinstance(record, McapChannel):
                found.setdefault(record.number, record)
            if not start and file.tell() > at + _LOOK:
                break
    except (CutError, OSError, OverflowError):
        pass  # the run reports the place
    return list(found.values())


def _skip(file: BinaryIO, size: int) -> None:
    """Skip a record; a size beyond the file is met by the next read."""
    try:
        file.seek(size, 1)
    except (OSError, OverflowError):
        raise CutError(f"a record of {size:,} bytes") from None


def _cut(kind: int, content: bytes) -> Iterator[Record]:
    """Yield the readable records of a chunk that the end of the file cuts."""
    if kind == _CHUNK:
        with suppress(CutError, struct.error):
            packing, at = _text(content, _CHUNK_HEAD.size)
            for record in _inside(_plain(packing, content[at + 8 :])):
                if not isinstance(record, Damaged):
                    yield record


def _inside(chunk: bytes) -> Iterator[Record]:
    """Yield the records of a chunk; the rest of a damaged one is `Damaged`."""
    at, end = 0, len(chunk)
    while at < end:
        try:
            kind, size = _FRAME.unpack_from(chunk, at)
            at += _FRAME.size
            if at + size > end:
                raise CutError("a record beyond its chunk")
            if kind in (_CHANNEL, _MESSAGE):
                yield _record(kind, chunk[at : at + size])
        except (CutError, struct.error) as error:
            yield Damaged(str(error))
            return
        at += size


def _record(kind: int, content: bytes) -> Record:
    try:
        if kind == _MESSAGE:
            channel, _, log_ns, publish_ns = _MESSAGE_HEAD.unpack_from(content)
            return McapMessage(channel, log_ns, publish_ns, content[_MESSAGE_HEAD.size :])
        return _channel(content)
    except struct.error:
        raise CutError("a record shorter than its fields") from None


def _channel(content: bytes) -> McapChannel:
    number = _SHORT.unpack_from(content)[0]
    topic, at = _text(content, 4)
    encoding, at = _text(content, at)
    metadata, end = {}, at + 4 + _LONG.unpack_from(content, at)[0]
    at += 4
    while at < min(end, len(content)):
        key, at = _text(content, at)
        metadata[key], at = _text(content, at)
    return McapChannel(number, topic, encoding, metadata)


def _text(content: bytes, at: int) -> tuple[str, int]:
    """Return the text at an offset, and the offset behind it."""
    end = at + 4 + _LONG.unpack_from(content, at)[0]
    if end > len(content):
        raise CutError("a text beyond its record")
    return content[at + 4 : end].decode("utf-8", "replace"), end


def _unpacked(content: bytes) -> bytes:
    """Return the records of a chunk.

    Raises
    ------
    CutError
        They cannot be unpacked, are larger than the bound, or not those that were packed.
    """
    try:
        _, _, size, checksum = _CHUNK_HEAD.unpack_from(content)
        packing, at = _text(content, _CHUNK_HEAD.size)
        packed = content[at + 8 : at + 8 + _WIDE.unpack_from(content, at)[0]]
    except struct.error:
        raise CutError("a chunk shorter than its fields") from None
    if size > MAX_RECORD:
        raise CutError(f"a chunk of {size:,} bytes, and no more than {MAX_RECORD:,} are read")
    data = _plain(packing, packed)
    if len(data) != size or (checksum and zlib.crc32(data) != checksum):
        raise CutError("a chunk with another content than the one that was written")
    return data


def _plain(packing: str, packed: bytes) -> bytes:
    """Return the content of a packed chunk, one byte beyond the bound at most."""
    if not packing:
        return packed
    try:
        if packing == "zstd":
            return bytes(zstd.ZstdDecompressor().decompress(packed, MAX_RECORD + 1))
        if packing == "lz4":
            import lz4.frame  # an extra

            return bytes(lz4.frame.LZ4FrameDecompressor().decompress(packed, MAX_RECORD + 1))
    except ImportError:
        raise CutError("chunks in lz4 need pip install 'lumen-fusion[mcap]'") from None
    except (zstd.ZstdError, EOFError, RuntimeError) as error:
        raise CutError(f"a chunk cannot be unpacked: {error}") from None
    raise CutError(f"chunks packed by {packing[:20]!r}, expected zstd or lz4")
