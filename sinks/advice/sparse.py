"""Members without a part in the indicators: their samples are too sparse for the movement."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from operators.lines import SyncReport
from operators.records import Fused
from operators.types import I64
from sinks.advice.comparison import named


def counted(name: str | None, *parts: Fused) -> I64:
    """Return the number of members of a signal (the first by default) left out, by tick (k,)."""
    first = 0
    for signal in parts[0].signals:
        if name in (None, signal.name):
            break
        first += len(signal.channels)
    if not parts[0].sparse.shape[1]:
        return np.zeros(sum(map(len, parts)), np.int64)
    mine = np.concatenate([part.sparse for part in parts])[:, first : first + len(signal.channels)]
    return np.asarray(mine.sum(axis=1, dtype=np.int64))


def sparse(fused: Fused | None) -> list[str]:
    """Return the channels left out at the newest tick."""
    if fused is None or not fused.sparse.any():
        return []
    channels = [channel for signal in fused.signals for channel in signal.channels]
    return [channels[i] for i in np.flatnonzero(fused.sparse[-1]).tolist()]


def left_out(fused: Fused | None, sync: Mapping[str, SyncReport]) -> str:
    """Return the channels left out and the reason as text; empty where there are none."""
    names = sparse(fused)
    if not names:
        return ""
    rates = [r.rate_hz for name in names if (r := sync.get(name)) and r.rate_hz]
    each = f", read each {1 / min(rates):.3g} s," if rates else ""
    verb = "is" if len(names) == 1 else "are"
    return f"{named(names)}{each} {verb} too slow for this movement: indicators leave it out"
