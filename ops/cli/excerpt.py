"""The beginning of recordings, for runs that would take too long on the whole."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from configs.inputs import FileStream
from configs.schema import Config
from sources.opening import columnar, lines_of
from sources.recordings.recording import Piece, Recording, is_columnar

_MIN_BEYOND = 10
"""Lines in a row beyond the end; a single wild stamp does not end an excerpt."""


class _Stamps(msgspec.Struct):
    rx: float | None = None


class _ExcerptLine(msgspec.Struct):
    ts: float
    meta: _Stamps | None = None


def excerpt(config: Config, folder: Path, seconds: float) -> Config:
    """Return a configuration of the first `seconds` (by arrival) of each recording."""
    streams: list[FileStream] = []
    for i, stream in enumerate(s for s in config.streams if isinstance(s, FileStream)):
        path = folder / f"excerpt_{i}.ndjson"
        with path.open("wb") as file:
            file.writelines(_first(Path(stream.path), seconds))
        streams.append(msgspec.structs.replace(stream, path=str(path)))
    return msgspec.structs.replace(config, streams=list(streams))


def _first(path: Path, seconds: float) -> Iterator[bytes]:
    decode = msgspec.json.Decoder(_ExcerptLine).decode
    end = None
    beyond = 0
    for line in _lines(path):
        yield line
        try:
            stamps = decode(line)
        except msgspec.DecodeError:
            continue
        arrival = stamps.ts if stamps.meta is None else stamps.meta.rx or stamps.ts
        end = arrival + seconds if end is None else end
        beyond = beyond + 1 if arrival > end else 0
        if beyond == _MIN_BEYOND:
            return


def _lines(path: Path) -> Iterator[bytes]:
    recording = columnar(str(path)) if is_columnar(str(path)) else Recording(str(path))
    with closing(recording):
        while not recording.ended:
            for piece in recording.read():
                yield from io.BytesIO(piece.data if isinstance(piece, Piece) else lines_of(piece))
