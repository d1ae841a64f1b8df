"""quality: five indicators of the agreement of a signal's members, over a sliding window.

The series are the aligned members at 5 Hz (or at the grid, if slower). Hann segments of 12.8 s
overlap by half, as nearly as whole hops allow. With x the reference, y another member, G cross- and
P auto-spectra and sums over the band:

- phase_diff = |arg sum G_xy| / 2 pi, in cycles
- coherence = sum |G| C / sum |G|, C = (|G|^2 / (P_x P_y) - 1/L) / (1 - 1/L)
- sync_quality = |mean exp(j (phi_y - phi_x))|, phases of the analytic signal in the band, over
  the segments' middle
- harmony = (lambda_max - 1) / (K - 1) of the K x K matrix of sqrt(C) e^(j arg G), weighted by
  power
- entropy_ratio = H_norm(P_r) sum P_r / sum (P_x + P_y), r = y - x, H_norm(p) = -sum p ln p / ln N

Each present member is compared with the reference, or with the heaviest present member by prior if
the reference is absent. The mean over the comparisons is weighted by cross-power. It is NaN with
fewer than two present members or less than a quarter of the window.

A movement up to F sampled at rate f, as by scraping, has aliases of all above f / 2 on f - F and
above. F is the frequency below which all but `MAX_ALIASED` of the power of the fastest present
member lies. The band of a comparison ends below f / 2 and f - F (less the lobe of a window) of
every member in it. A member that would leave fewer than `MIN_COUNT` frequencies is sparse, and
left out.

State: one window of the series and of the power beyond it. In memory also the products of its
segments (operators/quality/pair_spectra.py), four numbers a bin and pair. Cost: about 200 us a
packet and 3 us a hop and pair. Losses: none.

Sources: Carter, Knapp & Nuttall 1973 (bias of C); Lachaux et al., Hum. Brain Mapp. 8 (1999);
Cimenser et al., PNAS 108 (2011); Inouye et al., EEG Clin. Neurophysiol. 79 (1991); Welch 1967.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from msgspec.structs import replace

from operators.numeric.correlation import SEGMENT
from operators.numeric.sinc import CUTOFF
from operators.presence import LIVE
from operators.quality.pair_spectra import BAND_HZ, QUALITY_HZ, PairSpectra
from operators.quality.series import bridged, lowpass_taps, windows
from operators.records import Grid, Indicators, Packet, Sparse
from operators.settings.config_part import ConfigPart, Hop, Number, Span
from operators.settings.plan import Plan, Signal
from operators.types import F64, Bool, State

MAX_ALIASED = 0.05
"""Aliased part of the power: it reduces the coherence by as much, half of its error budget."""
MIN_COUNT = 2
"""Frequencies of a comparison."""
LOBE = 2
"""Half of the main lobe of the Hann window, in frequencies: the leakage of aliases."""
MAX_AT_ONCE = 256
"""Samples of the series processed together: a long silence must not need long arrays."""
HOLE_PARTS = 4
"""Gaps in a finer grid are bridged up to 1 / HOLE_PARTS of the series' step."""


class QualityConfig(ConfigPart, frozen=True, kw_only=True):
    """Signal of the indicators (default: the first), window, hop and band."""

    signal: Annotated[
        str | None,
        Meta(
            description="Signal whose members the indicators compare; the first by default.",
            examples=["pulse"],
        ),
    ] = None
    window_s: Annotated[
        Span,
        Meta(
            description="Window of the indicators; at least 25.6 s.",
            examples=[40.0],
        ),
    ] = 120.0
    hop_s: Annotated[
        Hop,
        Meta(
            description="Time from one result to the next; at most half of `window_s`.",
            examples=[0.5],
        ),
    ] = 1.0
    band_hz: Annotated[
        Literal["auto"] | tuple[Number, Number],
        Meta(
            description="Band of frequencies that is compared, low and high.",
            examples=[[0.1, 2.0]],
        ),
    ] = "auto"


