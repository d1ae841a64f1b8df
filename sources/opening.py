"""Opening a recording of any kind: a file of lines, an XDF file, a tape."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from sources.recordings.recording import Mark, Recording, UnusableError, is_xdf
from sources.tape.reader import Tape, is_tape

if TYPE_CHECKING:
    from sources.xdf import XdfRecording


def open_recording(
    path: str,
    follow: bool = False,
    mark: Mark | None = None,
    used: Collection[str] | None = None,
    progress: bool = False,
) -> Recording | Tape | XdfRecording:
    """Open a file of lines, one of XDF, or a tape.

    Parameters
    ----------
    path : str
    follow : bool
    mark : Mark, optional
        Where to go on.
    used : collection of str, optional
        Channels that the configuration uses; None: all.
    progress : bool
        Show how far loading is, of a file that is loaded whole.

    Raises
    ------
    OSError, ValueError
        As `Recording` and `Tape`.
    """
    if is_xdf(path):
        from sources.xdf import XdfRecording  # takes long, and few have such a file

        return XdfRecording(path, follow, mark, used, progress)
    if not is_tape(path):
        return Recording(path, follow, mark)
    if follow:
        raise UnusableError(f"{path}: a tape cannot be followed")
    return Tape(path, mark)


def head(path: str, size: int) -> bytes:
    """Return the first bytes of a recording, whatever of them can be read."""
    recording = Tape(path) if is_tape(path) else Recording(path)
    parts, length = [], 0
    while length < size and not recording.ended:
        for piece in recording.read():
            parts.append(piece.data)
            length += len(piece.data)
    recording.close()
    return b"".join(parts)[:size]
