"""What a series of numbers is, by its values: sampled, held or constant.

A sensor sends whether or not anything changed; a control sends what changed, and rests. Networks
delay, bunch and lose what is sent, so that arrivals alone cannot tell one from the other:

- one value and no other is `constant`;
- a few distinct values are those of a switch, `held`, however often they are sent;
- where values repeat, they are sent without a change: `sampled`;
- else all depends on pauses. Where a series rests, and is after the rest where it was before, what
  it measures rested, too: `held`. A sensor that was merely not received has moved on meanwhile.

Noise is told from a hand by turning points (Kendall and Stuart 1976, section 45.18): in noise two
of three values are one, a movement that is sampled well has few.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from operators.types import F64

Nature: TypeAlias = Literal["sampled", "held", "constant"]
MIN_COUNT = 8
"""Intervals before a series can have a rate."""
SWITCH = 4
"""Distinct values that a switch has at most."""
_PAUSE_S = 0.5
"""Wi-Fi that saves power bunches what is sent within a few tenths of a second."""
_LONG = 8.0
"""A pause, in usual intervals of a slow series."""
_SLOW_S = 0.2
"""A usual interval that no network makes out of a shorter one."""
_USUAL, _STEADY = 3.0, 0.8
_REPEATS, _NOISE = 0.05, 0.25
_RESTED, _SELDOM = 0.2, 0.8
"""Share of the time in pauses: below the one there is a rate, above the other there is none."""
_STAYED = 3.0
"""Steps between neighbours by which a series that rested may differ after a pause."""


def nature(rx: F64, values: F64, distinct: int, now: float) -> Nature:
    """Return what a series is.

    Parameters
    ----------
    rx, values : array (n,)
        Arrivals (s) and values of its newest events.
    distinct : int
        Values that it has had, where it is counted up to more than `SWITCH`.
    now : float
        Host time (s): what is silent since is at rest.
    """
    if distinct == 1 and len(values) > 1:
        return "constant"
    gaps = np.diff(rx)
    if distinct <= SWITCH or len(gaps) < MIN_COUNT:
        return "held"
    with np.errstate(over="ignore", invalid="ignore"):  # between numbers near the largest ones
        steps = np.diff(values)
        turns = np.sign(steps[1:]) * np.sign(steps[:-1]) < 0
    if np.mean(steps == 0) >= _REPEATS:
        return "sampled"
    usual = float(np.median(gaps))
    if usual >= _SLOW_S and not steady(gaps, now - float(rx[-1])):
        return "held"
    pause = gaps > max(_PAUSE_S, _LONG * usual)
    silent = max(0.0, now - float(rx[-1]))
    rest = float(gaps[pause].sum()) + (silent if silent > max(_PAUSE_S, _LONG * usual) else 0.0)
    rested = rest / (float(gaps.sum()) + silent)
    if rested < _RESTED or np.mean(turns) >= _NOISE:
        return "sampled"
    if rested > _SELDOM or not pause.any():
        return "held"
    stayed = np.median(np.abs(steps[pause])) <= _STAYED * np.median(np.abs(steps[~pause]))
    return "held" if stayed else "sampled"


def steady(gaps: F64, silent: float) -> bool:
    """Whether most of the time lies within three usual intervals of an event.

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
    return bool(np.minimum(every, _USUAL * np.median(gaps)).sum() >= _STEADY * every.sum())
