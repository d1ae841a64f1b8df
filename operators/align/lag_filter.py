"""Tracking of one lag: past cross-spectra, weighted by coherence, and a trend through them.

Input are the differences from sample to sample of both series, so that no slow swing leaks over
the spectrum. They are cut into sine-windowed segments of 64, half overlapped, each used once; the
later series is delayed by the current lag. The segments of eight seconds make a node: their mean
cross-spectrum G_j, powers, number n_j and mean time. With G the mean of all nodes, each turned
back by its own lag, the phases of a node give its error (operators/align/spectral_weights.py). A
trend is fitted through the nodes (operators/align/lag_trend.py: lag and rate, constant, rising,
walking). Both steps are repeated until the lags converge. The current weights apply to old nodes,
too; each node counts at its own time.

Variances are multiplied by 1 + 1 / L, L the number of independent segments: weights from few
segments are overconfident (by simulation: ops/bench/lag.py).

New segments whose own lag is more than 4 sigma off are rejected, as are those of a hop whose
correlation has its peak elsewhere. At the third rejection in a row the filter restarts from them.
Until then a move of the lag is as likely as a fault of the segments: half the squared distance is
`doubt`, to be added to the variance. The fastest walk that is not rare stays within the gate.

State: 24 nodes of 126 numbers. Neighbours that are close for their age are joined: the newest are
about ten seconds apart, those of an hour ago a quarter of an hour. Older nodes are dropped.
Cost: about 100 numpy calls a hop, 0.3 ms with the extension.

Sources: Welch, IEEE Trans. Audio Electroacoust. 15 (1967), for the segments; Bar-Shalom, Li &
Kirubarajan, Estimation with Applications (2001), for the gate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from operators.align.lag_trend import Motions, Trend, fitted, motions
from operators.align.spectral_weights import Complex, Nodes, Weights, turns, weighted, weights
from operators.numeric.correlation import APART_S, SEGMENT, Lag, SampledSeries
from operators.types import F64, State

STEP = SEGMENT // 2
WINDOW = np.sin(np.pi * (np.arange(SEGMENT) + 0.5) / SEGMENT)
OMEGA = 2 * np.pi * np.arange(1, STEP) / SEGMENT
LINES = len(OMEGA)
"""The angular frequencies of a segment (rad a sample), without the two that have no phase."""
TRANSFORM = WINDOW[:, None] * np.exp(-1j * np.outer(np.arange(SEGMENT), OMEGA))
PARTS = TRANSFORM.view(float)
"""Columns 2 l and 2 l + 1: real and imaginary part of line l."""
TOP = 2 * np.pi * 0.445
"""Highest frequency used. Above it the kernel of operators/align/coarse_grid.py lets aliases pass:
0.2 % of a line's power here, a tenth two lines higher, with the phase of the wrong frequency."""
MIN_SEGMENTS = 2
INDEPENDENT = 0.83
"""Independent segments per half-overlapped sine window: 1 / (1 + 2 / pi^2) (Welch 1967)."""
WEIGHT_OPTIMISM = 1.0
GATE = 4.0
REJECTS = 3
REACH, BETA = 48, 3.0
"""Half-width (samples) and Kaiser shape of the interpolation kernel."""
TAPS, WINDOW_TERMS, MIN_REST = np.arange(REACH, -REACH - 1, -1.0), 6, 1e-12
POWERS = np.arange(WINDOW_TERMS)
"""Distances of its taps, terms of its polynomials, and the least part of a sample that counts."""
NEWTON_STEPS, MAX_LAST_STEP = 4, 5e-3
"""Newton steps, and the size of the last (samples): the rest is less than 1 us at 5 Hz."""
NODES, FRESH, NODE_S, MEMORY_S = 24, 6, 8.0, 3600.0
"""Number of nodes, the newest that are never joined, longest node and longest memory (s)."""
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
    """Segments in groups (g,) of at most NODE_S: numbers, and mean times in the reference (s).

    Mean cross-spectra (g, 31), turned back to no shift, and powers (g, 2, 31). Segments from tick
    `seen` of the reference on are new.
    """

    number: F64
    at: F64
    cross: Complex
    power: F64
    seen: int

    @property
    def segments(self) -> float:
        """Number of segments in all groups."""
        return float(self.number.sum())


