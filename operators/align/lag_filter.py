"""A lag, tracked: cross-spectra of the past, weighed by coherence, and a trend through them.

The steps from sample to sample of both series (so that no slow swing leaks over the spectrum)
are cut, the later series read later by the lag as it is known, into sine-windowed segments of
64, half overlapped, each used once. The segments of eight seconds make a node: their mean
cross-spectrum G_j, powers, number n_j and mean time. With G the mean of all, every node turned
back by the lag that it had, each is off by what its phases show (operators/align/spectral_weights.py), and a
trend goes through the nodes (operators/align/lag_trend.py: lag and rate, constant, rising, walking). Both
are repeated until the lags stay. What is known of the weights by now goes for the old nodes, too;
each node counts at its own time.

Variances are 1 + 1 / L times as large, L the number of independent segments: weights from few of
them are too sure of themselves (by simulation: ops/bench/lag.py).

New segments whose own lag is more than 4 sigma off are left out, as are those of a hop whose
correlation has its peak elsewhere; the third time running the track starts anew from them. Until
then it is as likely that the lag has moved as that they are wrong: half the square of the distance
is `doubt`, to be added to the variance. The fastest walk that is not rare stays within the gate.

State: 24 nodes of 126 numbers; neighbours are joined where they are close for their age, so that
the newest stand some ten seconds apart, those of an hour ago by a quarter of that; older ones go.
Cost: about 100 numpy calls a hop.

Sources: Welch, IEEE Trans. Audio Electroacoust. 15 (1967), for the segments; Bar-Shalom, Li &
Kirubarajan, Estimation with Applications (2001), for the gate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from operators.align.lag_trend import Motions, Trend, fitted, motions
from operators.align.spectral_weights import Complex, Nodes, Weights, weights
from operators.correlation import APART_S, SEGMENT, Lag, SampledSeries
from operators.types import F64, State

STEP = SEGMENT // 2
WINDOW = np.sin(np.pi * (np.arange(SEGMENT) + 0.5) / SEGMENT)
OMEGA = 2 * np.pi * np.arange(1, STEP) / SEGMENT
LINES = len(OMEGA)
"""The angular frequencies of a segment (rad a sample), without the two that have no phase."""
TRANSFORM = WINDOW[:, None] * np.exp(-1j * np.outer(np.arange(SEGMENT), OMEGA))
TOP = 2 * np.pi * 0.445
"""Above, series read through a kernel (operators/align/coarse_grid.py) fold back what lies beyond half their
rate: 0.2 % of a line's power here, a tenth two lines higher, turned as for the wrong frequency."""
MIN_SEGMENTS = 2
INDEPENDENT = 0.83
"""What half-overlapped sine windows are worth: 1 / (1 + 2 / pi^2) each (Welch 1967)."""
OPTIMISM = 1.0
GATE = 4.0
REJECTS = 3
REACH, BETA = 48, 3.0
"""Of the kernel between samples: its half-width (samples), its window's shape (Kaiser)."""
NEWTON, CLOSE = 4, 5e-3
"""Steps, and the last one's size in samples: what is then left is less than 1 us at 5 Hz."""
NODES, FRESH, NODE_S, MEMORY_S = 24, 6, 8.0, 3600.0
"""How many, how many of them stay as they are, and how long (s) they and all may be."""
NAN = float("nan")
LONG_AGO = -(1 << 62)
_NOWHERE = Trend(NAN, NAN, NAN, NAN, NAN, NAN, NAN)


class SeriesPair(NamedTuple):
    """A window of two series on one grid of `hz`, `a` the reference, from tick `first` on."""

    a: SampledSeries
    b: SampledSeries
    first: int
    hz: float


