"""The lines of a tape from a place on, as its segments hold them: plain, packed or converted."""

from __future__ import annotations

from pathlib import Path

from sources.recordings.recording import ColumnPiece, Mark, Piece
from sources.rows.names import Names
from sources.rows.written import lines_of_rows
from sources.tape.followed import FollowedTape
from sources.tape.reader import Segment, Tape, read_manifest, segment_path


class TapeLines:
    """Reads whole lines; a torn end, which a killed process leaves, is left out.

    Parameters
    ----------
    folder : Path
        Of the tape.
    place : int
        Offset of the first line (bytes).
    growing : bool
        The tape is still written.

    Attributes
    ----------
    ended : bool

    Raises
    ------
    FileNotFoundError
        The segment of the place is missing.
    OSError, ValueError
        The tape cannot be read.
    """

    def __init__(self, folder: Path, place: int, growing: bool) -> None:
        kind = FollowedTape if growing else Tape
        self._tape: FollowedTape | Tape = kind(str(folder), Mark(place))

    @property
    def ended(self) -> bool:
        """Whether all lines were read."""
        return self._tape.ended

    @property
    def idle(self) -> bool:
        """Whether the tape has not grown."""
        return self._tape.idle

    def read(self) -> list[tuple[int, bytes]]:
        """Return the next lines, pieces with the offset of each."""
        return [piece for found in self._tape.read() if (piece := _lines(found))[1]]

    def finish(self) -> None:
        """End a growing tape: nothing more is written."""
        self._tape.finish()

    def close(self) -> None:
        """Close the open segment."""
        self._tape.close()


def _lines(piece: Piece | ColumnPiece) -> tuple[int, bytes]:
    """Return whole lines with their offset."""
    if isinstance(piece, Piece):
        whole = b"" if piece.fault else piece.data[: piece.data.rfind(b"\n") + 1]
        return piece.offset, whole
    rows, details = piece.rows_and_details(Names(""))
    if not len(rows):
        return 0, b""
    return int(rows.line[0]), lines_of_rows(rows, details)


def next_segment(folder: Path, place: int) -> tuple[Segment | None, int | None]:
    """Return the first segment behind a missing one, and the lines on the tape before it.

    None for the segment where none is left; None for the lines where their number is unknown.
    """
    before: int | None = 0
    for segment in read_manifest(folder).segments:
        end = segment.begin + (segment.size or 0)
        if (segment.size is None or end > place) and segment_path(folder, segment).exists():
            return segment, before
        before = None if before is None or segment.lines is None else before + segment.lines
    return None, before
