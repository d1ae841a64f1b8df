"""One source's clock over a whole recording: nodes, and host time for each stamp of a second pass.

A path is a sequence of parts, one between two clock resets. The nodes of a part hold the smoothed
offset and slope with their covariance (from operators/drift/smoother.py). Between two nodes the
offset is the cubic through values and slopes, beyond them a line. The part of a stamp follows
from its number among the distinct stamps of its source, in the order of arrival. A second pass
over the same recording counts them again.

Cost: 0.2 us a stamp. State of a second pass: four numbers. Losses: none; stamps too far from the
path are marked wild, by the rule of `Clock`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from operators.drift.clock import ClockLine, StampVerdicts
from operators.records import ClockReport
from operators.types import F64, I64, Bool, State


@dataclass(frozen=True, slots=True)
class ClockPath:
    """host = source + offset(source), part by part.

    Attributes
    ----------
    at : float64 (m,)
        Source time (s) of the nodes, rising in each part.
    line : float64 (2, m)
        Offset (s) and slope (s/s) there.
    covariance : float64 (3, m)
        Variance of the offset (s^2), of both together, of the slope.
    gate : float64 (m,)
        Largest distance of a stamp's delay below the offset (s); further below it is wild.
    jitter_p95 : float64 (m,)
        95th percentile of the delay above its least (s), NaN where unknown.
    node_edges, stamp_edges : int64 (p + 1,)
        First node and first distinct stamp of each part, and the numbers of all.
    odd, odd_part : int64 (k,)
        Numbers of the stamps that were overtaken across a reset, and the part of each.
    reset_at : float64 (p,)
        Host time (s) of the first stamp of each part, NaN for the first part.
    max_delay_s : float
        A stamp that lies further above the path is wild.
    """

    at: F64
    line: F64
    covariance: F64
    gate: F64
    jitter_p95: F64
    node_edges: I64
    stamp_edges: I64
    odd: I64
    odd_part: I64
    reset_at: F64
    max_delay_s: float

    def snapshot(self) -> State:
        """Return the path as plain values and arrays."""
        return asdict(self)

    @classmethod
    def from_snapshot(cls, state: State) -> ClockPath:
        """Return the path of a snapshot."""
        return cls(**state)

    def parts(self, first: int, count: int) -> I64:
        """Return the part of each of `count` stamps, the first being number `first`."""
        number = first + np.arange(count)
        part = np.searchsorted(self.stamp_edges[1:-1], number, "right")
        lo, hi = np.searchsorted(self.odd, (first, first + count))
        part[self.odd[lo:hi] - first] = self.odd_part[lo:hi]
        return part

    def nodes(self, part: I64, source: F64) -> I64:
        """Return the last node at or before each source time, within its part."""
        node = np.empty(len(source), np.int64)
        for p in np.unique(part).tolist():
            a, b = self.node_edges[p : p + 2].tolist()
            mine = part == p
            node[mine] = a + np.maximum(np.searchsorted(self.at[a:b], source[mine], "right") - 1, 0)
        return node

    def offset(self, part: I64, source: F64, node: I64 | None = None) -> F64:
        """Return host - source (s) at source times of given parts.

        With x = (t - t_j) / w from node j to the next, w apart, and a, b the slopes times w:
        offset = y_j + x (a + x ((3 rise - 2 a - b) + x (a + b - 2 rise))).
        """
        i = self.nodes(part, source) if node is None else node
        offset, slope = self.line
        dt = source - self.at[i]
        out = offset[i] + slope[i] * dt
        inner = (dt > 0) & (i + 1 < self.node_edges[part + 1])
        j = i[inner]
        width = self.at[j + 1] - self.at[j]
        x = dt[inner] / width
        rise = offset[j + 1] - offset[j]
        a, b = slope[j] * width, slope[j + 1] * width
        out[inner] = offset[j] + x * (a + x * ((3 * rise - 2 * a - b) + x * (a + b - 2 * rise)))
        return np.asarray(out)

    def variance(self, part: I64, source: F64) -> F64:
        """Return the variance of the offset (s^2), between two nodes the mean of theirs."""
        i = self.nodes(part, source)
        j = np.minimum(i + 1, self.node_edges[part + 1] - 1)
        width = self.at[j] - self.at[i]
        dt = source - self.at[i]
        share = np.clip(dt / np.where(width > 0, width, 1.0), 0.0, 1.0) * (width > 0)
        offset, both, slope = self.covariance
        # Beyond the nodes of its part the variance of the slope adds to that of the line.
        beyond = np.where(share >= 1, source - self.at[j], np.where((dt < 0) | (width == 0), dt, 0))
        k = np.where(share >= 1, j, i)
        inside = (1 - share) * offset[i] + share * offset[j]
        return np.asarray(inside + beyond * (2 * both[k] + beyond * slope[k]))

    def node(self, i: int, stepped: bool = False) -> ClockLine:
        """Return a node as the line in force there."""
        part = int(np.searchsorted(self.node_edges[1:-1], i, "right"))
        (offset, slope), (v00, v01, v11) = self.line[:, i].tolist(), self.covariance[:, i].tolist()
        return ClockLine(
            at=float(self.at[i]),
            offset=offset,
            slope=slope,
            offset_var=v00,
            cross_var=v01,
            slope_var=v11,
            jitter_p95=float(self.jitter_p95[i]),
            resets=part,
            reset_at=float(self.reset_at[part]),
            stepped=stepped,
        )

    def reports(self, source: str) -> list[ClockReport]:
        """Return a report per node: the first dated -inf, each other at its own host time."""
        out = []
        heads = set(self.node_edges[1:-1].tolist())
        for i in range(len(self.at)):
            line = self.node(i, i in heads)
            host = line.at + line.offset
            known = host if i else -math.inf
            out.append(report(source, known, known, line))
        return out


def report(source: str, watermark: float, known: float, line: ClockLine) -> ClockReport:
    """Return a line in source time as a report in host time."""
    return ClockReport(
        source=source,
        watermark=watermark,
        known=known,
        at=line.at + line.offset,
        offset_s=line.offset,
        slope=line.slope / (1 + line.slope),
        offset_var=line.offset_var,
        cross_var=line.cross_var,
        slope_var=line.slope_var,
        jitter_p95_s=line.jitter_p95,
        resets=line.resets,
        reset_at=line.reset_at,
        stepped=line.stepped,
    )


class Smoothed:
    """The clock of a second pass: the methods of `Clock`, computed from the path.

    Each stamp is decided when it is fed. Each node is a turn of the line, dated at the first
    stamp at or past it; the first node is dated -inf, so that it holds for every tick.
    """

    def __init__(self, path: ClockPath) -> None:
        self.path = path
        self.count, self.last, self.passed = 0, (math.nan, math.nan), -1

    @classmethod
    def from_snapshot(cls, state: State, path: ClockPath) -> Smoothed:
        """Return the clock of a snapshot, on its path."""
        clock = cls(path)
        clock.count, clock.passed = state["count"], state["passed"]
        clock.last = (state["last"][0], state["last"][1])
        return clock

    def snapshot(self) -> State:
        """Return the state as plain values, without the path."""
        return {"count": self.count, "last": list(self.last), "passed": self.passed}

    def feed(self, source: F64, arrival: F64, end: bool) -> StampVerdicts:
        """Map the next distinct stamps, in order of arrival; as `Clock.feed`."""
        n = len(source)
        if not n or not len(self.path.at):
            return StampVerdicts(
                arrival.copy(), np.ones(n, bool), np.arange(n), n, [], [], np.zeros(n)
            )
        fresh = distinct(source, arrival, self.last)
        first = self.count - (not fresh[0])
        number = np.cumsum(fresh) - fresh[0]
        part = self.path.parts(first, int(number[-1]) + 1)[number]
        self.count = first + int(number[-1]) + 1
        self.last = (float(source[-1]), float(arrival[-1]))
        node = self.path.nodes(part, source)
        offset = self.path.offset(part, source, node)
        above = arrival - source - offset
        ok = (above >= -self.path.gate[node]) & (above <= self.path.max_delay_s)
        host = source + offset
        return StampVerdicts(
            host, ok, np.arange(n), n, self._turns(node, host, ok), [], np.zeros(n)
        )

    def finish(self) -> ClockLine | None:
        """Return the line at the end of the data, None if a stamp has passed it already."""
        last = len(self.path.at) - 1
        if self.passed >= last:
            return None
        stepped, self.passed = bool((self.path.node_edges[1:-1] > self.passed).any()), last
        return self.path.node(last, stepped)

    def _turns(self, node: I64, host: F64, ok: Bool) -> list[tuple[int, float, ClockLine]]:
        """Return the nodes that these stamps have passed; wild stamps do not count."""
        ahead = np.maximum.accumulate(np.append(self.passed, np.where(ok, node, -1)))
        turns = []
        for k in np.flatnonzero(ahead[1:] > ahead[:-1]).tolist():
            old, new = int(ahead[k]), int(ahead[k + 1])
            heads = self.path.node_edges[1:-1]
            stepped = bool(((heads > old) & (heads <= new)).any()) and old >= 0
            known = -math.inf if old < 0 else float(host[k])
            turns.append((k, known, self.path.node(new, stepped)))
        self.passed = int(ahead[-1])
        return turns


def distinct(source: F64, arrival: F64, last: tuple[float, float]) -> Bool:
    """Return which stamps differ from their predecessor, which for the first is `last`."""
    s, a = np.append(last[0], source), np.append(last[1], arrival)
    return np.asarray((s[1:] != s[:-1]) | (a[1:] != a[:-1]), bool)
