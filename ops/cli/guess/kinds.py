"""Kind of a series of numbers, by its values: sampled, held or constant.

A sensor sends at its rate; a control sends on change and rests otherwise. Networks delay, bunch
and lose events, so that arrivals alone cannot distinguish the two:

- a single value is `constant`;
- a few distinct values are those of a switch, `held`, at any rate;
- repeated values are sent without a change: `sampled`;
- else pauses decide. If the value after a pause equals that before it, the measured quantity
  rested too: `held`. A sensor with lost events has moved on meanwhile.

Turning points distinguish noise from a hand (Kendall and Stuart 1976, section 45.18): in noise two
of three values are one, and a well-sampled movement has few.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from operators.types import F64

Nature: TypeAlias = Literal["sampled", "held", "constant"]
MIN_COUNT = 8
"""Intervals before a series can have a rate."""
MAX_SWITCH = 4
"""Distinct values of a switch, at most."""
_PAUSE_S = 0.5
"""Shortest pause; Wi-Fi in power saving bunches events within a few tenths of a second."""
_PAUSE_INTERVALS = 8.0
"""Shortest pause of a slow series, in usual intervals."""
_SLOW_S = 0.2
"""Shortest usual interval of a slow series; no network stretches a shorter one so far."""
_USUAL_INTERVALS, _MIN_STEADY = 3.0, 0.8
_MIN_REPEATS, _MIN_TURNS = 0.05, 0.25
_MIN_RESTED, _MAX_RESTED = 0.2, 0.8
"""Share of the time in pauses: below the first there is a rate, above the second there is none."""
_MAX_STAYED = 3.0
"""Largest change over a pause of a rested series, in steps between neighbours."""


def nature(rx: F64, values: F64, distinct: int, now: float) -> Nature:
    """Return the kind of a series.

    Parameters
    ----------
    rx, values : array (n,)
        Arrivals (s) and values of its newest events.
    distinct : int
        Number of distinct values so far, counted up to `MAX_SWITCH` + 1.
    now : float
        Host time (s); the series rests since its last event.
    """
    if distinct == 1 and len(values) > 1:
        return "constant"
    gaps = np.diff(rx)
    if distinct <= MAX_SWITCH or len(gaps) < MIN_COUNT:
        return "held"
    with np.errstate(over="ignore", invalid="ignore"):  # between numbers near the largest ones
        steps = np.diff(values)
        turns = np.sign(steps[1:]) * np.sign(steps[:-1]) < 0
    if np.mean(steps == 0) >= _MIN_REPEATS:
        return "sampled"
    usual = float(np.median(gaps))
    if usual >= _SLOW_S and not steady(gaps, now - float(rx[-1])):
        return "held"
    pause = gaps > max(_PAUSE_S, _PAUSE_INTERVALS * usual)
    silent = max(0.0, now - float(rx[-1]))
    rest = float(gaps[pause].sum()) + (
        silent if silent > max(_PAUSE_S, _PAUSE_INTERVALS * usual) else 0.0
    )
    rested = rest / (float(gaps.sum()) + silent)
    if rested < _MIN_RESTED or np.mean(turns) >= _MIN_TURNS:
        return "sampled"
    if rested > _MAX_RESTED or not pause.any():
        return "held"
    stayed = np.median(np.abs(steps[pause])) <= _MAX_STAYED * np.median(np.abs(steps[~pause]))
    return "held" if stayed else "sampled"


def steady(gaps: F64, silent: float) -> bool:
    """Return whether most of the time lies within three usual intervals after an event.

    Parameters
    ----------
    gaps : array (n,)
        Intervals of arrivals (s).
    silent : float
        Time since the last event (s).
    """
    if len(gaps) < MIN_COUNT:
        return False
    every = np.append(gaps, max(0.0, silent))
    return bool(
        np.minimum(every, _USUAL_INTERVALS * np.median(gaps)).sum() >= _MIN_STEADY * every.sum()
    )
