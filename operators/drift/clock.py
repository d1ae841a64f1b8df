"""One source's clock: offset and skew from the lower envelope of arrival minus source time.

d = arrival - source = offset + slope * time + delay, and the delay is never negative: the lower
edge of d is followed, not its mean. In each bin of source time the least residual e of d against
the prediction is a reading of the offset. A bank of filters (operators/drift/offset_filter.py)
fits a line to the readings and detects whether the delays have a sharp edge. The least of n
delays lies above that edge by

    own = js / n,   js = EWMA of (median e - min e) / (the same for exponential delays of mean 1)

A source with fewer than five stamps in every bin does not show the distribution of its delays.
Its readings are then the delays themselves with equal weights: a line of least squares.

A *clock reset* is a run of stamps of one sign, in a row but for one, that agree within the gate:

- five above the prediction by more than max(20 ms, 12 js) that did not arrive as one burst and
  spread no more than usual, or
- three below it by more than max(20 ms, 6 sd of the readings), where no delay can lie.

The reset is decided when the run ends or has lasted 0.075 s: more stamps give a better offset.
Smaller steps up show as two bins in a row without a stamp near the prediction. At a reset the
offset moves and the slope stays. In the first four seconds after it the least of all stamps since
the step is the only reading, in bins that start short.

Jitter of arrival only delays, and spreads the stamps (operators/drift/delay_burst.py). A step up
is taken back if the first dozen stamps after it spread more than usual. The line holds during a
burst until all delays are longer for three seconds; then it moves to their least, without a reset.
The line from before is kept: delays that agree with it prove it, and it is in force again. While
either line is possible the variance includes the square of their distance.

Source: lower envelope, Zhang, Liu & Xia, INFOCOM 2002.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import numpy as np

from operators import native
from operators.drift.clock_bin import ROUNDED_S, fresh, summed
from operators.drift.delay_burst import (
    MIN_BURST,
    MIN_HALF,
    MIN_TRIAL,
    PERSIST_S,
    DelayBurst,
    DelayedHalf,
    EarlierLine,
    StepTrial,
)
from operators.drift.offset_filter import OffsetFilterBank
from operators.types import F64, I64, Bool, State

MAX_SPARSE = 80
"""Stamps of a bin up to which plain numbers are faster than arrays."""
BIN_S = 0.9
"""Slightly under a second: each stamp of a 1 Hz source has a bin of its own."""
MIN_IN_BIN, MAX_IN_BIN = 5, 4096
"""Stamps of a bin: for an estimate of the delays' spread, and before it is closed early."""
GATE_S, GATE_JITTERS, GATE_EDGES = 0.020, 12.0, 6.0
RUN_ABOVE, RUN_BELOW, MAX_RUN, HOLD_S = 5, 3, 32, 0.075
"""Stamps that make a reset; the most stamps, and the longest time (s), in doubt."""
MIN_JITTER_S = GATE_S / GATE_JITTERS
"""Jitter (s) below which the gate stays as wide."""
FLOOR_S, UNKNOWN_S = 20e-6, 5e-3
FORGET, FORGET_BURST = 0.98, 0.9
MAX_SPREAD, MAX_TRIAL, NEAR_JITTERS = 3.0, 5.0, 5.0
"""In jitters: the spread of the stamps of a step, of those after it, and the distance above the
line that are still usual."""
NEW_STEP_S = 4.0
"""Time for which a step is new (s)."""


class StampVerdicts(NamedTuple):
    """The verdict on each fed stamp, in order.

    `host` (n,): source time mapped to host time (s). `ok` (n,): usable; otherwise wild.
    `by` (n,): index of the stamp that decided it, n for the end of the data; never falls.
    `decided`: number of decided stamps, from the front. The caller feeds the rest again, before
    the next stamps.
    `turns`: (by, known, line) for each change of the line: index of the stamp that caused it,
    host time (s), and the line, with `ClockLine.stepped` for a step.
    `steps`: index of the first stamp of each run that made a reset, or of the stamp that closed
    the second bin too far above the prediction.
    `total` (n,): sum of all clock resets up to each stamp (s): source time + total has no step.
    """

    host: F64
    ok: Bool
    by: I64
    decided: int
    turns: list[tuple[int, float, ClockLine]]
    steps: list[int]
    total: F64


