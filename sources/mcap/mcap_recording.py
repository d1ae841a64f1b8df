"""An MCAP file as a recording of lines."""

from __future__ import annotations

from configs.inputs import stem
from sources.mcap.mcap_lines import McapLines
from sources.recordings.recording import Mark, Recording


def mcap_recording(path: str, follow: bool = False, mark: Mark | None = None) -> Recording:
    """Open an MCAP file.

    Raises
    ------
    OSError, ValueError
        As `Recording`.
    """
    return Recording(path, follow, mark, content=lambda raw: McapLines(raw, stem(path)))
