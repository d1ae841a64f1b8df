"""Whole lines of the result files beyond a place, as far as they are final."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from configs.files import open_file
from sinks.files.jsonl import segment_path, segments_of
from sinks.files.progress import STEMS, FilePlace, Final, RigFiles

MAX_LINE = 64 << 20
"""A longer line is read in pieces, and lost (bytes)."""
_READ = 1 << 20


class Chunk(NamedTuple):
    """Whole lines of one file.

    Attributes
    ----------
    rig, stem : str
    place : FilePlace
        Of their first byte.
    lines : bytes
    after : FilePlace
        Behind the last one.
    """

    rig: str
    stem: str
    place: FilePlace
    lines: bytes
    after: FilePlace


class Cut(NamedTuple):
    """A file that ends before the place up to which it was taken in."""

    path: Path


def chunks_of(
    root: Path,
    final: Final,
    places: Mapping[tuple[str, str], FilePlace],
    first: int = 0,
    stems: Sequence[str] = STEMS,
) -> Iterator[Chunk | Cut]:
    """Yield the lines of a run beyond the places, 1 MiB of a file, or one line.

    Parameters
    ----------
    root : Path
        The output folder.
    final : Final
        What the run has published.
    places : mapping
        Place by rig and file.
    first : int
        Number of the file to begin with, so that no file waits for the backlog of another.
    stems : sequence of str
        Files to read.

    Raises
    ------
    OSError
        A file cannot be read.
    """
    names = [(rig, stem) for rig in final.rigs for stem in stems]
    first %= max(len(names), 1)
    for rig, stem in names[first:] + names[:first]:
        files = final.rigs[rig]
        if final.whole or stem in files.files:
            place = places.get((plain(rig), stem), FilePlace())
            found = _chunk(root, final, files, stem, place)
            if found is not None:
                yield found if isinstance(found, Cut) else Chunk(plain(rig), stem, *found)


def _chunk(
    root: Path, final: Final, files: RigFiles, stem: str, place: FilePlace
) -> tuple[FilePlace, bytes, FilePlace] | Cut | None:
    folder = root / files.folder
    last, end = (None, 0) if final.whole else files.files[stem]
    while True:
        path = segment_path(folder, stem, place.segment)
        if last is not None and place.segment > last:
            return Cut(path)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            # Removed before it was taken in: the run has counted its lines.
            later = [n for n, _ in segments_of(folder, stem) if n > place.segment]
            if not later or (last is not None and later[0] > last):
                return None
            place = FilePlace(later[0], 0, place.lines)
            continue
        if place.segment == last:
            size = min(size, end)
        if size < place.byte:
            return Cut(path)
        if lines := _lines(path, place.byte, size):
            count = place.lines + lines.count(b"\n")
            return place, lines, FilePlace(place.segment, place.byte + len(lines), count)
        following = segment_path(folder, stem, place.segment + 1)
        if place.segment == last or (last is None and not following.exists()):
            return None
        if path.stat().st_size > size:  # written since
            continue
        place = FilePlace(place.segment + 1, 0, place.lines)


def _lines(path: Path, byte: int, end: int) -> bytes:
    """Return whole lines from a byte on; of a line that is too long, a piece."""
    if byte >= end:
        return b""
    with open_file(path, os.O_RDONLY) as file:
        file.seek(byte)
        data = bytearray()
        while len(data) < min(MAX_LINE, end - byte):
            more = file.read(min(_READ, end - byte - len(data)))
            if not more:
                break
            data += more
            if whole := more.rfind(b"\n") + 1:
                return bytes(data[: len(data) - len(more) + whole])
    return bytes(data) if len(data) >= MAX_LINE else b""


def plain(text: str) -> str:
    """Return the name of a rig as all followers store it: without NUL."""
    return text.replace("\0", "\\x00")
