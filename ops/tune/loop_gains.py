"""Gains of the beat clock: each candidate follows the beats of a recording anew.

The beats, dated by `drift`, and the entropy ratio at each grid tick come from one replay. For each
candidate the observer and the output clock run over them, as in the station: control step s knows
beats of a watermark before s, and settles the output one lead ahead. The objective of a half is

    rms(e) + 0.1 rms(c)

with e the phase error at each beat and c the change from one tick to the next (both cycles). All
candidates are judged at the same beats, those that the gains in force use; a beat at which a
candidate does not follow counts half a cycle.

Protocol and actions of rules are left out: in the first 15 s a lock sets the phase, and these are
not judged. `rebalance_window_s` changes the clock only where the calibrator applies its advice, and
is a candidate only there.

Cost: 0.2 s of CPU time a candidate and ten minutes. Losses: none.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from configs.schema import Config
from operators.bridge.actions import Actions
from operators.bridge.bridge import MAX_SILENCE_S
from operators.bridge.bridge_config import CONTROL_S, BridgeConfig, ReferenceConfig
from operators.bridge.calibrator import Calibrator
from operators.bridge.gains import GainSchedule
from operators.bridge.reference import Beat, BeatRow, Reference, rows_of
from operators.bridge.steering import OutputClock, PhasePiece
from operators.types import F64
from ops.tune.held_back import Candidate, Decision, decide
from ops.tune.recorded_packets import TuneError, packets

LOCK_IN_S = 15.0
"""Time after the first beat that is not judged (s)."""
MIN_HALF_S, MIN_BEATS = 30.0, 20
"""Least length (s) and least number of beats of a half."""
CHANGE_WEIGHT = 0.1
MISSED = 0.5
"""Phase error of a beat at which the clock does not follow (cycles)."""
KPS = (0.2, 0.35, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0)
SHARES = (0.3, 0.65)
"""ki / kp^2: dampings of 0.91 and 0.62."""
WINDOWS_S = (12.0, 90.0)
_STEPS_HZ = round(1 / CONTROL_S)


class GridPoint(NamedTuple):
    """A grid tick: its release, time (s), entropy ratio and the signal of the reference."""

    released: float
    ts: float
    entropy: float
    value: float


@dataclass
class RecordedReference:
    """The reference of a recording: its rows and grid ticks, and the newest arrival (s)."""

    rows: list[BeatRow] = field(default_factory=list)
    grid: list[GridPoint] = field(default_factory=list)
    first: float = math.inf
    last: float = -math.inf

    @classmethod
    def read(cls, config: Config, reference: ReferenceConfig, recording: Path) -> RecordedReference:
        """Return the reference of the rig with the most beats.

        Raises
        ------
        TuneError
            The recording has no event of the configuration.
        """
        signal = reference.signal
        column = None if signal is None else list(config.signals).index(signal)
        rigs: dict[str, RecordedReference] = {}
        for rig, packet in packets(config, recording, "fuse"):
            found = rigs.setdefault(rig, cls())
            found.rows += rows_of(packet.beats)
            if len(packet.arrivals):
                found.first = min(found.first, float(packet.arrivals[0]))
                found.last = float(packet.arrivals[-1])
            fused = packet.fused
            if fused is None or not len(fused):
                continue
            value = np.full(len(fused), np.nan)
            value = value if column is None else fused.signals[column].value
            entropy = fused.indicators[:, -1]
            listed = (fused.released, fused.ts, entropy, value)
            found.grid += map(GridPoint, *(each.tolist() for each in listed))
        if not rigs:
            raise TuneError(f"{recording} has no event of the configuration")
        most = max(rigs.values(), key=lambda r: len(r.rows) if column is None else len(r.grid))
        most.rows.sort()
        return most

    def steps(self) -> Iterator[float]:
        """Yield the control steps (s); none in a silence of more than an hour."""
        found = {row.moment for row in self.rows} | {g.released for g in self.grid}
        moments = sorted(moment for moment in found if math.isfinite(moment))
        k = math.ceil(self.first * _STEPS_HZ) if moments else 0
        while moments and (s := k / _STEPS_HZ) <= self.last:
            yield s
            k += 1
            at = bisect_left(moments, s)
            if 0 < at < len(moments) and moments[at] - moments[at - 1] > MAX_SILENCE_S:
                k = max(k, math.ceil(moments[at] * _STEPS_HZ))


class FollowedBeat(NamedTuple):
    """A beat: its time (s), position in the recording, phase of the reference (ticks), and use."""

    time: float
    position: int
    ticks: float
    used: bool


@dataclass
class FollowedClock:
    """A clock along a recording: its beats, its phase, and its ticks as (time, interval, rate).

    The phase of the output is that of `pieces`: (time, phase, rate).
    """

    beats: list[FollowedBeat] = field(default_factory=list)
    pieces: list[PhasePiece] = field(default_factory=list)
    ticks: list[tuple[float, float, float]] = field(default_factory=list)

    def errors(self) -> dict[int, float]:
        """Return the phase error (cycles) at each beat, by position."""
        if not self.beats:
            return {}
        at, phase, rate = np.array(self.pieces).T
        t = np.array([beat.time for beat in self.beats])
        piece = np.searchsorted(at, t, "right") - 1
        q = np.where(piece < 0, np.nan, phase[piece] + rate[piece] * (t - at[piece]))
        e = np.array([beat.ticks for beat in self.beats]) - q
        positions = [beat.position for beat in self.beats]
        return dict(zip(positions, (e - np.rint(e)).tolist(), strict=True))

    def objective(self, judged: dict[int, float], begin: float, end: float) -> float:
        """Return the objective over [begin, end).

        Parameters
        ----------
        judged : dict
            Positions of the beats that count, and their times (s).
        begin, end : float
        """
        mine = self.errors()
        errors = [mine.get(at, math.nan) for at, t in judged.items() if begin <= t < end]
        e = np.nan_to_num(np.array(errors), nan=MISSED)
        time, interval, rate = np.array(self.ticks or [(0.0,) * 3]).T
        change = np.diff(interval) * rate[1:]
        change = change[(time[1:] >= begin) & (time[1:] < end)]
        return _rms(e) + CHANGE_WEIGHT * _rms(change)


def follow(recorded: RecordedReference, bridge: BridgeConfig, lead_s: float) -> FollowedClock:
    """Return the clock of a configuration along a recording.

    Parameters
    ----------
    recorded : RecordedReference
    bridge : BridgeConfig
        With a reference.
    lead_s : float
        Time from the decision of a tick to the tick (s).
    """
    reference = Reference(bridge.reference)
    observer, per_tick = reference.observer(), reference.per_tick
    base_hz = bridge.phase.gain.base_hz or 1000 / bridge.loop.tick_ms
    clock = OutputClock(bridge.loop, lead_s, base_hz)
    schedule = GainSchedule(bridge.phase, bridge.nonlinear_gain)
    actions = Actions()
    applies = bridge.calibrate == "apply"
    calibrator = Calibrator("apply" if applies else "off", bridge.phase)
    rows, grid, out = recorded.rows, recorded.grid, FollowedClock()
    gains, entropy, row, point, begun = schedule.at(math.nan), math.nan, 0, 0, math.inf

    def note(beat: Beat, position: int) -> None:
        if not observer.locked:
            return
        # The number of an unused beat is that of the newest used one.
        phase = observer.phase_at(beat.time) / observer.quantum
        used = beat.use == "used"
        number = beat.number if used else round(phase) * observer.quantum
        out.beats.append(FollowedBeat(beat.time, position, number / per_tick, used))
        if beat.use != "close":
            calibrator.add(beat.time, clock.error_at(beat.time, number / per_tick))

    for s in recorded.steps():
        while row < len(rows) and rows[row].moment < s:
            for beat in reference.row(rows[row], observer, gains):
                begun = min(begun, s)
                note(beat, row)
            row += 1
        while point < len(grid) and grid[point].released < s:
            _, ts, entropy, value = grid[point]
            if bridge.reference is not None and bridge.reference.signal is not None:
                for beat in reference.tick(ts, value, observer, gains):
                    begun = min(begun, s)
                    note(beat, point)
            if applies:
                calibrator.tick(ts, "", actions, schedule.at(entropy))
            point += 1
        gains = actions.gains(schedule.at(entropy))
        stepping = s < begun + LOCK_IN_S
        made = clock.step(s, observer, per_tick, gains, stepping=stepping)
        out.ticks += [(tick.time, tick.interval_s, tick.rate_hz) for tick in made]
        out.pieces += clock.pieces[-1:]
    return out


def with_gains(bridge: BridgeConfig, kp: float, ki: float, window_s: float) -> BridgeConfig:
    """Return a bridge with other gains; curves of kp are scaled to them."""
    gain = replace(bridge.phase.gain, kp=kp, ki=ki)
    phase = replace(bridge.phase, gain=gain, rebalance_window_s=window_s)
    curves = bridge.nonlinear_gain
    if curves is not None:
        first = curves.kp_curve[0][1]
        # Rounded, so that the first point is kp itself.
        scaled = [(x, round(y * kp / first, 6) if first else kp) for x, y in curves.kp_curve]
        curves = replace(curves, kp_curve=scaled, ki_base=ki)
    return replace(bridge, phase=phase, nonlinear_gain=curves)


class GainTrials:
    """The beats at which all candidates of a recording are judged, by half.

    Parameters
    ----------
    recorded : RecordedReference
    bridge : BridgeConfig
        In force, with a reference.
    lead_s : float
        Time from the decision of a tick to the tick (s).

    Raises
    ------
    TuneError
        Too few beats.
    """

    def __init__(self, recorded: RecordedReference, bridge: BridgeConfig, lead_s: float) -> None:
        self._recorded, self._bridge, self._lead_s = recorded, bridge, lead_s
        clock = follow(recorded, bridge, lead_s)
        self._beats = {b.position: b.time for b in clock.beats if b.used}
        self._halves = _halves(self._beats)
        self.current = self._candidate(bridge, clock)

    def tried(self, bridge: BridgeConfig) -> Candidate:
        """Return a candidate with its objectives."""
        return self._candidate(bridge, follow(self._recorded, bridge, self._lead_s))

    def _candidate(self, bridge: BridgeConfig, clock: FollowedClock) -> Candidate:
        first, second = (clock.objective(self._beats, *half) for half in self._halves)
        patch = patch_of(bridge, self._bridge.phase.rebalance_window_s)
        return Candidate(_title(bridge), patch, (first, second))


def candidates(bridge: BridgeConfig) -> list[BridgeConfig]:
    """Return the bridge with other gains and, where advice is applied, other windows."""
    now, window_s = bridge.phase.gain, bridge.phase.rebalance_window_s
    windows = [window_s]
    if bridge.calibrate == "apply":
        windows = sorted({window_s, *WINDOWS_S})
    settings = [(kp, round(s * kp * kp, 6), w) for kp in KPS for s in SHARES for w in windows]
    settings += [(now.kp, now.ki, w) for w in windows if w != window_s]
    return [with_gains(bridge, *each) for each in settings]


def choose_gains(recorded: RecordedReference, bridge: BridgeConfig, lead_s: float) -> Decision:
    """Return the decision on the gains along a recorded reference; arguments as of `GainTrials`."""
    judge = GainTrials(recorded, bridge, lead_s)
    return decide(judge.current, [judge.tried(each) for each in candidates(bridge)])


def tune_gains(config: Config, recording: Path) -> Decision:
    """Return the decision on the gains.

    Raises
    ------
    TuneError
        Without a reference; too few beats.
    """
    bridge = config.bridge
    if bridge is None or bridge.reference is None:
        raise TuneError("gains need bridge.reference in the configuration")
    recorded = RecordedReference.read(config, bridge.reference, recording)
    return choose_gains(recorded, bridge, config.lead_s())


def _halves(judged: dict[int, float]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the two halves of the judged beats (s)."""
    times = np.sort(np.array(list(judged.values())))
    if not len(times):
        raise TuneError("the recording has no beat at which the clock follows")
    first, last = float(times[0]), float(times[-1])
    middle = (first + last) / 2
    halves = ((first + LOCK_IN_S, middle), (middle, math.nextafter(last, math.inf)))
    counts = [int(np.count_nonzero((times >= a) & (times < b))) for a, b in halves]
    if halves[0][1] - halves[0][0] < MIN_HALF_S or min(counts) < MIN_BEATS:
        least = 2 * (LOCK_IN_S + MIN_HALF_S)
        raise TuneError(
            f"{last - first:.0f} s with {len(times)} used beats are too few, expected {least:g} s"
            f" and {MIN_BEATS} beats a half"
        )
    return halves


def _title(bridge: BridgeConfig) -> str:
    gain = bridge.phase.gain
    return f"kp {gain.kp:g} ki {gain.ki:g} window {bridge.phase.rebalance_window_s:g} s"


def patch_of(bridge: BridgeConfig, window_s: float) -> dict[str, Any]:
    """Return the gains, and a window other than `window_s`, as keys of a configuration."""
    gain, curves = bridge.phase.gain, bridge.nonlinear_gain
    phase: dict[str, Any] = {"gain": {"kp": gain.kp, "ki": gain.ki}}
    if bridge.phase.rebalance_window_s != window_s:
        phase["rebalance_window_s"] = bridge.phase.rebalance_window_s
    patch: dict[str, Any] = {"phase": phase}
    if curves is not None:
        curve = [list(point) for point in curves.kp_curve]
        patch["nonlinear_gain"] = {"kp_curve": curve, "ki_base": curves.ki_base}
    return {"bridge": patch}


def _rms(values: F64) -> float:
    return float(np.sqrt(np.mean(values * values))) if len(values) else 0.0
