"""quality: five indicators of how well the members of a signal agree, over a sliding window.

On a 5 Hz series of the aligned members (or the grid, if slower) and Hann segments of 12.8 s, half
overlapped as nearly as whole hops allow, so that each is transformed once. With x the reference,
y another member, G cross- and P auto-spectra and sums over the band:

- phase_diff = |arg sum G_xy| / 2 pi, in cycles
- coherence = sum |G| C / sum |G|, C = (|G|^2 / (P_x P_y) - 1/L) / (1 - 1/L)
- sync_quality = |mean exp(j (phi_y - phi_x))|, phases of the analytic signal in the band, over
  the segments' middle
- harmony = (lambda_max - 1) / (K - 1) of the K x K matrix of sqrt(C) e^(j arg G), weighted by
  power
- entropy_ratio = H_norm(P_r) sum P_r / sum (P_x + P_y), r = y - x, H_norm(p) = -sum p ln p / ln N

Each segment is transformed once; its products are summed over the windows that it is in. Each
present member stands against the reference (the heaviest present member by prior where it is
gone); the mean over them is weighted by cross-power. NaN with fewer than two present members or
less than a quarter of the window.

Samples at rate f of a movement up to F, as scraping takes them, fold all above f / 2 onto f - F and
above. F is where all but `ALIASED` of the power lies below, as the fastest present member shows it.
The band of a comparison ends below f / 2 and f - F (less a window's lobe) of every member in it. A
member that would leave fewer than `MIN_COUNT` frequencies is sparse, and left out.

State: one window of the series and of the power beyond it; in memory also the products of its
segments, four numbers a bin and pair. Cost: about 200 us a packet and 3 us a hop and pair.
Losses: none.

Sources: Carter, Knapp & Nuttall 1973 (bias of C); Lachaux et al., Hum. Brain Mapp. 8 (1999);
Cimenser et al., PNAS 108 (2011); Inouye et al., EEG Clin. Neurophysiol. 79 (1991); Welch 1967.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from msgspec import Meta
from msgspec.structs import replace
from numpy.typing import NDArray

from operators.correlation import HALF_OVERLAP, SEGMENT
from operators.plan import ConfigPart, Hop, Number, Plan, Signal, Span
from operators.presence import LIVE
from operators.records import Grid, Indicators, Packet, Sparse
from operators.sinc import CUTOFF, PHASES, kernel
from operators.types import F64, I64, Bool, State

QUALITY_HZ = 5.0
BAND_HZ = (0.08, 1.5)
ALIASED = 0.05
"""Of the power: folded into the band, it takes as much of the coherence, half of its budget."""
MIN_COUNT = 2
LOBE = 2
"""Half the main lobe of the Hann window, in frequencies: so far aliases leak."""
MAX_AT_ONCE = 256
"""Samples of the series that are taken in together: a long silence must not need long arrays."""
WINDOW = np.hanning(SEGMENT + 1)[:-1]
HOLE = 4
"""A silence of a finer grid is bridged while it is at most 1 / HOLE of the series' step."""
TINY = 1e-300
T = TypeVar("T", bound=np.generic)
Complex = np.ndarray[Any, np.dtype[np.complex128]]


