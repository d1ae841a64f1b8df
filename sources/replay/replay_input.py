"""Inputs of a replay: what the merge needs to know of each, and how it is opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from configs.inputs import FileStream
from configs.schema import Config
from sources.opening import FileDecoder, open_recording, reader_of
from sources.recordings.recording import Mark
from sources.replay.recording_reader import RecordingLike
from sources.rows.by_rig import byte_offset


class ReplayInput(NamedTuple):
    """One input.

    Attributes
    ----------
    path : str
        Its name in stored states and dead letters.
    follow : bool
        It grows, and has no end.
    speed : float
        Factor of the recorded speed; 0: as fast as the flow allows.
    batch_lines : int
    opened : callable
        Opens it at a mark, or at its beginning.
    where : callable
        Puts a position into words, given the path.
    """

    path: str
    follow: bool
    speed: float
    batch_lines: int
    opened: Callable[[Mark | None], tuple[RecordingLike, FileDecoder]]
    where: Callable[[str, int], str] = byte_offset


def file_inputs(config: Config, progress: bool, stopped: Callable[[], bool]) -> list[ReplayInput]:
    """Return the file streams of a configuration.

    Parameters
    ----------
    config : Config
    progress : bool
        Show the progress of a file that is loaded as a whole.
    stopped : callable
        Whether to end the load of such a file.
    """
    used, twice = config.plan().used, config.mode == "hindsight"

    def opener(s: FileStream) -> Callable[[Mark | None], tuple[RecordingLike, FileDecoder]]:
        return lambda mark: (
            open_recording(s.path, s.follow, mark, used, progress, stopped),
            reader_of(s, twice),
        )

    return [
        ReplayInput(s.path, s.follow, s.speed, s.batch_lines, opener(s))
        for s in config.streams
        if isinstance(s, FileStream)
    ]
