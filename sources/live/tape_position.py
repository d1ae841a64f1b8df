"""The recording of a run that is live: it delivers nothing and keeps the length of the tape."""

from __future__ import annotations

from sources.recordings.recording import Mark, Piece
from sources.tape.reader import Tape


class TapePosition:
    """The end of a tape that grows, or of none.

    Parameters
    ----------
    path : str
    offset : int
        Length of the tape (bytes); without a tape, the number of events so far.
    """

    follow = idle = ended = False
    before = size = 0

    def __init__(self, path: str, offset: int) -> None:
        self.path = path
        self.offset = offset

    @classmethod
    def behind(cls, tape: Tape) -> TapePosition:
        """Close a tape that has been read; return its end."""
        tape.close()
        return cls(tape.path, tape.mark(None).offset)

    def read(self) -> list[Piece]:
        """Return nothing."""
        return []

    def finish(self) -> list[Piece]:
        """End the recording."""
        self.ended = True
        return []

    def mark(self, line: int | None) -> Mark:
        """Return the position to resume from: a line, or the end of the tape."""
        return Mark(self.offset if line is None else line)

    def position(self) -> int:
        """Return the length of the tape (bytes)."""
        return self.offset

    def close(self) -> None:
        """Do nothing."""
