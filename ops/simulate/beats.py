"""Beats with known truth: a rate over time, and the faults of the sender.

    rate(t) = profile(t) exp(wander W(t)) (1 + drift sin(2 pi t / period)),  W a Wiener process
    phase(t) = integral of the rate from 0 to t; beat k is at phase k

Each fault has a random stream of its own, so that a change of one leaves the others unchanged.
Equal arguments give equal beats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from operators.types import F64, I64

_STEP_S = 0.005
"""Step of the integral: the phase is exact to 1e-6 cycles for the changes of a ramp."""
_LEAST_HZ = 1e-3


@dataclass(frozen=True)
class TempoChange:
    """Change of the rate to `to_hz`, from `at_s` after the start on, within `over_s`."""

    at_s: float
    to_hz: float
    over_s: float = 0.0


@dataclass(frozen=True)
class BeatScenario:
    """A reference of beats, its sender and its faults.

    Attributes
    ----------
    channel : str
        `<source>:<key>`; `clock` is a MIDI clock, without stamps, after a Start.
    rate_hz : float
        Beats a second at the start.
    changes : tuple of TempoChange
        Steps and ramps, in order of time, without overlap.
    wander : float
        Relative change of the rate, sd in a second; it grows with the root of time (a person).
    drift, drift_period_s : float
        Relative amplitude and period of a sinusoidal drift of the rate.
    jitter_s : float
        Standard deviation of the time of a beat, sent and stamped alike.
    loss, doubles, wild : float
        Share of the beats lost; sent twice, the second 5 to 40 ms later; `wild_s` early or late.
    gaps : tuple of (from, to)
        Spells without beats (s after the start).
    offset_s, skew_ppm : float
        Of the sender's clock, as of `Sensor`.
    """

    channel: str = "osc_1:/beat"
    rate_hz: float = 5.0
    changes: tuple[TempoChange, ...] = ()
    wander: float = 0.0
    drift: float = 200e-6
    drift_period_s: float = 600.0
    jitter_s: float = 0.005
    loss: float = 0.0
    doubles: float = 0.0
    wild: float = 0.0
    wild_s: float = 0.08
    gaps: tuple[tuple[float, float], ...] = ()
    offset_s: float = 0.0
    skew_ppm: float = 0.0

    @property
    def name(self) -> tuple[str, str]:
        """Source and key."""
        source, _, key = self.channel.partition(":")
        return source, key

    @property
    def stamped(self) -> bool:
        """Whether the sender stamps its beats."""
        return self.name[1] != "clock"

    def at_rate(self, rate_hz: float) -> BeatScenario:
        """Return the scenario with all its rates in proportion to another first rate (Hz)."""
        factor = rate_hz / self.rate_hz
        changes = tuple(replace(c, to_hz=c.to_hz * factor) for c in self.changes)
        return replace(self, rate_hz=rate_hz, changes=changes)

    def described(self) -> str:
        """Return its rates and gaps as text, in s after the start."""
        parts = [f"{self.rate_hz:g} beats a second"]
        parts += [f"{c.to_hz:g} from {c.at_s + c.over_s:g} s on" for c in self.changes]
        parts += [f"none from {begin:g} to {end:g} s" for begin, end in self.gaps]
        return ", ".join(parts)

    def profile(self, time: F64) -> F64:
        """Return the rate (Hz) without wander and drift at `time` (n,), in s after the start."""
        rate, before = np.full(len(time), self.rate_hz), self.rate_hz
        for change in self.changes:
            past = time - change.at_s
            part = np.clip(past / change.over_s, 0, 1) if change.over_s else np.ones(len(time))
            rate = np.where(past >= 0, before + (change.to_hz - before) * part, rate)
            before = change.to_hz
        return np.asarray(np.maximum(rate, _LEAST_HZ))


@dataclass(frozen=True)
class BeatTrain:
    """The beats of a scenario; times in s after the start.

    Attributes
    ----------
    times : float64 (n,)
        The true time of each beat.
    sent : float64 (m,)
        When the beats were sent, rising; lost ones are missing, doubled ones are there twice.
    beat : int64 (m,)
        The beat of each.
    lost, doubled, wild : int
        Numbers of these faults; `lost` includes the beats of gaps.
    """

    times: F64
    sent: F64
    beat: I64
    lost: int
    doubled: int
    wild: int


def train(scenario: BeatScenario, seconds: float, seed: int = 0) -> BeatTrain:
    """Return the beats of a scenario.

    Parameters
    ----------
    scenario : BeatScenario
    seconds : float
    seed : int
    """
    walk, shaken, lost, doubled, wild = (np.random.default_rng([seed, 6, k]) for k in range(5))
    times = _times(scenario, seconds, walk)
    n = len(times)
    sent = times + scenario.jitter_s * shaken.standard_normal(n)
    is_wild = wild.random(n) < scenario.wild
    sent += is_wild * wild.choice([-1.0, 1.0], n) * scenario.wild_s
    kept = lost.random(n) >= scenario.loss
    for begin, end in scenario.gaps:
        kept &= (times < begin) | (times >= end)
    again = (doubled.random(n) < scenario.doubles) & kept
    second = sent[again] + doubled.uniform(0.005, 0.04, n)[again]
    every = np.concatenate((sent[kept], second))
    beat = np.concatenate((np.flatnonzero(kept), np.flatnonzero(again)))
    order = np.argsort(every, kind="stable")
    return BeatTrain(
        times=times,
        sent=np.maximum(every[order], 0.0),
        beat=beat[order],
        lost=n - int(kept.sum()),
        doubled=int(again.sum()),
        wild=int((is_wild & kept).sum()),
    )


def _times(scenario: BeatScenario, seconds: float, rng: np.random.Generator) -> F64:
    """Return the times at which the phase is a whole number."""
    edges = np.append(np.arange(0.0, seconds, _STEP_S), seconds)
    changes = [c.at_s for c in scenario.changes if 0 < c.at_s < seconds]
    ends = [c.at_s + c.over_s for c in scenario.changes if 0 < c.at_s + c.over_s < seconds]
    # The rate bends and jumps between steps of the integral only.
    edges = np.union1d(edges, [*changes, *ends])
    width, middle = np.diff(edges), (edges[1:] + edges[:-1]) / 2
    rate = scenario.profile(middle)
    if scenario.wander:
        walk = np.cumsum(rng.standard_normal(len(width)) * np.sqrt(width))
        rate = rate * np.exp(scenario.wander * walk)
    rate = rate * (1 + scenario.drift * np.sin(2 * np.pi * middle / scenario.drift_period_s))
    phase = np.concatenate(([0.0], np.cumsum(rate * width)))
    beats = np.arange(np.floor(phase[-1]) + 1)
    return np.asarray(np.interp(beats, phase, edges))


def truth_of(
    scenario: BeatScenario, made: BeatTrain, start: float, path_s: float
) -> dict[str, Any]:
    """Return the truth about beats.

    Parameters
    ----------
    scenario : BeatScenario
    made : BeatTrain
    start : float
        Host time of the start (s since 1970).
    path_s : float
        Constant delay of the path: the truth is on the host axis, arrival less queueing.
    """
    facts = asdict(scenario)
    facts["gaps"] = [[start + a, start + b] for a, b in scenario.gaps]
    facts["changes"] = [{**asdict(c), "at_s": start + c.at_s} for c in scenario.changes]
    return {
        **facts,
        "stamped": scenario.stamped,
        "sent": len(made.sent),
        "lost": made.lost,
        "doubled": made.doubled,
        "wild_beats": made.wild,
        "times": np.round(start + path_s + made.times, 6).tolist(),
    }


def _tour(unit: float) -> BeatScenario:
    """A step, a ramp and a gap; a tenth of `unit` is free of each."""
    return BeatScenario(
        changes=(
            TempoChange(0.25 * unit, 6.0),
            TempoChange(0.45 * unit, 5.0, 0.1 * unit),
        ),
        gaps=((0.7 * unit, 0.78 * unit),),
        loss=0.02,
        doubles=0.01,
    )


PROFILES: dict[str, Callable[[float], BeatScenario]] = {
    "steady": lambda _: BeatScenario(),
    "step": lambda s: BeatScenario(changes=(TempoChange(s / 2, 7.0),)),
    "ramp": lambda s: BeatScenario(changes=(TempoChange(s / 3, 6.1, min(20.0, s / 3)),)),
    "person": lambda _: BeatScenario(wander=0.005),
    "faults": lambda _: BeatScenario(loss=0.1, doubles=0.05, wild=0.05),
    "gap": lambda s: BeatScenario(gaps=((s / 2, s / 2 + min(60.0, s / 4)),)),
    "tour": _tour,
}
"""Scenarios by name, each for a number of seconds."""
