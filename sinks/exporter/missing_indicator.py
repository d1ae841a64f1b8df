"""The reason for an indicator without a value, as a short text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.numeric.correlation import SEGMENT
from operators.quality import BAND_HZ, QUALITY_HZ
from sinks.advice.sparse import counted, left_out

if TYPE_CHECKING:
    from sinks.exporter.rig_state import RigState

_TWO_SEGMENTS_S = 1.5 * SEGMENT / QUALITY_HZ
"""Two segments, half overlapped, on the usual series (s)."""


def needed(window_s: float) -> str:
    """Return the data that two channels need before they can be compared."""
    seconds = max(window_s / 4, _TWO_SEGMENTS_S)
    low, high = BAND_HZ
    return f"needs {seconds:.0f} s of two channels live together, moving at {low:g} to {high:g} Hz"


def why(panel: RigState) -> str:
    """Return the reason for the indicators of a rig without a value."""
    fused = panel.fused
    if fused is None:
        return "no tick yet"
    judged = panel.quality.signal
    signal = next((s for s in fused.signals if s.name == judged), fused.signals[0])
    live, members = int(signal.live[-1]), len(signal.channels)
    if members < 2:
        return f"needs two channels: {signal.name} has one member"
    if live < 2:
        return f"needs two live channels: {live} of {members} live"
    if left_out(fused, panel.sync) and live - int(counted(signal.name, fused)[-1]) < 2:
        return left_out(fused, panel.sync)
    return needed(panel.quality.window_s)
