"""Recordings as a source: partitions that merge their files by arrival."""

from sources.replay.heads import rigs_of, sources_of
from sources.replay.replay import (
    MAX_SILENT_TICKS,
    RecordingsError,
    Replay,
    preflight,
    remarks_on,
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