class _Spectra(NamedTuple):
    """Segments in groups (g,) of at most NODE_S: how many, their mean time in the reference (s).

    Means of cross-spectrum (g, 31), turned back to no shift, and powers (g, 2, 31). Segments from
    tick `seen` of the reference on are new.
    """

    number: F64
    at: F64
    cross: Complex
    power: F64
    seen: int

    @property
    def segments(self) -> float:
        """How many there are in all groups."""
        return float(self.number.sum())


def _empty() -> dict[str, Any]:
    return {
        "at": np.zeros(NODES), "count": np.zeros(NODES), "path": np.zeros(NODES),
        "cross": np.zeros((NODES, LINES), complex), "power": np.zeros((NODES, 2, LINES)),
    }  # fmt: skip


def _weightless() -> Weights:
    return Weights(np.zeros(LINES), np.zeros((2, LINES)), np.zeros(2))


@dataclass
class LagFilter:
    """One pair's lag.

    `nodes`: their times `at` (s), numbers of segments `count`, lags `path` (s), spectra `cross` and
    `power`, the first `size` of each in use; `begun`: when the newest began (s); `trend` at the
    last hop that changed it; `weights` of the lines; `doubt`: variance to add (s^2);
    `seen`: from which tick of the reference on segments are new; `since`: where the first left
    out of late ended.
    """

    nodes: dict[str, Any] = field(default_factory=_empty)
    size: int = 0
    begun: float = NAN
    trend: Trend = _NOWHERE
    rejects: int = 0
    doubt: float = 0.0
    seen: int = LONG_AGO
    since: int = LONG_AGO
    weights: Weights = field(default_factory=_weightless)

    def snapshot(self) -> State:
        """Return the state as plain values."""
        fields = self.__dataclass_fields__.keys() - {"nodes", "weights"}
        plain = {n: getattr(self, n) for n in sorted(fields)}
        nodes = {n: x.copy() for n, x in self.nodes.items() if n != "cross"}
        cross = self.nodes["cross"]
        nodes |= {"real": cross.real.copy(), "imaginary": cross.imag.copy()}
        own = {n: x.copy() for n, x in self.weights._asdict().items()}
        own |= {"trend": list(self.trend)}
        return plain | own | {"nodes": nodes}

    @classmethod
    def from_snapshot(cls, state: State) -> LagFilter:
        """Return the filter of a snapshot."""
        nodes = {n: x.copy() for n, x in state["nodes"].items() if n not in ("real", "imaginary")}
        nodes["cross"] = state["nodes"]["real"] + 1j * state["nodes"]["imaginary"]
        weights = Weights(*(state[n].copy() for n in Weights._fields))
        plain = {n: x for n, x in state.items() if n not in Weights._fields}
        plain |= {"trend": Trend(*state["trend"]), "nodes": nodes}
        return cls(**plain, weights=weights)

    @property
    def locked(self) -> bool:
        """Whether there is a lag."""
        return self.size > 0

    @property
    def segments(self) -> float:
        """How many segments the lag rests on."""
        return float(self.nodes["count"][: self.size].sum())

    def update(
        self, pair: SeriesPair, found: Lag, when: float, kinds: Motions | None = None,
        r: float | None = None,
    ) -> None:  # fmt: skip
        """Take in the segments that a hop brings.

        Parameters
        ----------
        pair : Pair
            The last window.
        found : Lag
            Where its correlation has its peak.
        when : float
            Time for which the lag is wanted, no earlier than the window's end (s).
        kinds : Motions, optional
            What the lag may do; by default mostly nothing.
        r : float, optional
            Variance of what one segment tells (s^2), in place of the spectrum's own.
        """
        kinds = kinds or motions()
        if not found.ok:
            return
        if not self.locked:
            self._start(pair, found, when, kinds, r)
            return
        end = (pair.first + len(pair.a.x)) / pair.hz
        lag = self.trend.moved(end).lag
        elsewhere = abs(found.lag_s - lag) > APART_S
        new = _segments(pair, found.lag_s if elsewhere else lag, self.seen)
        if not new.segments:
            return
        due = self.trend.moved(float(new.number @ new.at) / new.segments)
        lags = due.lag + due.rate * (new.at - due.at)
        omega = OMEGA * pair.hz
        mean = Nodes(new.number, new.cross, new.power).turned(lags, omega).mean()
        off, var = self.weights.reading(mean, omega)
        spread = due.var + self._optimism() * float(var[0])
        # The trend may not have seen yet that the lag walks.
        spread += kinds.room() * max(due.at - float(self.nodes["at"][self.size - 1]), 0.0)
        if elsewhere or float(off[0]) ** 2 > GATE**2 * spread:
            # The first of them may lie across the step.
            self.since = new.seen if self.rejects == 0 else self.since
            self.rejects, self.seen = self.rejects + 1, new.seen
            far = found.lag_s - lag if elsewhere else float(off[0])
            self.doubt = far * far / 2
            if self.rejects >= REJECTS:
                self._start(pair, found, when, kinds, r)
            return
        self.rejects, self.doubt, self.seen = 0, 0.0, new.seen
        self._add(new, lags, pair.hz)
        self._solve(pair.hz, when, kinds, r)

    def _start(
        self, pair: SeriesPair, found: Lag, when: float, kinds: Motions, r: float | None
    ) -> None:
        """Begin, or begin anew, if enough segments are there and agree with the peak."""
        new = _segments(pair, found.lag_s, self.since)
        if new.segments < MIN_SEGMENTS:
            return
        fresh = LagFilter(seen=new.seen, since=new.seen)
        fresh._add(new, np.full(len(new.number), found.lag_s), pair.hz)
        if fresh._solve(pair.hz, when, kinds, r) and abs(fresh.trend.lag - found.lag_s) <= APART_S:
            self.__dict__.update(fresh.__dict__)

    def _add(self, new: _Spectra, lags: F64, hz: float) -> None:
        """Put new segments with the lags that they are expected to have among the nodes."""
        x = self.nodes
        for at, count, lag, cross, power in zip(
            new.at.tolist(), new.number.tolist(), lags.tolist(), new.cross, new.power, strict=True
        ):
            follows = self.size > 0 and at - self.begun < NODE_S
            if not follows:
                self._make_room(at, hz)
                self.begun = at
            k = self.size
            x["at"][k], x["count"][k], x["path"][k] = at, count, lag
            x["cross"][k], x["power"][k] = cross, power
            self.size = k + 1
            if follows:
                self._join(k - 1, hz)

    def _make_room(self, at: float, hz: float) -> None:
        """Leave room for a node at a time (s) and one to join it."""
        old = int(np.searchsorted(self.nodes["at"][: self.size], at - MEMORY_S))
        if old:
            for column in self.nodes.values():
                column[: self.size - old] = column[old : self.size]
                column[self.size - old :] = 0
            self.size -= old
        if self.size == NODES - 1:
            times = self.nodes["at"][: self.size - FRESH]
            self._join(int(np.argmin(np.diff(times) / (at - times[1:]))), hz)

    def _join(self, k: int, hz: float) -> None:
        """Make one of node `k` and the next, turned to the lag that both have on average."""
        x, both = self.nodes, slice(k, k + 2)
        share = x["count"][both] / x["count"][both].sum()
        lag = float(share @ x["path"][both])
        turn = np.exp(1j * hz * (x["path"][both] - lag)[:, None] * OMEGA)
        cross, power = share @ (x["cross"][both] * turn), np.tensordot(share, x["power"][both], 1)
        x["at"][k], x["path"][k] = share @ x["at"][both], lag
        x["count"][k] += x["count"][k + 1]
        x["cross"][k], x["power"][k] = cross, power
        for column in x.values():
            column[k + 1 : self.size - 1] = column[k + 2 : self.size]
            column[self.size - 1] = 0
        self.size -= 1

    def _looks(self) -> float:
        """Return how many independent segments the nodes are worth, for the weights."""
        return INDEPENDENT * self.segments

    def _optimism(self) -> float:
        """Return by how much the variances of segments exceed those of known weights."""
        return 1 + OPTIMISM / self._looks()

    def _solve(self, hz: float, when: float, kinds: Motions, r: float | None) -> bool:
        """Weigh the frequencies anew and draw the trend; return whether it could be."""
        names = ("at", "count", "path", "cross", "power")
        at, count, path, cross, power = (self.nodes[n][: self.size] for n in names)
        nodes, omega = Nodes(count, cross, power), OMEGA * hz
        turned = nodes.turned(path, omega)
        found = weights(turned, omega, self._looks(), TOP * hz)
        if found is None:
            return False
        each = self._optimism()
        for _ in range(NEWTON):
            off, var = found.reading(turned, omega)
            if r is not None:
                # On average a segment tells as much.
                var *= r * float((1 / var).sum()) / count.sum()
            trend, lags = fitted(at, path - off, each * var, when, kinds)
            far = float(np.abs(lags - path).max())
            path = lags
            if far * hz < CLOSE:
                break
            turned = nodes.turned(path, omega)
        self.nodes["path"][: self.size] = path
        self.trend, self.weights = trend, found
        return True


