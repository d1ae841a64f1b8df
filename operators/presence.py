"""Whether a channel is there: fresh, stale, lost, coming back.

A channel is stale at a tick when its newest event is older than `stale_after`, lost when ten
times as old. Coming back it is `rejoining` until it has been fresh for as long as it was absent,
at most `rejoin_after_s`; then live, its weight ramped over its absence, at most 5 s. A hiccup
costs what it lasts, an outage the trust that it cost.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from operators.types import F64, I8, I64, STATES, Bool, State

RAMP_S = 5.0
LOST = 10.0
TINY_S = 1e-9
NEVER = -(1 << 62)
ACQUIRING, LIVE, STALE, GONE, REJOINING = (np.int8(i) for i in range(len(STATES)))


class StreamUptime:
    """When streams were down. State: their turns, from the last before the next tick on."""

    def __init__(self) -> None:
        self._turns: dict[str, list[list[float]]] = {}

    @classmethod
    def from_snapshot(cls, state: dict[str, list[list[float]]]) -> StreamUptime:
        """Return the uptime of a snapshot."""
        uptime = cls()
        uptime._turns = state
        return uptime

    def snapshot(self) -> dict[str, list[list[float]]]:
        """Return the state as plain values: moment and 1 for up, 0 for down, of each turn."""
        return {source: [list(t) for t in turns] for source, turns in self._turns.items()}

    def turn(self, turned: tuple[tuple[str, float, bool], ...]) -> None:
        """Take in what a packet tells."""
        for source, moment, up in turned:
            self._turns.setdefault(source, []).append([moment, float(up)])

    def down(self, source: str, at: F64) -> Bool | None:
        """Return whether a stream was down at rising moments; None where it never was."""
        if source not in self._turns:
            return None
        moment, up = np.array(self._turns[source]).T
        i = np.searchsorted(moment, at, "right") - 1
        down: Bool = (i >= 0) & (up[i] == 0)
        return down

    def forget(self, before: float) -> None:
        """Drop the turns that no later moment asks for."""
        for turns in self._turns.values():
            while len(turns) > 1 and turns[1][0] <= before:
                turns.pop(0)


@dataclass
class Presence:
    """One channel's presence. State: three integers.

    Attributes
    ----------
    first_stale, last_stale : int
        Ticks of its newest stale stretch.
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
            What makes it stale (s).
        locked : bool (k,)
            The lag may be used.
        """
        heard = np.isfinite(age)
        stale = heard & (age > stale_after)
        if self.last_stale == NEVER and not stale.any():
            state = np.where(locked & heard, LIVE, ACQUIRING)
            return state, np.ones(len(age)), np.full(len(age), self.gaps)
        tick = first + np.arange(len(age))
        last = np.maximum.accumulate(np.where(stale, tick, self.last_stale))
        last = np.maximum(last, self.last_stale)
        before = np.concatenate(([self.last_stale == first - 1], stale[:-1]))
        begins = stale & ~before
        begin = np.maximum.accumulate(np.where(begins, tick, self.first_stale))
        begin = np.maximum(begin, self.first_stale)
        fresh_for = np.where(last > NEVER, (tick - last - 1) / hz, np.inf)
        absence = np.where(last > NEVER, (last - begin + 1) / hz, 1 / hz)
        hold = np.minimum(absence, rejoin_s)
        state = np.full(len(age), LIVE)
        state[fresh_for < hold - TINY_S] = REJOINING
        state[~locked | ~heard] = ACQUIRING
        state[stale] = STALE
        state[heard & (age > LOST * stale_after)] = GONE
        ramp = np.clip((fresh_for - hold + 1 / hz) / np.minimum(absence, RAMP_S), 0.0, 1.0)
        gaps = self.gaps + np.cumsum(begins)
        if len(age):
            self.first_stale, self.last_stale = int(begin[-1]), int(last[-1])
            self.gaps = int(gaps[-1])
        return state, ramp, gaps
