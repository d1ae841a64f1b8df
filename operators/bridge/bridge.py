"""bridge: a beat clock in rate and phase with a reference, and the states in which it plays.

Control step k is the instant s = 0.05 k s. The first event with arrival >= s takes it, and it uses
what arrived before s: commands, rows of the reference, grid ticks by their release. In that order:

1. commands change the state (operators/bridge/protocol.py);
2. beats move the observer (operators/bridge/observer.py), and their phase errors enter the window
   by which the loop is judged (operators/bridge/trend.py);
3. each grid tick is judged: actions of rules, hard stop, figures over time, protocol, calibrator;
4. the output is settled over [s + lead, s + lead + 0.05) with the gains in force
   (operators/bridge/steering.py).

A tick is withheld where the state or a hard stop silences it at the step that settles it. No clock
is read: the frames are the same in every replay, and for any packets. For a silence of more than
an hour between two arrivals no step is made.

Cost: 30 us a control step, 20 of them a second of data. State: that of its parts, rows and grid
ticks that no step has reached yet. Losses: none.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import replace as with_fields
from itertools import chain, pairwise

import numpy as np
from msgspec.structs import replace

from operators.bridge.actions import Actions, changes
from operators.bridge.bridge_config import CONTROL_S, BridgeConfig
from operators.bridge.calibrator import Calibrator
from operators.bridge.gains import GainSchedule
from operators.bridge.gains_in_force import Gains
from operators.bridge.grid_ticks import GridTick, GridTicks
from operators.bridge.loop_energy import LoopDeviation
from operators.bridge.observer import Observer
from operators.bridge.protocol import SENT, Change, Judged, Protocol
from operators.bridge.reference import Beat, BeatRow, Reference, rows_of
from operators.bridge.steering import ClockTick, OutputClock
from operators.bridge.trend import RollbackRatio, SyncWindow, Trends
from operators.conditions import Rule
from operators.lines import BridgeFrame, EvidenceRecord
from operators.records import BRIDGE_NAMES, BridgeStatus, Control, Packet
from operators.settings.plan import Plan
from operators.types import BRIDGE_STATES, F64, BridgeState, State

MAX_SILENCE_S = 3600.0
"""Longest time between two arrivals for which control steps are made."""
STALE_INTERVALS, MIN_STALE_S = 4, 2.0
"""The reference is silent after so many of its intervals, and at least so long (s)."""
_STEPS_HZ = round(1 / CONTROL_S)


class Bridge:
    """The station of one rig; packets pass where the plan has no bridge.

    Parameters
    ----------
    plan : Plan
    config : BridgeConfig
    lead_s : float
        Time from the decision of a tick to the tick (s).
    rules : tuple of Rule
        Those with actions are watched here.
    """

    def __init__(
        self, plan: Plan, config: BridgeConfig, lead_s: float, rules: tuple[Rule, ...] = ()
    ) -> None:
        self._plan, self._config, self._lead_s = plan, config, lead_s
        self._base_hz = config.phase.gain.base_hz or 1000 / config.loop.tick_ms
        self._grid = GridTicks(plan, config, rules)
        self._waiting: list[GridTick] = []
        self._rows: list[BeatRow] = []
        self._controls: list[Control] = []
        self._next, self._newest = 0, math.nan
        self._at = self._entropy = math.nan
        self._own = (math.nan, math.nan)
        self._heard: list[float] = []
        self._targets: dict[str, bool | None] = {"harmony": None, "coherence": None}
        self._beats = {"used": 0, "outlier": 0, "close": 0}
        self._schedule = GainSchedule(config.phase, config.nonlinear_gain)
        self._gains = self._schedule.at(math.nan)
        self._actions = Actions()
        self._reference = Reference(config.reference)
        self._per_tick = self._reference.per_tick
        self._observer = self._reference.observer()
        self._clock = OutputClock(config.loop, lead_s, self._base_hz)
        self._window = SyncWindow(config.phase.rebalance_window_s)
        self._trends = Trends()
        self._ratio = RollbackRatio(plan.tick_hz)
        self._protocol = Protocol(
            config.protocol, config.safety, plan.tick_hz, config.phase.drift_budget
        )
        self._calibrator = Calibrator(config.calibrate, config.phase)
        self._counts: tuple[dict[str, int], dict[tuple[BridgeState, BridgeState], int]] | None = (
            None
        )
        """Beats by use and transitions, as shown; None since either changed."""
        self._unmet: tuple[str, ...] | None = None
        """Sentences of the protocol; None since a grid tick or a change of state."""

    @classmethod
    def from_snapshot(
        cls,
        state: State,
        plan: Plan,
        config: BridgeConfig,
        lead_s: float,
        rules: tuple[Rule, ...] = (),
    ) -> Bridge:
        """Return the station of a snapshot."""
        core = cls(plan, config, lead_s, rules)
        core._grid = GridTicks.from_snapshot(state["grid"], plan, config, rules)
        core._waiting = [core._grid.tick(tick) for tick in state["waiting"]]
        core._rows = [BeatRow(*row) for row in state["rows"]]
        core._controls = [Control(*control) for control in state["controls"]]
        core._next, core._newest = state["next"], state["newest"]
        core._at, core._entropy = state["at"], state["entropy"]
        core._own, core._heard = tuple(state["own"]), list(state["heard"])
        core._targets, core._beats = dict(state["targets"]), dict(state["beats"])
        core._gains = Gains(*state["gains"])
        phase = config.phase
        core._schedule = GainSchedule.from_snapshot(state["schedule"], phase, config.nonlinear_gain)
        core._actions = Actions.from_snapshot(state["actions"])
        core._reference = Reference.from_snapshot(state["reference"], config.reference)
        core._observer = Observer.from_snapshot(state["observer"])
        core._clock = OutputClock.from_snapshot(state["clock"], config.loop, lead_s, core._base_hz)
        core._window = SyncWindow.from_snapshot(state["window"], phase.rebalance_window_s)
        core._trends = Trends.from_snapshot(state["trends"])
        core._ratio = RollbackRatio.from_snapshot(state["ratio"], plan.tick_hz)
        core._protocol = Protocol.from_snapshot(
            state["protocol"], config.protocol, config.safety, plan.tick_hz, phase.drift_budget
        )
        core._calibrator = Calibrator.from_snapshot(state["calibrator"], config.calibrate, phase)
        return core

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "grid": self._grid.snapshot(),
            "waiting": [tick.snapshot() for tick in self._waiting],
            "rows": [list(row) for row in self._rows],
            "controls": [list(control) for control in self._controls],
            "next": self._next,
            "newest": self._newest,
            "at": self._at,
            "entropy": self._entropy,
            "own": list(self._own),
            "heard": list(self._heard),
            "targets": dict(self._targets),
            "beats": dict(self._beats),
            "gains": list(self._gains),
            "schedule": self._schedule.snapshot(),
            "actions": self._actions.snapshot(),
            "reference": self._reference.snapshot(),
            "observer": self._observer.snapshot(),
            "clock": self._clock.snapshot(),
            "window": self._window.snapshot(),
            "trends": self._trends.snapshot(),
            "ratio": self._ratio.snapshot(),
            "protocol": self._protocol.snapshot(),
            "calibrator": self._calibrator.snapshot(),
        }

    def update(self, packet: Packet) -> Packet:
        """Return the packet with its frames, status and evidence."""
        if not self._plan.bridge:
            return packet
        fused = packet.fused
        self._rows = sorted(self._rows + rows_of(packet.beats)) if packet.beats else self._rows
        self._controls += packet.controls
        released: list[float] = []
        if fused is not None and len(fused):
            self._waiting += self._grid.read(fused, packet.rig)
            released = fused.released.tolist()
        out = _Results(packet.rig)
        columns: list[tuple[float, ...]] = []
        for k in self._steps(packet.arrivals):
            s = k / _STEPS_HZ
            while len(columns) < len(released) and released[len(columns)] < s:
                columns.append(self._columns())
            self._step(s, out)
        if fused is not None:
            if len(columns) < len(released):
                columns += [self._columns()] * (len(released) - len(columns))
            table = np.array(columns).reshape(len(fused), len(BRIDGE_NAMES))
            fused = with_fields(fused, bridge=table)
        return replace(
            packet,
            beats=(),
            fused=fused,
            bridge=tuple(out.frames),
            bridge_status=self._status(),
            evidence=packet.evidence + tuple(out.evidence),
        )

    def _steps(self, arrivals: F64) -> Iterable[int]:
        """Return the control steps that the arrivals of a packet take."""
        if not len(arrivals):
            return ()
        first, last = float(arrivals[0]), float(arrivals[-1])
        if math.isnan(self._newest):
            self._newest, self._next = first, math.ceil(first * _STEPS_HZ)
        parts: list[range] = []
        if last - self._newest > MAX_SILENCE_S:
            for before, after in pairwise((self._newest, *arrivals.tolist())):
                if after - before > MAX_SILENCE_S:
                    parts.append(self._until(before))
                    self._next = math.ceil(after * _STEPS_HZ)
        self._newest = last
        steps = self._until(last)
        return chain(*parts, steps) if parts else steps

    def _until(self, arrival: float) -> range:
        """Return the control steps up to an arrival (s)."""
        end = math.floor(arrival * _STEPS_HZ) + 1
        # The product is rounded: the quotient decides.
        while (end - 1) / _STEPS_HZ > arrival:
            end -= 1
        while end / _STEPS_HZ <= arrival:
            end += 1
        steps = range(self._next, end)
        self._next = max(self._next, end)
        return steps

    def _step(self, s: float, out: _Results) -> None:
        """Take the control step at s."""
        self._at = s
        while self._controls and self._controls[0].arrival < s:
            command = self._controls.pop(0).command
            self._changed(self._protocol.command(command, s), out)
        if self._rows:
            self._read(s)
        self._own = self._window.at(s)
        while self._waiting and self._waiting[0].released < s:
            self._judge(self._waiting.pop(0), out)
        configured = self._schedule.at(self._entropy)
        self._gains = self._actions.gains(configured)
        if self._config.reference is None:
            return
        ticks = self._clock.step(
            s,
            self._observer,
            self._per_tick,
            self._gains,
            stepping=self._protocol.state not in SENT,
        )
        for tick in ticks:
            out.frames.append(self._frame(out.rig, tick.time, tick))

    def _read(self, s: float) -> None:
        """Read the rows of the reference that are known at s."""
        due = bisect_left(self._rows, (s,))
        for row in self._rows[:due]:
            if self._reference.is_end(row):
                continue
            self._heard.append(row.host_time)
            for beat in self._reference.row(row, self._observer, self._gains):
                self._beat(beat)
        del self._rows[:due]
        del self._heard[:-3]

    def _beat(self, beat: Beat) -> None:
        """Add a beat's phase error to the windows."""
        self._counts = None
        self._beats[beat.use] += 1
        if beat.use == "close" or not self._observer.locked:
            return
        error = self._clock.error_at(beat.time, beat.number / self._per_tick)
        self._window.add(beat.time, error, 1 / self._observer.rate_hz)
        if self._protocol.state in SENT:  # before that, the output is still drawn into lock
            self._calibrator.add(beat.time, error)

    def _judge(self, tick: GridTick, out: _Results) -> None:
        """Judge a grid tick."""
        self._unmet = None
        protocol, actions = self._protocol, self._actions
        phase, coherence, harmony, sync, self._entropy = tick.indicators
        if self._config.reference is not None:
            if self._config.reference.signal is not None:
                self._heard = [tick.ts] * 2 if math.isfinite(tick.value) else self._heard
                found = self._reference.tick(tick.ts, tick.value, self._observer, self._gains)
                for beat in found:
                    self._beat(beat)
            phase, sync = self._own
        loop = self._config.loop
        self._targets = {
            "harmony": _met(harmony, loop.target_harmony),
            "coherence": _met(coherence, loop.target_coherence),
        }
        configured = self._schedule.at(self._entropy)
        for change in tick.changes:
            before, title = actions.gains(configured), change.record.rule
            if change.record.state == "resolved":
                actions.undo(title)
            elif protocol.state != "E4":
                actions.take(title, change.actions)
            out.evidence.append(_with_effects(change.record, before, actions.gains(configured)))
        truth = 1.0 if actions.hard_stop else tick.stop
        stopped = protocol.hard_stop.update(tick.ts, truth)
        ratio = self._ratio.tick(protocol.state, stopped or self._clock.lock == "saturated")
        trend = self._trends.tick(tick.ts, phase, sync, self._entropy, tick.reported)
        judged = Judged(
            self._present(tick),
            sync,
            phase,
            self._entropy,
            trend.residual_stddev_10m,
            ratio,
        )
        self._changed(protocol.tick(tick.ts, judged), out)
        if protocol.state != "E4":
            out.evidence += self._calibrator.tick(tick.ts, out.rig, actions, configured)

    def _present(self, tick: GridTick) -> bool:
        """Whether the reference is there; without one, whether anything is."""
        if self._config.reference is None:
            return tick.measured
        if not self._heard:
            return False
        # Of two intervals the shorter: a pause is none.
        every = min((b - a for a, b in pairwise(self._heard)), default=0.0)
        return self._at - self._heard[-1] <= max(MIN_STALE_S, STALE_INTERVALS * every)

    def _changed(self, change: Change | None, out: _Results) -> None:
        """Add the frame of a change of state."""
        if change is None:
            return
        self._counts = self._unmet = None
        if change.after == "E4":
            self._actions.undo_all()
        frame = self._frame(out.rig, change.ts, None)
        out.frames.append(replace(frame, why=change.why))

    def _frame(self, rig: str, ts: float, tick: ClockTick | None) -> BridgeFrame:
        """Return the frame of a tick, or of what is in force."""
        clock, protocol = self._clock, self._protocol
        phase_diff, sync_quality = self._own
        rate_hz = tick.rate_hz if tick else self._rate_hz
        return BridgeFrame(
            ts=ts,
            known=self._at,
            rig=rig,
            beat=tick.beat if tick else clock.beat,
            tick_ms=1000 / rate_hz,
            rate_hz=rate_hz,
            phase_error=_known(tick.phase_error if tick else clock.phase_error),
            phase_sd=_known(tick.phase_sd if tick else clock.phase_sd),
            lock=tick.lock if tick else clock.lock,
            state=protocol.state,
            why=None,
            safety_gain=self._safety_gain,
            withheld=protocol.withheld,
            slips=clock.slips,
            steps=clock.steps,
            kp=self._gains.kp,
            ki=self._gains.ki,
            kd=self._gains.kd,
            phase_diff=_known(phase_diff),
            sync_quality=_known(sync_quality),
            entropy_ratio=_known(self._entropy),
            applied=self._actions.texts,
        )

    @property
    def _rate_hz(self) -> float:
        return self._clock.rate_hz or self._base_hz

    @property
    def _safety_gain(self) -> float:
        return self._actions.safety_gain(self._protocol.safety_gain)

    def _columns(self) -> tuple[float, ...]:
        """Return the values of BRIDGE_NAMES after the newest control step."""
        return (
            *self._own,
            1000 / self._rate_hz,
            float(BRIDGE_STATES.index(self._protocol.state)),
            self._safety_gain,
            self._ratio.value,
            self._trends.newest.residual_stddev_10m,
        )

    def _status(self) -> BridgeStatus:
        clock, protocol, observer = self._clock, self._protocol, self._observer
        trend, gains = self._trends.newest, self._gains
        phase_diff, sync_quality = self._own
        if self._unmet is None:
            self._unmet = protocol.sentences()
        if self._counts is None:
            self._counts = dict(self._beats), dict(protocol.transitions)
        beats, transitions = self._counts
        # By position: 28 names take longer than their values.
        return BridgeStatus(
            self._at,
            protocol.state,
            protocol.since,
            clock.lock,
            1 / self._rate_hz,
            observer.rate_hz / self._per_tick if observer.locks else math.nan,
            clock.phase_error,
            clock.phase_sd,
            phase_diff,
            sync_quality,
            self._entropy,
            self._safety_gain,
            protocol.hard_stop.holds,
            self._ratio.value,
            trend.residual_stddev_10m,
            trend.phase_diff_mean_5m,
            trend.sync_quality_p05_10m,
            trend.entropy_ratio_mean_10m,
            gains.kp,
            gains.ki,
            gains.kd,
            self._loop_deviation(),
            self._targets,
            clock.slips,
            clock.steps,
            observer.locks,
            beats,
            transitions,
            self._unmet,
        )

    def _loop_deviation(self) -> LoopDeviation:
        """Return the errors of the loop while the reference is there."""
        clock, observer = self._clock, self._observer
        if clock.lock not in ("locked", "saturated"):
            return LoopDeviation(math.nan, math.nan, math.nan)
        reference_hz = observer.long.rate / self._per_tick
        return LoopDeviation(
            clock.phase_error,
            reference_hz - clock.rate_hz,
            reference_hz - observer.rate_hz / self._per_tick,
        )


class _Results:
    """Frames and evidence of one packet."""

    def __init__(self, rig: str) -> None:
        self.rig = rig
        self.frames: list[BridgeFrame] = []
        self.evidence: list[EvidenceRecord] = []


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _met(value: float, target: float) -> bool | None:
    return value >= target if math.isfinite(value) else None


def _with_effects(record: EvidenceRecord, before: Gains, after: Gains) -> EvidenceRecord:
    """Return the record with each gain that its actions changed, before and after."""
    effects: dict[str, float | None] = {}
    for term, old, new in changes(before, after):
        effects |= {term: old, f"{term}_after": new}
    return replace(record, facts=record.facts | effects)