def _between(rest: float) -> F64:
    """Return the filter (97,) that reads a series a part of a sample later."""
    u = np.arange(REACH, -REACH - 1, -1) - rest
    taps = np.sinc(u) * np.i0(BETA * np.sqrt(np.clip(1 - (u / (REACH + 1)) ** 2, 0, 1)))
    return np.asarray(taps / taps.sum())


def _segments(pair: SeriesPair, lag: float, since: int) -> _Spectra:
    """Return the spectra of the segments from tick `since` on, b read a lag later.

    Shifted by whole samples alone, a line's phase would be that of its own frequency times the
    rest, but a segment's line has the energy of its neighbourhood: 2 % of the rest were missed.
    """
    a, b = pair.a, pair.b
    k = round(lag * pair.hz)
    rest = lag * pair.hz - k
    late = np.convolve(b.steps, _between(rest))[REACH : REACH + len(b.steps)]
    i, j = max(-k, 0), max(k, 0)
    n = len(a.x) - 1 - i - j
    start = np.arange(max(since - pair.first - i, 0), n - SEGMENT + 1, STEP)
    seen = pair.first + i + int(start[-1]) + STEP if len(start) else since
    index = start[:, None] + np.arange(SEGMENT)
    if not (a.whole and b.whole):
        known = a.known[i : i + n + 1] & b.known[j : j + n + 1]
        index = index[(known[index] & known[index + 1]).all(axis=1)]
    if not len(index):
        none = np.empty((0, LINES))
        return _Spectra(np.empty(0), np.empty(0), none + 0j, np.empty((0, 2, LINES)), seen)
    parts = np.empty((2, len(index), SEGMENT))
    a.steps.take(index + i, out=parts[0])
    late.take(index + j, out=parts[1])
    # So few segments and lines are sooner multiplied than put through a fast transform.
    spectra = parts @ TRANSFORM
    first = index[:, 0]
    group = (first - first[0]) // max(int(NODE_S * pair.hz), STEP)
    edge = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
    count = np.diff(np.append(edge, len(first))).astype(float)
    at = (pair.first + i + np.add.reduceat(first, edge) / count + STEP) / pair.hz
    cross = np.add.reduceat(spectra[0].conj() * spectra[1], edge, axis=0)
    power = np.add.reduceat(spectra.real**2 + spectra.imag**2, edge, axis=1).transpose(1, 0, 2)
    turn: Complex = np.exp((-1j * (k + rest)) * OMEGA)
    return _Spectra(
        count, at, cross * turn / count[:, None], power / count[:, None, None], seen
    )  # fmt: skip