def _empty() -> dict[str, Any]:
    return {
        "at": np.zeros(NODES),
        "count": np.zeros(NODES),
        "path": np.zeros(NODES),
        "cross": np.zeros((NODES, LINES), complex),
        "power": np.zeros((NODES, 2, LINES)),
    }


def _weightless() -> Weights:
    return Weights(np.zeros(LINES), np.zeros((2, LINES)), np.zeros(2))


@dataclass
class LagFilter:
    """The lag of one pair.

    `nodes`: their times `at` (s), numbers of segments `count`, lags `path` (s), spectra `cross` and
    `power`, the first `size` of each in use; `begun`: begin of the newest node (s); `trend`: that
    of the last hop that changed it; `weights` of the lines; `doubt`: variance to add (s^2);
    `seen`: tick of the reference from which segments are new; `since`: end of the first segments
    of the current series of rejections (tick).
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
        """Number of segments in the nodes."""
        return float(self.nodes["count"][: self.size].sum())

    def update(
        self,
        pair: SeriesPair,
        found: Lag,
        when: float,
        kinds: Motions | None = None,
        r: float | None = None,
    ) -> None:
        """Update with the segments of a hop.

        Parameters
        ----------
        pair : SeriesPair
            The last window.
        found : Lag
            The peak of its correlation.
        when : float
            Time of the requested lag, no earlier than the window's end (s).
        kinds : Motions, optional
            Motions of the lag; by default a nearly constant one.
        r : float, optional
            Variance of one segment's reading (s^2), in place of that from the spectrum.
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
        # A walk that has just started is not in the trend yet.
        spread += kinds.room * max(due.at - float(self.nodes["at"][self.size - 1]), 0.0)
        if elsewhere or float(off[0]) ** 2 > GATE**2 * spread:
            # The first rejected segments may lie across the step.
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
        """Start or restart, if there are enough segments and they agree with the peak."""
        new = _segments(pair, found.lag_s, self.since)
        if new.segments < MIN_SEGMENTS:
            return
        fresh = LagFilter(seen=new.seen, since=new.seen)
        fresh._add(new, np.full(len(new.number), found.lag_s), pair.hz)
        if fresh._solve(pair.hz, when, kinds, r) and abs(fresh.trend.lag - found.lag_s) <= APART_S:
            self.__dict__.update(fresh.__dict__)

    def _add(self, new: _Spectra, lags: F64, hz: float) -> None:
        """Add new segments with their expected lags to the nodes."""
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
        """Make room for a node at a time (s) and for its successor."""
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
        """Join node `k` and the next, both turned to their mean lag.

        G = sum_j share_j G_j exp(i omega (lag_j - lag)).
        """
        x, both = self.nodes, slice(k, k + 2)
        share = x["count"][both] / x["count"][both].sum()
        lag = float(share @ x["path"][both])
        turn = turns((x["path"][both] - lag) * (hz * OMEGA[0]), LINES)
        cross, power = share @ (x["cross"][both] * turn), weighted(share, x["power"][both])
        x["at"][k], x["path"][k] = share @ x["at"][both], lag
        x["count"][k] += x["count"][k + 1]
        x["cross"][k], x["power"][k] = cross, power
        for column in x.values():
            column[k + 1 : self.size - 1] = column[k + 2 : self.size]
            column[self.size - 1] = 0
        self.size -= 1

    def _independent(self) -> float:
        """Return the number of independent segments in the nodes."""
        return INDEPENDENT * self.segments

    def _optimism(self) -> float:
        """Return the factor of the variances for estimated weights, 1 + 1 / L."""
        return 1 + WEIGHT_OPTIMISM / self._independent()

    def _solve(self, hz: float, when: float, kinds: Motions, r: float | None) -> bool:
        """Estimate the weights and fit the trend; return whether any line has a weight."""
        names = ("at", "count", "path", "cross", "power")
        at, count, path, cross, power = (self.nodes[n][: self.size] for n in names)
        nodes, omega = Nodes(count, cross, power), OMEGA * hz
        turned = nodes.turned(path, omega)
        found = weights(turned, omega, self._independent(), TOP * hz)
        if found is None:
            return False
        each = self._optimism()
        for _ in range(NEWTON_STEPS):
            off, var = found.reading(turned, omega)
            if r is not None:
                # Scaled so that the mean variance of a segment is r.
                var *= r * float((1 / var).sum()) / count.sum()
            trend, lags = fitted(at, path - off, each * var, when, kinds)
            far = float(np.abs(lags - path).max())
            path = lags
            if far * hz < MAX_LAST_STEP:
                break
            turned = nodes.turned(path, omega)
        self.nodes["path"][: self.size] = path
        self.trend, self.weights = trend, found
        return True