class SureStamps(NamedTuple):
    """Verdicts on stamps without doubt, in order: those of `StampVerdicts`.

    `before`: the sum of all clock resets before the first stamp (s).
    """

    host: list[float]
    turns: list[tuple[int, float, ClockLine]]
    steps: list[int]
    before: float

    def total(self) -> list[float]:
        """Return the sum of all clock resets up to each stamp (s)."""
        out = [self.before] * len(self.host)
        for k, _, line in self.turns:
            if k < len(out) and line.total != out[k]:
                out[k:] = [line.total] * (len(out) - k)
        return out


NOT_BEGUN = SureStamps([], [], [], math.nan)
"""No stamp is processed yet."""


class ClockLine(NamedTuple):
    """host = source + offset + slope * (source - at), with covariance; `at` is source time."""

    at: float
    offset: float
    slope: float
    offset_var: float
    cross_var: float
    slope_var: float
    jitter_p95: float
    resets: int
    reset_at: float
    stepped: bool
    total: float = 0.0
    """Sum of all clock resets (s)."""


@dataclass
class Clock:
    """The clock of one source. State: two banks, forty numbers and the stamps of one bin."""

    max_delay_s: float
    bank: OffsetFilterBank | None = None
    jitter: float = float("nan")
    jitter_p95: float = float("nan")
    resets: int = 0
    total: float = 0.0
    """Sum of all clock resets (s), those taken back excluded."""
    reset_at: float = float("nan")
    due: float = float("nan")
    span: float = BIN_S
    stepped_at: float = float("nan")
    rounding: float = 0.0
    low: tuple[float, float, int] = (0.0, 0.0, 0)
    """Time and delay (s) of the lowest stamp since the last step, and the number of stamps."""
    bin_source: array[float] = field(default_factory=lambda: array("d"))
    bin_delay: array[float] = field(default_factory=lambda: array("d"))
    least: float = float("nan")
    """The least delay before the first bin is closed (s)."""
    above: float = float("nan")
    """Distance of the last bin above the prediction (s), NaN where it was within the gate."""
    burst: DelayBurst = field(default_factory=DelayBurst)
    seen: DelayedHalf | None = None
    seen_at: float = float("nan")
    """The last burst in which a stamp came near the line, and the source time of that (s)."""
    trial: StepTrial | None = None
    """The first stamps after a step up."""
    earlier: EarlierLine | None = None
    """The line from before a move up: delays may agree with it again."""
    usual: float = float("nan")
    """The jitter before the clock moved to the least of a burst (s), NaN outside of bursts."""

    def snapshot(self) -> State:
        """Return the state as plain values."""
        opened = {k: np.array(getattr(self, k)) for k in ("bin_source", "bin_delay")}
        return {**asdict(self), **opened}

    @classmethod
    def from_snapshot(cls, state: State) -> Clock:
        """Return the clock of a snapshot."""
        parts = {
            "bank": state["bank"] and OffsetFilterBank.from_snapshot(state["bank"]),
            "low": tuple(state["low"]),
            "burst": DelayBurst.from_snapshot(state["burst"]),
            "seen": state["seen"] and DelayedHalf(**state["seen"]),
            "trial": state["trial"] and StepTrial(**state["trial"]),
            "earlier": state["earlier"] and EarlierLine.from_snapshot(state["earlier"]),
            **{k: array("d", state[k]) for k in ("bin_source", "bin_delay")},
        }
        return cls(**{**state, **parts})

    def line(self, bank: OffsetFilterBank, stepped: bool = False) -> ClockLine:
        """Return the line in force; its variance includes the distance of another possible line."""
        unknown = self._unknown(bank) if self.burst.halves or self._in_burst else 0.0
        return ClockLine(
            at=bank.at,
            offset=bank.offset,
            slope=bank.slope,
            offset_var=bank.offset_var + bank.hidden + unknown**2,
            cross_var=bank.cross_var,
            slope_var=bank.slope_var,
            jitter_p95=self.jitter_p95,
            resets=self.resets,
            reset_at=self.reset_at,
            stepped=stepped,
            total=self.total,
        )

    def run(self, source: Sequence[float], arrival: Sequence[float], first: int = 0) -> SureStamps:
        """Process stamps from `first` on in plain numbers, up to one that is in doubt.

        Parameters
        ----------
        source, arrival : sequence of float
            As in `feed`, which decides the rest.
        """
        run = SureStamps([], [], [], self.total)
        bank = self.bank
        if bank is None:
            return run
        low, high = self._gates()
        offset, slope, at = bank.offset, bank.slope, bank.at
        due, room = self.due, MAX_IN_BIN - 1 - len(self.bin_source)
        for i in range(first, len(source)):
            s = source[i]
            delay = arrival[i] - s
            predicted = offset + slope * (s - at)
            if not -low <= delay - predicted <= high or not room:
                break
            if s >= due:
                line = self._close(s)
                low, high = self._gates()
                offset, slope, at = bank.offset, bank.slope, bank.at
                due, room = self.due, MAX_IN_BIN - 1
                predicted = offset + slope * (s - at)
                if line:
                    run.steps.extend([i] if line.stepped else [])
                    run.turns.append((i, s + predicted, line))
                if not -low <= delay - predicted <= high or s >= due:
                    break
            room -= 1
            run.host.append(s + predicted)
            self.bin_source.append(s)
            self.bin_delay.append(delay)
        return run

    def feed(
        self, source: F64, arrival: F64, end: bool, begun: SureStamps = NOT_BEGUN
    ) -> StampVerdicts:
        """Process distinct stamps in order of arrival.

        Parameters
        ----------
        source, arrival : float64 (n,)
            Source time and arrival (s); the undecided stamps of the last call first.
        end : bool
            The data end here: every stamp is decided.
        begun : SureStamps, optional
            The first of these stamps, processed already.
        """
        n = len(source)
        delay = arrival - source
        host, ok, by = np.empty(n), np.ones(n, bool), np.arange(n)
        total = np.full(n, self.total if math.isnan(begun.before) else begun.before)
        for k, _, moved_to in begun.turns:
            total[k:] = moved_to.total
        i, turns, steps = len(begun.host), [*begun.turns], [*begun.steps]
        host[:i] = begun.host
        sparse = n > 0 and n <= MAX_SPARSE * (1 + (source[-1] - source[0]) / BIN_S)
        plain = (source.tolist(), arrival.tolist()) if sparse and not native.kernels else None
        if n and math.isnan(self.due):
            self.due, self.least = float(source[0]) + BIN_S, float(delay[0])
        while i < n:
            if self.bank and (native.kernels or plain):
                if native.kernels:
                    i, run = self._follow(native.kernels, source, delay, host, i)
                elif plain:
                    run = self.run(*plain, i)
                    host[i : i + len(run.host)] = run.host
                    i += len(run.host)
                for k, known, moved_to in run.turns:
                    turns.append((int(by[k]), known, moved_to))
                    total[k:] = moved_to.total
                steps += run.steps
                if i == n:
                    break
            stop = n
            past = np.flatnonzero(source[i:] >= self.due)
            if len(past):
                stop = i + int(past[0])
            if stop == i:
                # The first stamp past the edge closes the bin, unless that stamp is in doubt.
                e = delay[i : i + 1] - self._predict(source[i : i + 1], delay[i : i + 1])
                if not self._doubtful(e)[0]:
                    line = self._close(float(source[i]))
                    if line:
                        if line.stepped:
                            steps.append(i)
                        known = source[i] + self._predict(source[i : i + 1], delay[i : i + 1])[0]
                        turns.append((int(by[i]), float(known), line))
                        total[i:] = line.total
                    continue
                stop = min(n, i + RUN_ABOVE + 1)
            stop = min(stop, i + MAX_IN_BIN - len(self.bin_source))
            s, d = source[i:stop], delay[i:stop]
            predicted = self._predict(s, d)
            e = d - predicted
            doubt = self._doubtful(e)
            sure = int(np.argmax(doubt)) if doubt.any() else len(s)
            if sure:
                host[i : i + sure] = s[:sure] + predicted[:sure]
                self._gather(s[:sure], d[:sure])
                i += sure
                continue
            resets = self.resets
            settled, moved = self._judge(source, arrival, i, end, host, ok, by, total)
            # Stamps that arrived in the meantime waited as long.
            np.maximum(by[i:], by[i], out=by[i:])
            if settled == i:
                return StampVerdicts(host, ok, by, i, turns, steps, total)
            stepped = self.resets > resets
            if stepped:
                self.reset_at = float(host[settled - moved])
            if moved:
                steps.append(i)
            elif self.bank and ok[i]:
                stamp = float(source[i]), float(delay[i])
                moved = int(self._tried(stamp)) or self._delayed(self.bank, *stamp)
                if moved > 1:
                    steps.append(i - moved)
            if moved and self.bank:
                line = self.line(self.bank, stepped)
                turns.append((int(by[i]), float(host[settled - 1]), line))
                total[settled:] = self.total
            i = settled
        return StampVerdicts(host, ok, by, n, turns, steps, total)

    def _follow(
        self, kernels: native.Kernels, source: F64, delay: F64, host: F64, i: int
    ) -> tuple[int, SureStamps]:
        """Process stamps from i on as `run` does, and write their host times.

        Returns the first stamp that is not processed, and the verdicts without host times.
        """
        run = SureStamps([], [], [], self.total)
        bank = self.bank
        while bank:
            low, high = self._gates()
            line = bank.offset, bank.slope, bank.at
            room = MAX_IN_BIN - 1 - len(self.bin_source)
            stop = kernels.follow(source, delay, host, i, line, low, high, self.due, room)
            if stop > i:
                self.bin_source.frombytes(source[i:stop].tobytes())
                self.bin_delay.frombytes(delay[i:stop].tobytes())
            room -= stop - i
            i = stop
            if i == len(source) or not room:
                break
            s, d = float(source[i]), float(delay[i])
            predicted = bank.offset + bank.slope * (s - bank.at)
            if s < self.due or not -low <= d - predicted <= high:
                break
            if line_now := self._close(s):
                predicted = bank.offset + bank.slope * (s - bank.at)
                run.steps.extend([i] if line_now.stepped else [])
                run.turns.append((i, s + predicted, line_now))
        return i, run

    def finish(self) -> ClockLine | None:
        """Close the last bin at the end of the data; return the line."""
        return self._close(float("inf"))

    def _judge(
        self,
        source: F64,
        arrival: F64,
        i: int,
        end: bool,
        host: F64,
        ok: Bool,
        by: I64,
        total: F64,
    ) -> tuple[int, int]:
        """Decide the doubtful rows from i on, as far as possible.

        Returns the index of the first undecided row, and the number of rows of a move of the line
        (0: none).
        """
        # Rows that share a stamp have one vote, that of the first arrival.
        vote = i + np.flatnonzero(fresh(source[i:]))[:MAX_RUN]
        s, d = source[vote], (arrival - source)[vote]
        e = d - self._predict(s, d)
        doubt = self._doubtful(e) & (np.sign(e) == np.sign(e[0]))
        need, gate = RUN_BELOW if e[0] < 0 else RUN_ABOVE, self._gate()
        burst = self._recent(float(s[0]))
        wide = max(gate, GATE_JITTERS * burst.spread) if burst else gate
        others = np.flatnonzero(~doubt)  # one stamp overtaken at the step does not end the run
        run = np.flatnonzero(doubt[: others[1]] if len(others) > 1 else doubt)
        held = np.flatnonzero(np.abs(s[run[need - 1 :]] - s[0]) >= HOLD_S)
        if len(held):
            run = run[: need + int(held[0])]
            last = int(vote[run[-1]])
        elif len(others) > 1:
            last = int(vote[others[1]])
        elif len(e) == MAX_RUN:
            last = int(vote[-1])
        elif end:
            last = len(source)
        else:
            return i, 0
        if len(run) >= need:
            middle = float(np.median(e[run]))
            alike = e[run][np.abs(e[run] - middle) <= wide]
            if e[0] < 0:
                back = self._back(s[run], d[run])
                reset = not back and self.trial is None and len(alike) >= need
                least = float(np.min(e[run])) if back else middle - wide
            else:
                spaced = arrival[vote[run[-1]]] - arrival[i] >= 0.5 * (s[run[-1]] - s[0])
                back, reset = False, spaced and len(alike) >= need and self._apart(alike, burst)
                least = max(middle - wide, burst.high if burst else -wide)
            if back or reset:
                rows = slice(i, int(vote[run[-1]]) + 1)
                at, delay = source[rows], (arrival - source)[rows]
                before = self._predict(at, delay)
                far = delay - before
                new = self._doubtful(far) & (far < 0) if e[0] < 0 else far >= least
                run = run[e[run] >= least]
                if back:
                    self._take_back()
                    self._begin(float("nan"), float(s[run[-1]]))
                else:
                    self._reset(s[run], d[run], burst)
                host[rows] = at + np.where(new, self._predict(at, delay), before)
                ok[rows] = (far >= np.where(new, least, -gate)) & (new | (far <= self.max_delay_s))
                by[rows] = last
                total[rows][new] = self.total
                return rows.stop, rows.stop - i
        # The line does not move here: this row is decided alone.
        ok[i] = -gate <= e[0] <= self.max_delay_s
        host[i] = s[0] + self._predict(s[:1], d[:1])[0]
        by[i] = last
        return i + 1, 0

    def _gate(self) -> float:
        """Return the distance from the prediction (s): above it a stamp is in doubt, below wild."""
        if self.bank is None or not (self.bank.settled or self.jitter > 0):
            return self.max_delay_s
        near = max(GATE_S, GATE_EDGES * self.bank.edge)
        far = GATE_JITTERS * self.jitter
        return far if far > near else near  # far is NaN while the jitter is unknown

    def _doubtful(self, e: F64) -> Bool:
        """Return which residuals (n,) lie outside the gate, e > high or e < -low."""
        low, high = self._gates()
        return np.asarray((e > high) | (e < -low), bool)

    def _gates(self) -> tuple[float, float]:
        """Return the distances below and above the prediction (s) that are not in doubt."""
        low = high = self._gate()
        if self.bank and self.bank.settled:
            low = max(GATE_S, GATE_EDGES * self.bank.edge)
            if self._in_burst:
                low = max(low, GATE_EDGES * self._own_since(self.low[2]))
        return low, high

    @property
    def _in_burst(self) -> bool:
        """Whether the line is that of the least delays of a burst."""
        return not math.isnan(self.usual)

    def _burst(self) -> DelayedHalf | None:
        """Return the delayed stamps in a row, None if they show no spread."""
        self._gathered()
        whole = self.burst.whole
        return whole if whole and self._is_burst(whole) else None

    def _is_burst(self, whole: DelayedHalf) -> bool:
        """Return whether delayed stamps are enough, and spread more than usual."""
        return whole.number >= MIN_BURST and whole.spread > MAX_SPREAD * self._jitter()

    def _recent(self, at: float) -> DelayedHalf | None:
        """Return the burst, also one in which a stamp just came near the line."""
        burst = self._burst()
        if burst or self.seen is None:
            return burst
        if at < self.seen_at + PERSIST_S:
            return self.seen
        self.seen = None
        return None

    def _gathered(self) -> None:
        """Add the stamps of the open bin to delayed ones before them, up to one near the line."""
        bank, burst = self.bank, self.burst
        if not (bank and burst.halves):
            return
        near = NEAR_JITTERS * self._jitter()
        for k in range(burst.gathered, len(self.bin_source)):
            at, delay = self.bin_source[k], self.bin_delay[k]
            above = delay - (bank.offset + bank.slope * (at - bank.at))
            if above <= near:
                whole = burst.whole
                if whole and self._is_burst(whole):
                    self.seen, self.seen_at = whole, at
                self.burst = DelayBurst()
                return
            burst.add(at, delay, above)
        burst.gathered = len(self.bin_source)

    def _jitter(self) -> float:
        """Return the usual spread of delays (s), as far as it is known."""
        usual = self.jitter
        if math.isnan(usual):
            usual = self.bank.edge if self.bank and self.bank.settled else self.max_delay_s
        return max(usual, MIN_JITTER_S)

    def _apart(self, above: F64, burst: DelayedHalf | None) -> bool:
        """Return whether distances above the line (n,) are those of a clock reset, not of jitter.

        They spread no more than usual, and lie above those of the burst by its whole width.
        """
        if burst:
            return bool(np.min(above) > burst.apart)
        return self._narrow(above)

    def _narrow(self, e: F64) -> bool:
        """Return whether distances from the line (n,) spread no more than usual."""
        spread = (np.mean(e) - np.min(e)) * len(e) / (len(e) - 1)
        return bool(spread <= MAX_SPREAD * self._jitter())

    def _back(self, source: F64, delay: F64) -> bool:
        """Return whether stamps below the line (n,) prove the line from before a move up."""
        earlier = self.earlier
        if earlier is None or not earlier.known(float(source[0])):
            return False
        above = delay - earlier.delay(source)
        gate = max(GATE_S, GATE_EDGES * earlier.bank.edge, GATE_JITTERS * earlier.jitter)
        return bool(np.count_nonzero(np.abs(above) <= gate) >= RUN_BELOW)

    def _tried(self, stamp: tuple[float, float] | None = None) -> bool:
        """Try a step up on the stamps after it; return whether it is taken back.

        A step of the clock leaves the spread of the delays as it was; jitter of arrival does not.
        """
        trial = self.trial
        if trial is None or self.earlier is None:
            return False
        trial.add(self.bin_source, self.bin_delay, stamp)
        if len(trial.delay) < MIN_TRIAL:
            return False
        self.trial = None
        above = trial.above(self.earlier)
        middle = float(np.median(above)) - min(above)
        if middle <= MAX_TRIAL * math.log(2) * max(self.earlier.jitter, MIN_JITTER_S):
            return False
        self.earlier.counted = False
        self._take_back()
        self._begin(float("nan"), trial.source[-1])
        for at, delay, distance in zip(trial.source, trial.delay, above, strict=True):
            self.burst.add(at, delay, distance)
        return True

    def _delayed(self, bank: OffsetFilterBank, at: float, delay: float) -> int:
        """Add a stamp that is no reset; move the line where such delays persist.

        Returns the number of stamps that moved the line, 1 if only its variance changed, 0 if
        nothing did.
        """
        above = delay - (bank.offset + bank.slope * (at - bank.at))
        if above <= 0 or not bank.settled:
            return 0
        self._gathered()
        self.burst.gathered = len(self.bin_source)
        whole = self.burst.whole
        if whole and whole.number >= MIN_HALF and above > whole.apart:
            return 0  # the first of a reset are none of the burst
        if not whole or not self.burst.persists(at, at + delay, GATE_S):
            return int(self.burst.add(at, delay, above) == MIN_HALF)
        if not (self._in_burst and self.earlier):
            self.earlier = self._kept(bank, counted=False)
        self._widen(bank, whole)
        self.jitter_p95 = whole.high - whole.least
        self._begin(whole.at, at)
        self._restart(whole.low_at, whole.low_delay, whole.number)
        return whole.number

    def _unknown(self, bank: OffsetFilterBank) -> float:
        """Return the distance of the other possible line (s), 0 where there is no doubt."""
        if (burst := self._burst()) and burst.number >= MIN_HALF:
            return burst.least
        if self._in_burst and self.earlier and self.earlier.known(bank.at):
            return bank.offset - self.earlier.delay(bank.at)
        return 0.0

    def _kept(self, bank: OffsetFilterBank, counted: bool) -> EarlierLine:
        """Return the line in force, before a move up."""
        return EarlierLine(deepcopy(bank), self.jitter, self.jitter_p95, counted, self.total)

    def _widen(self, bank: OffsetFilterBank, burst: DelayedHalf) -> None:
        """Set the spread of the readings to that of a burst."""
        if math.isnan(self.jitter):
            bank.excess = max(bank.excess, (burst.spread / UNKNOWN_S) ** 2)
            bank.edge = max(bank.edge, burst.spread)
            return
        if not self._in_burst:
            self.usual = self.jitter
        self.jitter = max(self.jitter, burst.spread)

    def _take_back(self) -> None:
        """Take the line from before the move up again."""
        if self.bank and self.earlier:
            self.bank.assign(self.earlier.bank)
            self.jitter, self.jitter_p95 = self.earlier.jitter, self.earlier.jitter_p95
            self.resets += self.earlier.counted
            self.total = self.earlier.total
        self.earlier, self.usual, self.stepped_at = None, float("nan"), float("nan")

    def _begin(self, stepped_at: float, now: float) -> None:
        """Begin a bin after a move of the line."""
        self.above, self.trial = float("nan"), None
        self.burst = DelayBurst()
        self.bin_source, self.bin_delay = array("d"), array("d")
        self.span, self.stepped_at = HOLD_S, stepped_at
        self.due = now + self.span

    def _predict(self, source: F64, delay: F64) -> F64:
        """Return the offset (s) at each source time."""
        if self.bank:
            return self.bank.offset + self.bank.slope * (source - self.bank.at)
        # Before the first bin is closed the prediction is the least delay so far.
        near = np.where(np.abs(delay - self.least) <= self.max_delay_s, delay, self.least)
        return np.minimum(np.minimum.accumulate(near), self.least)

    def _gather(self, source: F64, delay: F64) -> None:
        self.bin_source.frombytes(source.tobytes())
        self.bin_delay.frombytes(delay.tobytes())
        if not self.bank:
            self.least = min(self.least, float(np.min(delay)))
        if len(self.bin_source) >= MAX_IN_BIN:
            self.due = max(self.bin_source)

    def _close(self, now: float) -> ClockLine | None:
        """Read the bin and open the next; return the line if it changed."""
        bank = self.bank
        if bank and self.trial:
            if self._tried():
                self.due = now + self.span
                return self.line(bank)
            if self.trial:
                self.trial.gathered = 0
        burst = self._burst() if self.burst.halves else None
        source, delay = self.bin_source, self.bin_delay
        self.bin_source, self.bin_delay, self.due = array("d"), array("d"), now + self.span
        self.burst.gathered = 0
        self.span = min(2 * self.span, BIN_S)
        if not source:
            return None
        line = (bank.offset, bank.slope, bank.at) if bank else (delay[0], 0.0, 0.0)
        found = summed(source, delay, line)
        n = found.number
        self.rounding = ROUNDED_S if found.whole else 0.0
        if bank and burst:
            return self.line(bank)  # delayed stamps are no readings
        if n >= MIN_IN_BIN:
            if self._above(found.least, n):
                self._move_above(np.array(source), np.array(delay))
                return self.line(bank, stepped=True) if bank else None
            # js of this bin: e at rank half over ln((n - 1/2) / (n - 1/2 - half)).
            spread = found.middle / math.log((n - 0.5) / (n - 0.5 - n // 2))
            if math.isnan(self.jitter):
                self.jitter, self.jitter_p95 = spread, found.high
            forget = FORGET_BURST if self._in_burst else FORGET
            self.jitter = forget * self.jitter + (1 - forget) * spread
            if self._in_burst and self.jitter <= MAX_SPREAD * max(self.usual, MIN_JITTER_S):
                self.usual = float("nan")
            self.jitter_p95 = 0.9 * self.jitter_p95 + 0.1 * found.high
        self._read(found.at, found.delay, n)
        return self.line(self.bank) if self.bank else None

    def _read(self, at: float, least: float, n: int) -> None:
        """Process the least delay of n stamps as a reading."""
        bank, earlier = self.bank, self.earlier
        if bank and earlier and self._in_burst and earlier.agrees(at, least, bank):
            self._take_back()
            return
        if bank and self._is_new(bank, at, n):
            low_at, low, before = self.low
            if low + bank.slope * (at - low_at) < least:
                at, least = low_at, low
            self._restart(at, least, n + before)
            return
        own = self._own(n)
        r = max(own, UNKNOWN_S if math.isnan(self.jitter) else FLOOR_S) ** 2
        if self.bank is None:
            self.bank = OffsetFilterBank.start(at, least - own, r)
        else:
            self.bank.read(at, least, own, r, self.rounding)

    def _is_new(self, bank: OffsetFilterBank, at: float, n: int) -> bool:
        """Return whether the least of all stamps since the step is the reading.

        In a burst it is, up to the time for which the slope is known better than that least.
        """
        since = at - self.stepped_at
        if self._in_burst:
            own = max(self._own_since(n + self.low[2]), self._own(n) / 4)
            return since >= 0 and math.sqrt(bank.slope_var) * since <= own
        return 0 <= since < NEW_STEP_S and bank.sharp and not self.rounding

    def _restart(self, at: float, least: float, n: int) -> None:
        """Start a new offset from the least of the n stamps since the step."""
        self.low = (at, least, n)
        if self.bank:
            own = self._own_since(n)
            self.bank.move(at, least - own, own)

    def _own_since(self, n: int) -> float:
        """Return the mean distance (s) of the least of n stamps since the step above the edge.

        Delays in a burst are usual ones, of spread u, plus those of the burst, of spread js. Near
        the edge P(delay < x) = x^2 / (2 u js), so that the least has the mean sqrt(pi u js / 2 n).
        """
        own = self._own(n)
        if not self._in_burst:
            return own
        return max(own, math.sqrt(math.pi / 2 * self.usual * own))

    def _own(self, n: int) -> float:
        """Return own = js / n (s), 0 while the jitter is unknown."""
        return 0.0 if math.isnan(self.jitter) else self.jitter / n

    def _above(self, least: float, n: int) -> bool:
        """Return whether this bin and the last lie too far above the line, by one distance."""
        before, self.above = self.above, float("nan")
        if self.bank is None or not self.bank.settled:
            return False
        edge = max(self.bank.edge, self._own(n)) if self._in_burst else self.bank.edge
        if least <= max(GATE_S, 2 * GATE_EDGES * edge):
            return False
        self.above = least
        return abs(least - before) <= max(GATE_S / 2, GATE_EDGES * edge)

    def _move_above(self, source: F64, delay: F64) -> None:
        """Move the line to the stamps of a bin above it."""
        new = fresh(source)
        source, delay = source[new], delay[new]
        self._reset(source, delay, None)
        self.reset_at = float(source[0] + self._predict(source[:1], delay[:1])[0])

    def _reset(self, source: F64, delay: F64, burst: DelayedHalf | None) -> None:
        """Move the offset to these stamps; the slope stays.

        Shorter delays within a burst are no clock reset: those above the earlier line, or, without
        one, as far below as the burst is wide.
        """
        bank, earlier = self.bank, self.earlier
        e = delay - self._predict(source, delay)
        k = int(np.argmin(e))
        at, least, up = float(source[k]), float(delay[k]), bool(e[k] > 0)
        lowest = earlier.delay(at) if earlier else least - float(e[k]) - self.jitter
        shorter = not up and self._in_burst and least >= lowest
        self.resets += not shorter
        usual = bank and bank.settled and not burst and not self._in_burst
        if not shorter:
            self.earlier = self._kept(bank, counted=True) if bank and usual and up else None
        if bank and burst:
            self._widen(bank, burst)
        self._begin(float(source[0]), float(source[-1]))
        if self.earlier and up and not math.isnan(self.jitter):
            self.trial = StepTrial(source.tolist(), delay.tolist())
        if bank is None:
            self.least = float(np.min(delay))
            self.total += float(e[k])
            return
        old_at, old_offset, old_slope = bank.at, bank.offset, bank.slope
        self._restart(at, least, len(source))
        if not shorter:
            # The old clock at the same host time, less the new one.
            host = at + bank.offset + bank.slope * (at - bank.at)
            self.total += old_at + (host - old_at - old_offset) / (1 + old_slope) - at
