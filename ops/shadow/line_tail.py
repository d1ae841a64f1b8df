"""Lines of `fused.jsonl` of a run that may still grow: whole lines, segments in order.

A resumed run cuts its files and writes the same bytes anew, so that a place beyond the end of a
file is waited for. A run without recovery replaces its files: that is an error here, since its
ticks have no counterpart.

State: the lines of one block a rig. Cost: that of reading.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

import msgspec

from configs.files import read_own
from operators.errors import ToolError
from ops.results.folder import rig_folders
from sinks.files.folder import RUN
from sinks.files.jsonl import segment_path, segments_of

BLOCK = 1 << 18
"""Bytes read at once."""
STEM = "fused"
_MAX_RUN = 64 << 20


class ReplacedError(ToolError):
    """A run that began anew while it was read."""


class _FollowedRun(msgspec.Struct):
    ended: bool = False


class LineTail:
    """The lines of one rig.

    Parameters
    ----------
    folder : Path
        Folder with `fused.jsonl` and its segments.

    Attributes
    ----------
    lines : deque of bytes
        Lines that were read and not taken, without their ends.
    """

    def __init__(self, folder: Path) -> None:
        self.lines: deque[bytes] = deque()
        self._folder = folder
        self._segment = segments_of(folder, STEM)[0][0]
        self._place, self._torn = 0, b""
        self._inode: int | None = None

    def fill(self) -> bool:
        """Read on if all lines were taken; return whether there are lines.

        Raises
        ------
        ReplacedError
            Another run has replaced the files.
        """
        while not self.lines and (self._read() or self._next()):
            pass
        return bool(self.lines)

    def _next(self) -> bool:
        """Go on with the next segment, once it has begun; return whether to read on."""
        if not segment_path(self._folder, STEM, self._segment + 1).exists():
            return False
        if not self._read():  # lines from before the next segment began
            self._segment, self._place, self._inode = self._segment + 1, 0, None
            self._torn = b""
        return True

    def _read(self) -> bool:
        """Read one block; return whether the file had one."""
        path = segment_path(self._folder, STEM, self._segment)
        try:
            with path.open("rb") as file:
                inode = path.stat().st_ino
                if self._inode not in (None, inode):
                    raise ReplacedError(f"{path}: another run has replaced it")
                self._inode = inode
                file.seek(self._place)
                block = file.read(BLOCK)
        except FileNotFoundError:
            if self._inode is not None and not segments_of(self._folder, STEM):
                raise ReplacedError(f"{path}: it is gone") from None
            return False
        self._place += len(block)
        *whole, self._torn = (self._torn + block).split(b"\n")
        self.lines.extend(whole)
        return bool(block)


class RunTail:
    """The lines of all rigs of a run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tails: dict[Path, LineTail] = {}

    def tails(self, look: bool = True) -> list[LineTail]:
        """Return a tail for each rig that has lines; with `look`, new ones included."""
        if look and self.folder.is_dir():
            for place in rig_folders(self.folder):
                if place not in self._tails and segments_of(place, STEM):
                    self._tails[place] = LineTail(place)
        return list(self._tails.values())

    def ended(self) -> bool:
        """Whether the run has ended, by its `run.json`."""
        try:
            data = read_own(self.folder / RUN, _MAX_RUN)
            return msgspec.json.decode(data, type=_FollowedRun).ended
        except (OSError, msgspec.DecodeError):
            return False
