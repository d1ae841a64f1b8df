"""Rigs and sources in the first 1 MiB of recordings."""

from __future__ import annotations

import numpy as np

from configs.inputs import FileStream, is_delimited, stem
from configs.schema import Config
from sources.delimited.event_table import event_table
from sources.ndjson import Decoder
from sources.opening import head
from sources.recordings.recording import is_xdf
from sources.rows.names import Names

_LOOK_AHEAD = 1 << 20


def rigs_of(config: Config) -> tuple[str, ...]:
    """Return the rigs of all recordings, at least one."""
    rigs: dict[str, None] = {}
    for stream in config.streams:
        if isinstance(stream, FileStream):
            rigs |= dict.fromkeys(_shown(stream.path, config.rig))
    return tuple(rigs)[: config.max_rigs] or (config.rig,)


def rigs_in(path: str, rig: str) -> tuple[str, ...]:
    """Return the rigs of one recording, in the order of their first rows.

    Parameters
    ----------
    path : str
    rig : str
        Of events without one.
    """
    return (rig,) if is_xdf(path) else _shown(path, rig)


def _shown(path: str, rig: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rig for rig, _ in _owners(path, rig)))


def sources_of(path: str) -> set[str]:
    """Return the sources of a recording."""
    return {source for _, source in _owners(path, "")}


def _owners(path: str, rig: str) -> list[tuple[str, str]]:
    """Return rigs and sources in the order of their first rows in a recording."""
    if is_xdf(path):
        return []
    if is_delimited(path) and event_table(path) is None:
        return [(rig, stem(path))]
    names = Names(rig)
    rows = Decoder(path).decode(head(path, _LOOK_AHEAD), 0, names)
    numbers, first = np.unique(rows.name[rows.name >= 0], return_index=True)
    rig_of = names.rig_of()
    return [(names.rigs[rig_of[n]], names.channels[n][0]) for n in numbers[np.argsort(first)]]