class QualityConfig(ConfigPart, frozen=True, kw_only=True):
    """Which signal the indicators judge (default: the first), over which window and band."""

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
    """The five indicators. Shapes below: h hops, c members, p pairs, f frequencies in the band."""

    def __init__(self, plan: Plan, config: QualityConfig, state: State | None = None) -> None:
        name = config.signal or plan.signals[0].name
        signal = next(s for s in plan.signals if s.name == name)
        at, c = [m.signal for m in plan.lanes].index(name), len(signal.members)
        self._columns = slice(at, at + c)
        self._left, self._right = np.triu_indices(c, 1)
        self._prior = _prior(plan, signal)
        self._step = max(1, round(plan.tick_hz / QUALITY_HZ))
        self.hz = plan.tick_hz / self._step
        self._length = max(SEGMENT, round(config.window_s * self.hz))
        self._hop = max(1, round(config.hop_s * self.hz))
        self._apart = max(1, round(SEGMENT / 2 / self._hop))
        self._segments = (self._length - SEGMENT) // (self._apart * self._hop) + 1
        half = min(SEGMENT // 2, self._apart * self._hop) // 2
        self._middle = slice(SEGMENT // 2 - half, SEGMENT // 2 + half)
        self._taps = _lowpass(self._step, self.hz)
        low, high = BAND_HZ if config.band_hz == "auto" else config.band_hz
        self._low, self._high = max(low, 1e-9), min(high, CUTOFF * self.hz)
        frequency = np.arange(SEGMENT // 2 + 1) * self.hz / SEGMENT
        lowest, stop = np.searchsorted(frequency, (self._low - 1e-9, self._high + 1e-9))
        self._used = slice(lowest, max(stop, lowest))
        self._frequency = frequency[self._used]
        self._hole = self._step // HOLE
        self._next: int | None = None
        self._fine: F64 = np.empty((c, 0))
        self._series: F64 = np.full((c, self._length), np.nan)
        self._rest: F64 = np.zeros((c, self._length))
        self._none = (False,) * len(plan.members)
        self._sparse = self._none
        self._turned: list[Sparse] = []
        self._names, self._tick_hz = [m.channel for m in signal.members], plan.tick_hz
        self._noted: list[str] = []
        self._notes: list[tuple[str, float, str]] = []
        if state:
            self._next, self._fine, self._series = state["next"], state["fine"], state["series"]
            self._rest, self._sparse = state["rest"], tuple(state["sparse"])
            self._noted = list(state["noted"])
        past = (self._segments - 1) * self._apart
        self._bins = np.full(past, len(self._frequency))
        if state:
            self._bins = state["bins"]
        # All segments that a coming window may hold are still in the series.
        wait = -(self._next or 0) % self._hop
        first = self._length + wait - past * self._hop
        self._products, x = self._multiply(*self._segments_ending(first, past))
        self._lock(self._products, x, self._bins)
        self._stop = past

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "next": self._next, "fine": self._fine, "series": self._series, "rest": self._rest,
            "bins": self._bins, "sparse": list(self._sparse),
            "noted": list(self._noted),
        }  # fmt: skip

    def update(self, packet: Packet) -> Packet:
        """Add the indicators of the hops that this packet completes."""
        grid = packet.grid
        if grid is None:
            return packet
        step, hole, reach = self._step, self._hole, len(self._taps) // 2 + self._hole
        value = np.where(grid.state == LIVE, grid.value, np.nan)[:, self._columns].T
        if self._next is None:
            # The series begins where the first tick is; what its taps miss there is unknown.
            self._next = -(-grid.first // step)
            self._fine = np.full((len(value), grid.first - self._next * step + reach), np.nan)
        raw = np.concatenate((self._fine, value), axis=1)
        fine, start = _bridged(raw, hole) if hole else raw, 0
        found: list[Indicators] = []
        while (n := min((raw.shape[1] - start - 2 * reach - 1) // step + 1, MAX_AT_ONCE)) > 0:
            around = _windows(fine, len(self._taps), start + hole, step, n)
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
        turned, self._turned = tuple(self._turned), []
        notes, self._notes = (*packet.notes, *self._notes), []
        return replace(packet, indicators=tuple(found), sparse=turned, notes=notes)

    def _segments_ending(self, first: int, count: int) -> tuple[F64, F64]:
        """Return segments (count, c, SEGMENT) a hop apart from the end `first` on, of the series
        and of what it leaves out.
        """
        begin = first - SEGMENT + 1
        return (
            _windows(self._series, SEGMENT, begin, self._hop, count),
            _windows(self._rest, SEGMENT, begin, self._hop, count),
        )

    def _measure(self, wait: int, h: int, grid: Grid) -> list[Indicators]:
        """Return the indicators of h hops, the first `wait` samples after what was known."""
        first, step = self._length + wait, self._hop * self._step
        tick = ((self._next or 0) + wait) * self._step + len(self._taps) // 2 + self._hole
        rows = slice(tick - grid.first, tick - grid.first + (h - 1) * step + 1, step)
        live = grid.state[rows, self._columns] == LIVE
        known = np.isfinite(self._series)
        if not known.all():
            seen = _windows(known, self._length, wait + 1, self._hop, h)
            live = live & (np.add.reduce(seen, 2, dtype=int) >= self._length / 4)
        ticks = range(tick, tick + h * step, step)
        if not len(self._left):  # a lone member has nothing to agree with
            return [Indicators(t, *[np.nan] * 5) for t in ticks]
        new, x = self._multiply(*self._segments_ending(first, h))
        self._append(new)
        sums = self._sums(h, slice(None))
        rate = np.where(live, grid.rate_hz[rows, self._columns], np.nan)
        edge, sparse = self._edges(sums, rate)
        high = np.fmin.reduce(np.where(sparse, np.nan, edge), 1, initial=np.inf) + 1e-9
        bins = np.searchsorted(self._frequency, high)
        self._lock(self._products[self._stop - h : self._stop], x, bins)
        sums[..., -1:] = self._sums(h, slice(-1, None))
        self._bins = np.concatenate((self._bins, bins))[h:]
        live &= ~sparse
        reference = np.where(live, self._prior, -1.0).argmax(axis=1)[:, None]
        both = live[:, self._left] & live[:, self._right]
        asked = both & ((self._left == reference) | (self._right == reference))
        share, harmony, table = self._spectral(sums, both, bins)
        share[~asked] = 0.0
        total = np.add.reduce(share, 1)
        share /= np.where(total > 0, total, np.nan)[:, None]
        phase, coherence, locking, entropy = np.add.reduce(share * table, 2)
        harmony /= np.where(total > 0, np.add.reduce(live, 1, dtype=float) - 1, np.nan)
        columns = (x.tolist() for x in (phase, coherence, harmony, locking, entropy))
        for t, mine, per_s in zip(ticks, sparse.tolist(), rate.tolist(), strict=True):
            self._leave_out(t, mine, per_s)
        return list(map(Indicators._make, zip(ticks, *columns, strict=True)))

    def _leave_out(self, tick: int, mine: list[bool], rate: list[float]) -> None:
        """Note whom the indicators leave out from a tick on; of each member once in words."""
        before, after = self._none[: self._columns.start], self._none[self._columns.stop :]
        members = (*before, *mine, *after)
        if members == self._sparse:
            return
        self._sparse = members
        self._turned.append(Sparse(tick, members))
        for i, (name, per_s) in enumerate(zip(self._names, rate, strict=True)):
            if mine[i] and name not in self._noted:
                self._noted.append(name)
                text = f"a sample each {1 / per_s:.3g} s is too seldom for this movement"
                note = f"{text}: the indicators leave it out"
                self._notes.append((name, tick / self._tick_hz, note))

    def _edges(self, sums: F64, rate: F64) -> tuple[F64, Bool]:
        """Return where each member's band ends (h, c; Hz, NaN of unknown rate), and who is sparse.

        Parameters
        ----------
        sums : float64 (h, 4, p, f + 2)
        rate : float64 (h, c)
            Of samples, NaN where a member is not present or has none.
        """
        edge = rate / 2
        slow = rate < self.hz
        if not slow.any():
            return edge, slow
        fastest = np.where(np.isnan(rate), -1.0, rate).argmax(axis=1)
        top = np.full(len(rate), self.hz)
        for member in np.unique(fastest).tolist():
            mine = np.flatnonzero((self._left == member) | (self._right == member))
            side = np.where(self._left[mine] == member, 2, 3)
            of = np.flatnonzero(fastest == member)
            best = sums[of][:, 0, mine, -1].argmax(axis=1)
            power = sums[of, side[best], mine[best]]
            reached = np.cumsum(power[:, :-2], axis=1) >= (1 - ALIASED) * power[:, -2:-1]
            some = reached.any(axis=1)
            top[of[some]] = self._frequency[reached[some].argmax(axis=1)]
        # Of what lies above its own Nyquist frequency the fastest knows nothing.
        top = np.fmin(top, np.fmax.reduce(rate, 1, initial=0.0) / 2)[:, None]
        clean = rate - top - LOBE * self.hz / SEGMENT
        edge = np.where(slow & (top > edge), np.fmin(edge, clean), edge)
        few = np.searchsorted(self._frequency, edge + 1e-9) < MIN_COUNT
        return edge, slow & few

    def _multiply(self, segment: F64, rest: F64) -> tuple[F64, Complex]:
        """Return the products (h, 4, p, f + 2) of segments (h, c, SEGMENT), and their spectra.

        Real and imaginary part of G_xy, P_x and P_y, 0 where a segment is not whole. Behind P_x
        and P_y all power there is from the band's lower edge on, of `rest` too, which the series
        leaves out (squares of its samples). The last column: whether both are whole, and what
        `_lock` puts there.
        """
        left, right = self._left, self._right
        mean = np.add.reduce(segment, 2, keepdims=True) / SEGMENT
        full: Complex = np.fft.rfft((segment - mean) * WINDOW)
        x = full[..., self._used]
        whole = np.isfinite(mean[..., 0])
        full = full[..., self._used.start :]
        # Parseval's theorem, one side of the spectrum.
        every = np.add.reduce(full.real**2 + full.imag**2, 2) + SEGMENT / 2 * (rest @ WINDOW**2)
        if not whole.all():
            x[~whole], every[~whole] = 0.0, 0.0
        both = whole[:, left] & whole[:, right]
        cross, power = x[:, left].conj() * x[:, right], x.real**2 + x.imag**2
        out = np.zeros((len(x), 4, len(left), x.shape[2] + 2))
        out[:, 0, :, :-2], out[:, 1, :, :-2] = cross.real, cross.imag
        out[:, 2, :, :-2], out[:, 3, :, :-2] = power[:, left], power[:, right]
        out[:, 2, :, -2], out[:, 3, :, -2] = every[:, left], every[:, right]
        if not both.all():
            out[:, 2:, :, :-1] *= both[:, None, :, None]
        out[:, 0, :, -1] = both
        return out, x

    def _lock(self, out: F64, x: Complex, bins: I64) -> None:
        """Put real and imaginary part of mean exp(j (phi_y - phi_x)) into the products of spectra
        (h, c, f): over the segments' middle, phases of the analytic signal in the band (`bins`).
        """
        if bins.min(initial=SEGMENT) < len(self._frequency):
            x = x * (np.arange(len(self._frequency)) < bins[:, None, None])
        f: Complex = np.zeros((*x.shape[:2], SEGMENT), complex)
        f[..., self._used] = x
        z: Complex = np.fft.ifft(f)[..., self._middle]
        turn = z[:, self._left].conj() * z[:, self._right]
        turn /= np.maximum(np.abs(turn), TINY)
        locked = np.add.reduce(turn, 2) / turn.shape[2]
        out[:, 1, :, -1], out[:, 2, :, -1] = locked.real, locked.imag

    def _append(self, new: F64) -> None:
        """Put products behind the others; now and then all that is needed moves to the front."""
        past = (self._segments - 1) * self._apart
        if self._stop + len(new) > len(self._products):
            kept = self._products[self._stop - past : self._stop]
            self._products = np.empty((2 * past + len(new), *new.shape[1:]))
            self._products[:past] = kept
            self._stop = past
        self._products[self._stop : self._stop + len(new)] = new
        self._stop += len(new)

    def _sums(self, h: int, columns: slice) -> F64:
        """Return columns of the products summed over each of the last h windows."""
        down, *rest = self._products.strides
        windows: F64 = np.ndarray(
            (h, self._segments, *self._products.shape[1:]), float, self._products,
            (self._stop - h - (self._segments - 1) * self._apart) * down,
            (down, down * self._apart, *rest),
        )  # fmt: skip
        return np.asarray(np.add.reduce(windows[..., columns], 1))

    def _spectral(self, sums: F64, both: Bool, bins: I64) -> tuple[F64, F64, F64]:
        """Return cross-power (h, p), harmony (h,), the four others (4, h, p) of h windows."""
        if bins.min() < len(self._frequency):
            sums[..., :-2] *= np.arange(len(self._frequency)) < bins[:, None, None, None]
        re, im, px, py = sums[..., :-2].swapaxes(0, 1)
        re_sum, im_sum, px_sum, py_sum = np.add.reduce(sums[..., :-2], 3).swapaxes(0, 1)
        count, locked = sums[:, 0, :, -1], sums[:, 1, :, -1] ** 2 + sums[:, 2, :, -1] ** 2
        size = np.sqrt(re * re + im * im)
        coherency = size / np.maximum(np.sqrt(px * py), TINY)
        looks = np.maximum(HALF_OVERLAP * count, 1.0 + 1e-9)[..., None]
        fair = np.minimum(np.maximum((looks * coherency * coherency - 1) / (looks - 1), 0.0), 1.0)
        share = np.add.reduce(size, 2)
        coherence = np.add.reduce(size * fair, 2) / np.maximum(share, TINY)
        phase = np.arctan2(np.abs(im_sum), re_sum) / (2 * np.pi)
        rest = np.maximum(px + py - 2 * re, 0.0)
        total = np.maximum(np.add.reduce(rest, 2), TINY)
        part = np.maximum(rest / total[..., None], TINY)
        entropy = np.add.reduce(part * np.log(part), 2) / -np.log(np.maximum(bins, 2))[:, None]
        entropy *= total / np.maximum(px_sum + py_sum, TINY)
        there = (both & (count >= 2))[..., None]
        power = px / np.maximum(px_sum, TINY)[..., None] + py / np.maximum(py_sum, TINY)[..., None]
        weight = np.add.reduce(power * there, 1)
        largest = self._largest((re + 1j * im) * (np.sqrt(fair) / np.maximum(size, TINY) * there))
        harmony = np.add.reduce((largest - 1) * weight, 1) / np.maximum(
            np.add.reduce(weight, 1), TINY
        )
        locking = np.sqrt(locked) / np.maximum(count, 1.0)
        share[count < 2] = 0.0
        return share, harmony, np.stack((phase, coherence, locking, entropy))

    def _largest(self, coherency: Complex) -> F64:
        """Return the largest eigenvalue (h, f) of the coherency matrices of pairs (h, p, f)."""
        h, p, f = coherency.shape
        if p < 2:
            return np.asarray(1.0 + np.add.reduce(np.abs(coherency), 1))
        c = self._columns.stop - self._columns.start
        matrix = np.eye(c, dtype=complex) + np.zeros((h, f, 1, 1))
        # Members that are not there stand apart, with 1.
        matrix[..., self._right, self._left] = coherency.swapaxes(1, 2)
        return np.asarray(np.linalg.eigvalsh(matrix)[..., -1])


def _prior(plan: Plan, signal: Signal) -> F64:
    """Return what each member counts before the data have spoken, the reference most."""
    prior = {"ure": plan.weights.ure, "sensors": plan.weights.sensors}
    groups = [m.group for m in signal.members]
    names = [m.channel for m in signal.members]
    return np.array([
        np.inf if n == signal.reference else prior[g] / groups.count(g)
        for n, g in zip(names, groups, strict=True)
    ])  # fmt: skip


def _lowpass(step: int, hz: float) -> F64:
    """Return the taps that bring a grid to every `step`-th tick, a series of `hz`."""
    if step == 1:
        return np.ones(1)
    half = 10 * step
    k_of = kernel(CUTOFF * hz, 10.0 / hz, hz)
    u = np.abs(np.arange(-half, half + 1)) / step * PHASES
    taps = np.interp(u, np.arange(len(k_of.table)), k_of.table)
    return np.asarray(taps / taps.sum())


def _bridged(rows: F64, hole: int) -> F64:
    """Return rows (c, n) with silences of at most `hole` ticks bridged by straight lines."""
    if not np.isnan(rows).any():
        return rows
    out = rows.copy()
    for row in out:
        known = np.flatnonzero(~np.isnan(row))
        short = np.flatnonzero((np.diff(known) > 1) & (np.diff(known) <= hole + 1))
        for a, b in zip(known[short].tolist(), known[short + 1].tolist(), strict=True):
            row[a : b + 1] = np.linspace(row[a], row[b], b - a + 1)
    return out


def _windows(rows: NDArray[T], width: int, first: int, step: int, count: int) -> NDArray[T]:
    """Return windows (count, c, width) of rows (c, n), `step` apart from `first` on, as a view."""
    down, right = rows.strides
    return np.ndarray(
        (count, len(rows), width), rows.dtype, rows, first * right, (step * right, down, right)
    )
