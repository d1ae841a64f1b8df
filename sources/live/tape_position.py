"""What a feed reads of a run that is live: nothing; it only knows how far the tape goes."""

from __future__ import annotations

from sources.recordings.recording import Mark, Piece


class TapePosition:
    """The end of a tape that grows, or of none.

    Parameters
    ----------
    path : str
    offset : int
        Length of the tape (bytes); without a tape, events so far.
    """

    follow = idle = ended = False
    before = size = 0

    def __init__(self, path: str, offset: int) -> None:
        self.path = path
        self.offset = offset

    def read(self) -> list[Piece]:
        """Return nothing."""
        return []

    def finish(self) -> list[Piece]:
        """End here."""
        self.ended = True
        return []

    def mark(self, line: int | None) -> Mark:
        """Return where to go on: at a line, or behind all there is."""
        return Mark(self.offset if line is None else line)

    def position(self) -> int:
        """Return how long the tape is (bytes)."""
        return self.offset

    def close(self) -> None:
        """Do nothing."""