def _window() -> F64:
    """Return the polynomials (97, 6) in `rest` that are the window of `_between` to rounding.

    Every second tap has the opposite sign. They go through the window at the Chebyshev nodes.
    """
    nodes = np.cos(np.pi * (np.arange(WINDOW_TERMS) + 0.5) / WINDOW_TERMS) / 2
    u = (TAPS[:, None] - nodes) / (REACH + 1)
    signed = np.i0(BETA * np.sqrt(1 - u * u)) * np.cos(np.pi * TAPS)[:, None]
    return np.array(
        np.linalg.solve(np.vander(nodes, increasing=True), signed.T).T, float, order="C"
    )


_WINDOW = _window()


def _between(rest: float) -> F64:
    """Return the filter (97,) that delays the reading of a series by a part of a sample.

    sinc(u) I0(beta sqrt(1 - (u / 49)^2)) at u = 48 - rest, 47 - rest, ..., of sum 1. The sine of
    all taps is the same but for its sign, so it cancels out.
    """
    if abs(rest) < MIN_REST:
        return np.asarray(TAPS == 0, float)
    taps = (_WINDOW @ rest**POWERS) / (TAPS - rest)
    return np.asarray(taps / taps.sum())


def _segments(pair: SeriesPair, lag: float, since: int) -> _Spectra:
    """Return the spectra of the segments from tick `since` on, b read a lag later.

    A shift by whole samples alone leaves the rest to the phase of each line. A line also has the
    energy of its neighbourhood, so 2 % of the rest would be missed: b is interpolated.
    """
    a, b = pair.a, pair.b
    k = round(lag * pair.hz)
    rest = lag * pair.hz - k
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
    # Only the samples that the segments reach are interpolated.
    begin = max(int(index[0, 0]) + j - REACH, 0)
    late = np.convolve(b.steps[begin:], _between(rest))[REACH:]
    parts = np.empty((2, len(index), SEGMENT))
    a.steps.take(index + i, out=parts[0], mode="clip")
    late.take(index + (j - begin), out=parts[1], mode="clip")
    # For so few segments and lines a matrix product is faster than a fast transform.
    spectra = (parts.reshape(-1, SEGMENT) @ PARTS).view(complex).reshape(2, -1, LINES)
    first = index[:, 0].tolist()
    length = max(int(NODE_S * pair.hz), STEP)
    group = [(x - first[0]) // length for x in first]
    edge = [n for n, x in enumerate(group) if n == 0 or x != group[n - 1]]
    ends = [*edge[1:], len(first)]
    count = np.array([float(stop - n) for n, stop in zip(edge, ends, strict=True)])
    middle = [sum(first[n:stop]) / (stop - n) for n, stop in zip(edge, ends, strict=True)]
    at = (pair.first + i + np.array(middle) + STEP) / pair.hz
    cross = np.add.reduceat(spectra[0].conj() * spectra[1], edge, axis=0)
    power = np.add.reduceat(spectra.real**2 + spectra.imag**2, edge, axis=1).transpose(1, 0, 2)
    turn: Complex = np.exp((-1j * (k + rest)) * OMEGA)
    cross, power = cross * turn / count[:, None], power / count[:, None, None]
    return _Spectra(count, at, cross, power, seen)
