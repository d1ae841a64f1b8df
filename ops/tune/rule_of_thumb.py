"""The rule of thumb of v1.9, as it stands: gains from the figures of a run.

    p95 of phase > 0.03: kp - 0.05, kd - 0.02, rate - 0.3 Hz
    else max of phase > 0.025: kp - 0.03, rate - 0.1 Hz
    mean of sync < 0.86: ki - 0.02

The steps apply to the gains of the configuration. The rate is shown and never applied: a constant
added to the tick of a locked loop takes it out of lock. Nothing is judged on data of its own.

Inputs: `bridge.jsonl`, or a log of lines `time name value` with `bridge_phase_diff_mean` and
`bridge_sync_quality`. Other lines are skipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from operators.bridge.bridge_config import GainConfig
from ops.results.lines import BridgeLine
from ops.tune.recorded_packets import TuneError

P95_PHASE, MAX_PHASE, MEAN_SYNC = 0.03, 0.025, 0.86
_NAMES = {"bridge_phase_diff_mean": 0, "bridge_sync_quality": 1}


class Thumb(NamedTuple):
    """Figures of a run, the gains that follow from them, and the advised change of rate (Hz)."""

    p95: float
    largest: float
    sync: float
    kp: float
    ki: float
    kd: float
    delta_hz: float


def by_thumb(path: Path, gain: GainConfig) -> Thumb:
    """Return the gains that follow from a file.

    Raises
    ------
    TuneError
        The file cannot be read, or has no value of phase or sync.
    """
    phase: list[float] = []
    sync: list[float] = []
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                for column, value in _values(line):
                    (phase, sync)[column].append(value)
    except OSError as error:
        raise TuneError(f"{path}: {error.strerror}") from error
    if not phase or not sync:
        lacking = "phase" if not phase else "sync quality"
        raise TuneError(f"{path} has no value of {lacking}, expected bridge.jsonl or a bench log")
    largest, mean = max(phase), math.fsum(sync) / len(sync)
    p95 = sorted(phase)[int(0.95 * len(phase)) - 1]
    kp, ki, kd, delta_hz = gain.kp, gain.ki, gain.kd, 0.0
    if p95 > P95_PHASE:
        kp, kd, delta_hz = kp - 0.05, kd - 0.02, -0.3
    elif largest > MAX_PHASE:
        kp, delta_hz = kp - 0.03, -0.1
    if mean < MEAN_SYNC:
        ki -= 0.02
    kp, ki, kd = (max(round(x, 2), 0.0) for x in (kp, ki, kd))
    return Thumb(p95, largest, mean, kp, ki, kd, delta_hz)


def _values(line: str) -> Iterator[tuple[int, float]]:
    """Yield the column (0 phase, 1 sync) and the value of each figure in a line."""
    try:
        if line.startswith("{"):
            found = msgspec.json.decode(line, type=BridgeLine)
            pairs = enumerate((found.phase_diff, found.sync_quality))
            yield from ((k, x) for k, x in pairs if x is not None)
            return
        _, name, text = line.split()
        if name in _NAMES and math.isfinite(value := float(text)):
            yield _NAMES[name], value
    except (ValueError, msgspec.MsgspecError):
        return
