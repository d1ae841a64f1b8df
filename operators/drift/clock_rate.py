"""The rate of a source's clock against arrival: sources with an impossible rate are held back.

A window holds up to 64 stamps, evenly spread over arrival, of at least 20 packets and 10 s; each
further window is twice as long, up to 80 s. Its rate is the median of (s_j - s_i) / (a_j - a_i)
over stamps a quarter of the window apart. The rate is wrong where

    |rate - 1| > 0.01 + 6 (jitter + quantisation) / span,

with the spread of the pairs about their median as jitter, and the pairs' own span, so that the
limit is wide rather than narrow. The same must hold for the sum of all steps from stamp to stamp
without the outliers: clock resets are no rate. The source's stamps are then held back until a
window is right. In the first window a source is held back sooner, if its stamps run further ahead
of arrival than the largest accepted delay.

Cost: 64 stamps a window are processed. State: those stamps. Losses: the held stamps.

Source: Theil-Sen slope, P. K. Sen, J. Am. Stat. Assoc. 63 (1968).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from operators.limits import MAX_FEW
from operators.numeric.medians import median
from operators.records import Block
from operators.types import F64, State

MIN_POINTS, POINTS = 20, 64
SPAN_S, MAX_S = 10.0, 80.0
MAX_OFF, JITTERS = 0.01, 6.0
MIN_COUNT, SOON_S = 8, 0.01
"""Stamps of a first window before it can be wrong early, and their distance (s)."""
STEP_S, STEPS = 0.02, 18.0
"""A step from stamp to stamp is an outlier beyond this (s) plus this many median deviations."""
GRIDS = (1.0, 0.1, 0.01, 0.001)
_NAMES = {1e3: ("milliseconds", "ms"), 1e6: ("microseconds", "us"), 1e9: ("nanoseconds", "ns")}
_NEAR = 0.05


@dataclass
class Rate:
    """The rate of one source.

    Attributes
    ----------
    wrong : float or None
        The rate for which the source is held back; None where it is not.
    judged, right : int
        Numbers of judged windows and of right ones.
    """

    max_delay_s: float
    wrong: float | None = None
    judged: int = 0
    right: int = 0
    span: float = SPAN_S
    begin: float = float("nan")
    newest: float = float("-inf")
    due: float = float("nan")
    """Arrival from which the next stamp is sampled (s)."""
    source: list[float] = field(default_factory=list)
    arrival: list[float] = field(default_factory=list)

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return asdict(self)

    @classmethod
    def from_snapshot(cls, state: State) -> Rate:
        """Return the rate of a snapshot."""
        return cls(**state)

    def feed(self, source: F64, arrival: F64) -> F64:
        """Process stamps in order of arrival.

        Parameters
        ----------
        source, arrival : float64 (n,)
            Source time and arrival (s).

        Returns
        -------
        float64 (n,)
            The rate for which each stamp is held back, NaN where it is not.
        """
        n, lo = len(source), 0
        out = np.empty(n)
        run = np.maximum.accumulate(np.append(self.newest, arrival))[1:]
        while lo < n:
            if np.isnan(self.begin):
                self.begin = self.due = float(run[lo])
            at = lo + int(np.searchsorted(run[lo:], self.due))
            out[lo:at] = self._held()
            if at < n:
                self._add(float(source[at]), float(run[at]))
                out[at] = self._held()
            lo = at + 1
        self.newest = float(run[-1]) if n else self.newest
        return out

    def held(self, source: float, arrival: float) -> float | None:
        """Process the next stamp; return the rate for which it is held back, None if it is not."""
        self.newest = newest = max(self.newest, arrival)
        if math.isnan(self.begin):
            self.begin = self.due = newest
        if newest >= self.due:
            self._add(source, newest)
        return self.wrong

    def passes(self, block: Block) -> bool:
        """Process few rows if none is sampled or held back; return False otherwise.

        Only the newest arrival counts then: the rows may be processed again with later ones.
        """
        if self.wrong is not None or not all(block.stamped.tolist()):
            return False
        newest = max(block.arrival.tolist())
        if not newest < self.due:
            return False
        self.newest = max(self.newest, newest)
        return True

    def _held(self) -> float:
        return np.nan if self.wrong is None else self.wrong

    def _add(self, source: float, arrival: float) -> None:
        """Add a stamp to the window; judge the window if that closes it."""
        first = not self.judged
        early = first and len(self.source) < MIN_COUNT
        self.due = arrival + (SOON_S if early else self.span / POINTS)
        if self.source and source == self.source[-1]:
            return
        self.source.append(source)
        self.arrival.append(arrival)
        if arrival - self.begin >= self.span and len(self.source) >= MIN_POINTS:
            self._judge()
        elif first and self.wrong is None and len(self.source) >= MIN_COUNT:
            ahead = self.source[-1] - self.source[0] - (arrival - self.arrival[0])
            rate = self._rate() if ahead > self.max_delay_s else None
            if rate is not None and rate > 2:
                self.wrong = rate

    def _judge(self) -> None:
        """Judge the window and start the next."""
        self.wrong = self._rate()
        self.judged += 1
        self.right += self.wrong is None
        self.span = min(2 * self.span, MAX_S) if self.wrong is None else SPAN_S
        self.begin = self.due = float("nan")
        self.source, self.arrival = [], []

    def _rate(self) -> float | None:
        """Return the rate of the window if it is wrong, else None."""
        s, a = np.array(self.source), np.array(self.arrival)
        apart = max(len(s) // 4, 1)
        rise, span = s[apart:] - s[:-apart], a[apart:] - a[:-apart]
        with np.errstate(over="ignore", invalid="ignore"):
            rate = median(rise / span)
            scale = max(abs(rate), 1.0)
            jitter = 1.4826 * median(np.abs(rise - rate * span)) / scale
            coarse = _grid(s) / scale + _grid(a)
            limit = MAX_OFF + JITTERS * (jitter + coarse) / median(span)
            ahead = np.diff(s) - np.diff(a)
            stray = np.abs(ahead - median(ahead))
            near = stray <= STEP_S + 2 * coarse * scale + STEPS * median(stray)
            kept = float(np.sum(ahead[near])) / float(np.sum(np.diff(a)[near]))
        return rate if abs(rate - 1) > limit and abs(kept) > limit else None


def _grid(times: F64) -> float:
    """Return the coarsest grid of `GRIDS` that all times (n,) lie on (s), 0 for none."""
    for size in GRIDS:
        count = times / size
        if (np.abs(count - np.rint(count)) < 1e-4).all():
            return size
    return 0.0


@dataclass
class Rates:
    """The rates of all sources; `known`: sources that were wrong throughout a first pass."""

    max_delay_s: float
    known: Mapping[str, float] = field(default_factory=dict)
    rates: dict[str, Rate] = field(default_factory=dict)

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {source: rate.snapshot() for source, rate in self.rates.items()}

    @classmethod
    def from_snapshot(cls, state: State, max_delay_s: float) -> Rates:
        """Return the rates of a snapshot, without `known`."""
        rates = {source: Rate.from_snapshot(rate) for source, rate in state.items()}
        return cls(max_delay_s, rates=rates)

    def part(self, blocks: Iterable[Block]) -> tuple[list[Block], list[tuple[Block, F64]]]:
        """Return the accepted rows, and the held ones with their rates."""
        good: list[Block] = []
        held: list[tuple[Block, F64]] = []
        by_source: dict[str, list[Block]] = {}
        for block in blocks:
            by_source.setdefault(block.source, []).append(block)
        for source, mine in by_source.items():
            few = self._few(source, mine) if sum(map(len, mine)) <= MAX_FEW else None
            if few == {}:
                good += mine
                continue
            rates = self._rates(source, mine) if few is None else _by_row(mine, few)
            for block, rate in zip(mine, rates, strict=True):
                wrong = ~np.isnan(rate)
                if not wrong.any():
                    good.append(block)
                    continue
                held.append((block.take(wrong), rate[wrong]))
                if not wrong.all():
                    good.append(block.take(~wrong))
        return good, held

    def _few(self, source: str, blocks: list[Block]) -> dict[int, float]:
        """Process few rows of a source; return the rates of those that are held back, by `row`."""
        rate = self.rates.get(source)
        if rate and source not in self.known and all(rate.passes(b) for b in blocks):
            return {}
        columns = [
            x
            for b in blocks
            for x in zip(
                b.row.tolist(),
                b.source_time.tolist(),
                b.arrival.tolist(),
                b.stamped.tolist(),
                strict=True,
            )
        ]
        if len(blocks) > 1:
            columns.sort()
        known = self.known.get(source)
        if known is not None:
            return {row: known for row, _, _, stamped in columns if stamped}
        held = {}
        for row, stamp, arrival, stamped in columns:
            if stamped:
                wrong = self._rate(source).held(stamp, arrival)
                if wrong is not None:
                    held[row] = wrong
        return held

    def _rate(self, source: str) -> Rate:
        """Return the rate of a source."""
        rate = self.rates.get(source)
        if rate is None:
            rate = self.rates[source] = Rate(self.max_delay_s)
        return rate

    def _rates(self, source: str, blocks: list[Block]) -> list[F64]:
        """Return the rate for which each row of each block is held back, NaN where it is not."""
        stamped = np.concatenate([b.stamped for b in blocks])
        out = np.full(len(stamped), np.nan)
        cuts = np.cumsum([len(b) for b in blocks])[:-1]
        if source in self.known:
            out[stamped] = self.known[source]
        elif stamped.any():
            row = np.concatenate([b.row for b in blocks])
            order = np.argsort(row, kind="stable")
            order = order[stamped[order]]
            at = np.concatenate([b.source_time for b in blocks])[order]
            arrival = np.concatenate([b.arrival for b in blocks])[order]
            out[order] = self._rate(source).feed(at, arrival)
        return np.split(out, cuts)

    def wrong(self) -> dict[str, float]:
        """Return the sources without a right window, and their rates."""
        return {
            source: rate.wrong
            for source, rate in self.rates.items()
            if rate.judged and not rate.right and rate.wrong is not None
        }


def _by_row(blocks: list[Block], held: dict[int, float]) -> list[F64]:
    """Return the rate of each row of each block, NaN where it is not in `held`."""
    return [np.array([held.get(row, np.nan) for row in b.row.tolist()]) for b in blocks]


def cause(rate: float) -> str:
    """Return the fault of a source with this rate, and the configuration key that repairs it."""
    for factor, (name, unit) in _NAMES.items():
        if abs(rate / factor - 1) <= _NEAR:
            return f"ts runs {factor:.0f} times too fast: {name}? ts_unit: {unit}"
    if abs(rate) < 1e-6:
        return "ts stands still: no clock"
    if rate < 0:
        return "ts runs backwards: no clock"
    if rate < 1:
        return f"ts runs {1 / rate:.3g} times too slow: no clock"
    return f"ts runs {rate:.3g} times too fast: no clock"
