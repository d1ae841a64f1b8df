"""Recordings as a source: one partition that merges all files by arrival."""

from sources.replay.replay import (
    MAX_SILENT_TICKS,
    RecordingsError,
    Replay,
    preflight,
    remarks_on,
    rigs_of,
    sources_of,
)

__all__ = [
    "MAX_SILENT_TICKS",
    "RecordingsError",
    "Replay",
    "preflight",
    "remarks_on",
    "rigs_of",
    "sources_of",
]
