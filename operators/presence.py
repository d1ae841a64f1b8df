"""Presence of a channel: live, stale, lost, rejoining.

A channel is stale at a tick if its newest event is older than `stale_after`, lost at ten times
that age. A returning channel is `rejoining` until it has been fresh for as long as it was absent,
at most `rejoin_after_s`. Then it is live, and its weight ramps up over the time of its absence, at
most 5 s. The cost of a gap therefore grows with its length.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from operators.types import F64, I8, I64, STATES, Bool, State

MAX_RAMP_S = 5.0
LOST_AFTER = 10.0
"""Age at which a channel is lost, in multiples of its limit for stale."""
TINY_S = 1e-9
NEVER = -(1 << 62)
ACQUIRING, LIVE, STALE, GONE, REJOINING = (np.int8(i) for i in range(len(STATES)))
_ACQUIRING, _LIVE, _STALE, _GONE, _REJOINING = range(len(STATES))


class StreamUptime:
    """Times at which streams were down.

    State: the status changes, from the last one before the next tick on.
    """

    def __init__(self) -> None:
        self._turns: dict[str, list[list[float]]] = {}

    @classmethod
    def from_snapshot(cls, state: dict[str, list[list[float]]]) -> StreamUptime:
        """Return the uptime of a snapshot."""
        uptime = cls()
        uptime._turns = state
        return uptime

    def snapshot(self) -> dict[str, list[list[float]]]:
        """Return the state as plain values: [moment, 1 for up or 0 for down] of each change."""
        return {source: [list(t) for t in turns] for source, turns in self._turns.items()}

    def turn(self, turned: tuple[tuple[str, float, bool], ...]) -> None:
        """Add the status changes of a packet."""
        for source, moment, up in turned:
            self._turns.setdefault(source, []).append([moment, float(up)])

    def down(self, source: str, at: F64) -> Bool | None:
        """Return whether a stream was down at rising moments; None if it never changed status."""
        if source not in self._turns:
            return None
        moment, up = np.array(self._turns[source]).T
        i = np.searchsorted(moment, at, "right") - 1
        down: Bool = (i >= 0) & (up[i] == 0)
        return down

    def forget(self, before: float) -> None:
        """Drop the changes that no later moment needs."""
        for turns in self._turns.values():
            while len(turns) > 1 and turns[1][0] <= before:
                turns.pop(0)


@dataclass
class Presence:
    """One channel's presence. State: three integers.

    Attributes
    ----------
    first_stale, last_stale : int
        First and last tick of its newest stale stretch.
    gaps : int
    """

    first_stale: int = NEVER
    last_stale: int = NEVER
    gaps: int = 0

    @classmethod
    def from_snapshot(cls, state: State) -> Presence:
        """Return the presence of a snapshot."""
        return cls(**state)

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return asdict(self)

    def step(
        self,
        first: int,
        hz: float,
        age: F64,
        stale_after: F64 | float,
        locked: Bool,
        rejoin_s: float,
    ) -> tuple[I8, F64, I64]:
        """Return state, ramp and number of gaps at consecutive ticks from index `first` on.

        Parameters
        ----------
        age : float64 (k,)
            Age of the newest event (s), inf before the first.
        stale_after : float64 (k,) or float
            Age at which it is stale (s).
        locked : bool (k,)
            Whether the lag may be used.
        """
        received = np.isfinite(age)
        stale = received & (age > stale_after)
        if self.last_stale == NEVER and not stale.any():
            state = np.where(locked & received, LIVE, ACQUIRING)
            return state, np.ones(len(age)), np.full(len(age), self.gaps)
        tick = first + np.arange(len(age))
        last = np.maximum.accumulate(np.where(stale, tick, self.last_stale))
        last = np.maximum(last, self.last_stale)
        before = np.concatenate(([self.last_stale == first - 1], stale[:-1]))
        begins = stale & ~before
        begin = np.maximum.accumulate(np.where(begins, tick, self.first_stale))
        begin = np.maximum(begin, self.first_stale)
        # absence = last - begin + 1, hold = min(absence, rejoin_s),
        # ramp = (fresh_for - hold + 1 tick) / min(absence, MAX_RAMP_S)
        fresh_for = np.where(last > NEVER, (tick - last - 1) / hz, np.inf)
        absence = np.where(last > NEVER, (last - begin + 1) / hz, 1 / hz)
        hold = np.minimum(absence, rejoin_s)
        state = np.full(len(age), LIVE)
        state[fresh_for < hold - TINY_S] = REJOINING
        state[~locked | ~received] = ACQUIRING
        state[stale] = STALE
        state[received & (age > LOST_AFTER * stale_after)] = GONE
        ramp = np.clip((fresh_for - hold + 1 / hz) / np.minimum(absence, MAX_RAMP_S), 0.0, 1.0)
        gaps = self.gaps + np.cumsum(begins)
        if len(age):
            self.first_stale, self.last_stale = int(begin[-1]), int(last[-1])
            self.gaps = int(gaps[-1])
        return state, ramp, gaps

    def step_at(
        self, tick: int, hz: float, age: float, stale_after: float, locked: bool, rejoin_s: float
    ) -> tuple[int, float, int]:
        """Return state, ramp and number of gaps at one tick: `step` in plain numbers."""
        received = age < np.inf
        stale = received and age > stale_after
        if stale:
            if self.last_stale != tick - 1:
                self.first_stale, self.gaps = tick, self.gaps + 1
            self.last_stale = tick
        elif self.last_stale == NEVER:
            return _LIVE if locked and received else _ACQUIRING, 1.0, self.gaps
        fresh_for = (tick - self.last_stale - 1) / hz
        absence = (self.last_stale - self.first_stale + 1) / hz
        hold = min(absence, rejoin_s)
        state = _LIVE
        if stale:
            state = _GONE if age > LOST_AFTER * stale_after else _STALE
        elif not (locked and received):
            state = _ACQUIRING
        elif fresh_for < hold - TINY_S:
            state = _REJOINING
        ramp = (fresh_for - hold + 1 / hz) / min(absence, MAX_RAMP_S)
        return state, min(max(ramp, 0.0), 1.0), self.gaps