class Quality:
    """The station. Shapes: h hops, c members, p pairs, f frequencies in the band."""

    def __init__(self, plan: Plan, config: QualityConfig) -> None:
        name = config.signal or plan.signals[0].name
        signal = next(s for s in plan.signals if s.name == name)
        at, c = [m.signal for m in plan.lanes].index(name), len(signal.members)
        self._columns = slice(at, at + c)
        self._prior = _prior(plan, signal)
        self._step = max(1, round(plan.tick_hz / QUALITY_HZ))
        self.hz = plan.tick_hz / self._step
        self._length = max(SEGMENT, round(config.window_s * self.hz))
        self._hop = max(1, round(config.hop_s * self.hz))
        apart = max(1, round(SEGMENT / 2 / self._hop))
        low, high = BAND_HZ if config.band_hz == "auto" else config.band_hz
        self._spectra = PairSpectra(
            c,
            self.hz,
            (max(low, 1e-9), min(high, CUTOFF * self.hz)),
            segments=(self._length - SEGMENT) // (apart * self._hop) + 1,
            apart=apart,
            hop=self._hop,
        )
        self._taps = lowpass_taps(self._step, self.hz)
        self._hole = self._step // HOLE_PARTS
        self._next: int | None = None
        self._fine: F64 = np.empty((c, 0))
        self._series: F64 = np.full((c, self._length), np.nan)
        self._rest: F64 = np.zeros((c, self._length))
        self._none = (False,) * len(plan.members)
        self._sparse = self._none
        self._changes: list[Sparse] = []
        self._names, self._tick_hz = [m.channel for m in signal.members], plan.tick_hz
        self._noted: list[str] = []
        self._notes: list[tuple[str, float, str]] = []
        self._bins = np.full(self._spectra.past, len(self._spectra.frequency))
        self._multiply_past()

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan, config: QualityConfig) -> Quality:
        """Return the station of a snapshot."""
        station = cls(plan, config)
        station._next, station._fine = state["next"], state["fine"]
        station._series, station._rest = state["series"], state["rest"]
        station._sparse, station._noted = tuple(state["sparse"]), list(state["noted"])
        station._bins = state["bins"]
        station._multiply_past()
        return station

    def _multiply_past(self) -> None:
        """Compute the products of the segments that a later window may hold.

        The series still holds all of them.
        """
        past = len(self._bins)
        wait = -(self._next or 0) % self._hop
        first = self._length + wait - past * self._hop
        products, x = self._spectra.multiply(*self._segments_ending(first, past))
        self._spectra.lock(products, x, self._bins)
        self._spectra.start(products)

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "next": self._next,
            "fine": self._fine,
            "series": self._series,
            "rest": self._rest,
            "bins": self._bins,
            "sparse": list(self._sparse),
            "noted": list(self._noted),
        }

    def update(self, packet: Packet) -> Packet:
        """Add the indicators of the hops that this packet completes."""
        grid = packet.grid
        if grid is None:
            return packet
        step, hole, reach = self._step, self._hole, len(self._taps) // 2 + self._hole
        columns = self._columns
        value = np.where(grid.state[:, columns] == LIVE, grid.value[:, columns], np.nan).T
        if self._next is None:
            # The series begins at the first tick; samples before it are unknown.
            self._next = -(-grid.first // step)
            self._fine = np.full((len(value), grid.first - self._next * step + reach), np.nan)
        raw = np.concatenate((self._fine, value), axis=1)
        if raw.shape[1] <= 2 * reach:
            # No sample of the series is due.
            self._fine = raw
            return packet
        fine, start = bridged(raw, hole) if hole else raw, 0
        found: list[Indicators] = []
        while (n := min((raw.shape[1] - start - 2 * reach - 1) // step + 1, MAX_AT_ONCE)) > 0:
            around = windows(fine, len(self._taps), start + hole, step, n)
            new = around @ self._taps
            rest = (around[..., len(self._taps) // 2] - new) ** 2
            self._series = np.concatenate((self._series, new.T), axis=1)
            self._rest = np.concatenate((self._rest, rest.T), axis=1)
            wait = -self._next % self._hop
            if wait < n:
                found += self._measure(wait, -(-(n - wait) // self._hop), grid)
            self._series, self._rest = self._series[:, n:].copy(), self._rest[:, n:].copy()
            self._next += n
            start += n * step
        self._fine = raw[:, start:].copy()
        changes, self._changes = tuple(self._changes), []
        notes, self._notes = (*packet.notes, *self._notes), []
        return replace(packet, indicators=tuple(found), sparse=changes, notes=notes)

    def _segments_ending(self, first: int, count: int) -> tuple[F64, F64]:
        """Return segments (count, c, SEGMENT) of the series and of its `rest`.

        They end a hop apart, the first one at sample `first`.
        """
        begin = first - SEGMENT + 1
        return (
            windows(self._series, SEGMENT, begin, self._hop, count),
            windows(self._rest, SEGMENT, begin, self._hop, count),
        )

    def _measure(self, wait: int, h: int, grid: Grid) -> list[Indicators]:
        """Return the indicators of h hops, the first one `wait` samples after the known series."""
        first, step = self._length + wait, self._hop * self._step
        tick = ((self._next or 0) + wait) * self._step + len(self._taps) // 2 + self._hole
        rows = slice(tick - grid.first, tick - grid.first + (h - 1) * step + 1, step)
        live = grid.state[rows, self._columns] == LIVE
        known = np.isfinite(self._series)
        if np.count_nonzero(known) < known.size:
            seen = windows(known, self._length, wait + 1, self._hop, h)
            live = live & (np.add.reduce(seen, 2, dtype=int) >= self._length / 4)
        ticks = range(tick, tick + h * step, step)
        spectra = self._spectra
        left, right = spectra.left, spectra.right
        if not len(left):  # a single member has no comparison
            return [Indicators(t, *[np.nan] * 5) for t in ticks]
        new, x = spectra.multiply(*self._segments_ending(first, h))
        spectra.append(new)
        sums = spectra.sums(h, slice(None))
        rate = np.where(live, grid.rate_hz[rows, self._columns], np.nan)
        edge, sparse = self._edges(sums, rate)
        high = np.fmin.reduce(np.where(sparse, np.nan, edge), 1, initial=np.inf) + 1e-9
        bins = np.searchsorted(spectra.frequency, high)
        spectra.lock(spectra.newest(h), x, bins)
        sums[..., -1:] = spectra.sums(h, slice(-1, None))
        self._bins = np.concatenate((self._bins, bins))[h:]
        live &= ~sparse
        reference = np.where(live, self._prior, -1.0).argmax(axis=1)[:, None]
        both = live[:, left] & live[:, right]
        with_reference = both & ((left == reference) | (right == reference))
        share, harmony, table = spectra.indicators(sums, both, bins)
        share[~with_reference] = 0.0
        # Mean over the comparisons, weighted by cross-power; harmony / (K - 1).
        total = np.add.reduce(share, 1)
        share /= np.where(total > 0, total, np.nan)[:, None]
        phase, coherence, locking, entropy = np.add.reduce(share * table, 2)
        harmony /= np.where(total > 0, np.add.reduce(live, 1, dtype=float) - 1, np.nan)
        columns = (x.tolist() for x in (phase, coherence, harmony, locking, entropy))
        for t, mine, per_s in zip(ticks, sparse.tolist(), rate.tolist(), strict=True):
            self._note_sparse(t, mine, per_s)
        return list(map(Indicators._make, zip(ticks, *columns, strict=True)))

    def _note_sparse(self, tick: int, mine: list[bool], rate: list[float]) -> None:
        """Record the members left out from a tick on, and a note for each of them once."""
        before, after = self._none[: self._columns.start], self._none[self._columns.stop :]
        members = (*before, *mine, *after)
        if members == self._sparse:
            return
        self._sparse = members
        self._changes.append(Sparse(tick, members))
        for i, (name, per_s) in enumerate(zip(self._names, rate, strict=True)):
            if mine[i] and name not in self._noted:
                self._noted.append(name)
                text = f"a sample each {1 / per_s:.3g} s is too seldom for this movement"
                note = f"{text}: the indicators leave it out"
                self._notes.append((name, tick / self._tick_hz, note))

    def _edges(self, sums: F64, rate: F64) -> tuple[F64, Bool]:
        """Return the end of each member's band (h, c; Hz, NaN of unknown rate), and sparse members.

        Parameters
        ----------
        sums : float64 (h, 4, p, f + 2)
        rate : float64 (h, c)
            Of samples, NaN for absent members and unknown rates.
        """
        left, right, frequency = self._spectra.left, self._spectra.right, self._spectra.frequency
        edge = rate / 2
        slow = rate < self.hz
        if not np.count_nonzero(slow):
            return edge, slow
        fastest = np.where(np.isnan(rate), -1.0, rate).argmax(axis=1)
        top = np.full(len(rate), self.hz)
        for member in np.unique(fastest).tolist():
            mine = np.flatnonzero((left == member) | (right == member))
            side = np.where(left[mine] == member, 2, 3)
            of = np.flatnonzero(fastest == member)
            best = sums[of][:, 0, mine, -1].argmax(axis=1)
            power = sums[of, side[best], mine[best]]
            reached = np.cumsum(power[:, :-2], axis=1) >= (1 - MAX_ALIASED) * power[:, -2:-1]
            some = reached.any(axis=1)
            top[of[some]] = frequency[reached[some].argmax(axis=1)]
        # F is at most the Nyquist frequency of the fastest member.
        top = np.fmin(top, np.fmax.reduce(rate, 1, initial=0.0) / 2)[:, None]
        clean = rate - top - LOBE * self.hz / SEGMENT
        edge = np.where(slow & (top > edge), np.fmin(edge, clean), edge)
        few = np.searchsorted(frequency, edge + 1e-9) < MIN_COUNT
        return edge, slow & few


def _prior(plan: Plan, signal: Signal) -> F64:
    """Return the prior weight of each member, inf for the reference."""
    prior = {"ure": plan.weights.ure, "sensors": plan.weights.sensors}
    groups = [m.group for m in signal.members]
    names = [m.channel for m in signal.members]
    return np.array(
        [
            np.inf if name == signal.reference else prior[group] / groups.count(group)
            for name, group in zip(names, groups, strict=True)
        ]
    )
