"""One source's clock: offset and skew from the lower envelope of arrival minus source time.

d = arrival - source is offset + slope * time + a delay that is never negative: its lower edge
is followed, not its mean. In each bin of source time the least residual e of d against the
prediction is a measurement of the offset, with the expected minimum of n exponential delays
taken off:

    z = min(e) - js / n,   R = max(js / n, 20 us)^2,   js = EWMA of (mean e - min e) n / (n - 1)

A Kalman filter of two states, offset th (s) at the reference stamp and slope g (s/s), takes it
in: F = [[1, dt], [0, 1]], Q = dt [[q_th + q_g dt^2 / 3, q_g dt / 2], [q_g dt / 2, q_g]], with
Huber's weight 3 sqrt(S) / |e| beyond three sigma and |g| <= 500 ppm.

A *clock reset* is a run of five events, one after the other and of one sign, off the prediction
by more than the gate max(20 ms, 12 js), that agree with one another within the gate and did not
come as one burst; three suffice below the prediction, where no delay can lead. The offset then
moves, the slope stays.

Sources: lower envelope, Zhang, Liu & Xia, INFOCOM 2002; two-state clock, Brown & Hwang, Random
Signals and Kalman Filtering; Huber, Robust Statistics.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import numpy as np

from operators.records import F64, I64, Bool, State

BIN_S = 1.0
LEAST_IN_BIN, MOST_IN_BIN = 5, 4096
GATE_S, GATE_JITTERS = 0.020, 12.0
RUN_ABOVE, RUN_BELOW = 5, 3
FLOOR_S = 20e-6
Q_OFFSET, Q_SLOPE = 1e-14, 1e-18
SD_SLOPE = 300e-6
MOST_SLOPE = 500e-6
FORGET = 0.98


class Judged(NamedTuple):
    """What became of the stamps that were fed, in their order.

    `host` (n,): source time mapped to host time (s). `ok` (n,): it may be used; else it is wild.
    `by` (n,): index of the stamp that decided it. `decided` says how many, from the front, are
    decided at all: the rest must be fed again with what comes next.
    `turns`: (index, line) for each change of the line, `Line.stepped` where it was a step.
    """

    host: F64
    ok: Bool
    by: I64
    decided: int
    turns: list[tuple[int, Line]]


class Line(NamedTuple):
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


@dataclass
class Clock:
    """Follow one source's clock. State: a dozen floats and the stamps of one bin."""

    max_delay_s: float
    at: float = float("nan")
    offset: float = 0.0
    slope: float = 0.0
    p00: float = 0.0
    p01: float = 0.0
    p11: float = SD_SLOPE**2
    jitter: float = float("nan")
    jitter_p95: float = float("nan")
    resets: int = 0
    reset_at: float = float("nan")
    due: float = float("nan")
    bin_source: F64 = field(default_factory=lambda: np.empty(0))
    bin_delay: F64 = field(default_factory=lambda: np.empty(0))

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return asdict(self)

    @property
    def warm(self) -> bool:
        """Whether a first bin has been closed."""
        return not np.isnan(self.jitter)

    def line(self, stepped: bool = False) -> Line:
        """Return the line in force."""
        return Line(
            self.at, self.offset, self.slope, self.p00, self.p01, self.p11, self.jitter_p95,
            self.resets, self.reset_at, stepped,
        )  # fmt: skip

    def feed(self, source: F64, arrival: F64, end: bool) -> Judged:
        """Take in distinct stamps in order of arrival.

        Parameters
        ----------
        source, arrival : float64 (n,)
            Source time and arrival (s); those left undecided by the last call first.
        end : bool
            Nothing follows: everything is decided.
        """
        n = len(source)
        delay = arrival - source
        host, ok, by = np.empty(n), np.ones(n, bool), np.arange(n)
        turns: list[tuple[int, Line]] = []
        if n and np.isnan(self.at):
            self._start(float(source[0]), float(delay[0]))
        i = 0
        while i < n:
            stop = n
            past = np.flatnonzero(source[i:] >= self.due)
            if len(past):
                stop = i + int(past[0])
            if stop == i:
                # The first stamp past the edge closes the bin, unless it is itself in doubt.
                e = delay[i : i + 1] - self._predict(source[i : i + 1], delay[i : i + 1])
                if not self._doubtful(e)[0]:
                    if self._close(float(source[i])):
                        turns.append((i, self.line()))
                    continue
                stop = min(n, i + RUN_ABOVE + 1)
            s, d = source[i:stop], delay[i:stop]
            predicted = self._predict(s, d)
            e = d - predicted
            doubt = self._doubtful(e)
            if not doubt.any():
                host[i:stop] = s + predicted
                self._gather(s, d)
                i = stop
                continue
            first = int(np.argmax(doubt))
            if first:
                host[i : i + first] = s[:first] + predicted[:first]
                self._gather(s[:first], d[:first])
                i += first
                continue
            settled, reset = self._judge(source, arrival, i, end, host, ok, by)
            if settled == i:
                return Judged(host, ok, by, i, turns)
            if reset:
                self.reset_at = float(host[settled - reset])
                turns.append((settled - 1, self.line(stepped=True)))
            i = settled
        return Judged(host, ok, by, n, turns)

    def _judge(
        self, source: F64, arrival: F64, i: int, end: bool, host: F64, ok: Bool, by: I64
    ) -> tuple[int, int]:
        """Decide the doubtful stamps from i on as far as can be.

        Returns the index of the first undecided one, and how many made a reset (0: none).
        """
        n = len(source)
        window = slice(i, min(n, i + RUN_ABOVE))
        s, d = source[window], (arrival - source)[window]
        e = d - self._predict(s, d)
        doubt = self._doubtful(e) & (np.sign(e) == np.sign(e[0]))
        length = len(e) if doubt.all() else int(np.argmin(doubt))
        need = RUN_BELOW if e[0] < 0 else RUN_ABOVE
        gate = self._gate()
        if length >= need:
            run = e[:need]
            spaced = arrival[i + need - 1] - arrival[i] >= 0.5 * (s[need - 1] - s[0])
            if np.ptp(run) <= gate and (spaced or e[0] < 0):
                self._reset(s[:need], d[:need], run)
                host[i : i + need] = s[:need] + self._predict(s[:need], d[:need])
                by[i : i + need] = i + need - 1
                self._gather(s[:need], d[:need])
                return i + need, need
        elif length == len(e) and not end and len(e) < need:
            return i, 0
        # Not a reset that begins here: this one stamp stands for itself.
        ok[i] = 0 < e[0] <= self.max_delay_s
        host[i] = s[0] + self._predict(s[:1], d[:1])[0]
        by[i] = min(i + length, i + need - 1, n - 1)
        return i + 1, 0

    def _start(self, source: float, delay: float) -> None:
        self.at, self.offset, self.due = source, delay, source + BIN_S
        self.p00, self.p01 = GATE_S**2, 0.0

    def _gate(self) -> float:
        return max(GATE_S, GATE_JITTERS * self.jitter) if self.warm else self.max_delay_s

    def _doubtful(self, e: F64) -> Bool:
        return np.abs(e) > self._gate()

    def _predict(self, source: F64, delay: F64) -> F64:
        """Return the offset (s) at each source time."""
        if self.warm:
            return self.offset + self.slope * (source - self.at)
        # Before the first bin is closed the least delay so far is the best there is.
        least = self.offset if not len(self.bin_delay) else float(np.min(self.bin_delay))
        near = np.where(np.abs(delay - least) <= self.max_delay_s, delay, least)
        return np.minimum(np.minimum.accumulate(near), least)

    def _gather(self, source: F64, delay: F64) -> None:
        self.bin_source = np.concatenate((self.bin_source, source))
        self.bin_delay = np.concatenate((self.bin_delay, delay))
        if len(self.bin_source) >= MOST_IN_BIN:
            self.due = float(np.max(self.bin_source))

    def _close(self, now: float) -> bool:
        """Take the bin in, if it holds enough, and open the next; return whether it did."""
        n = len(self.bin_source)
        if n < LEAST_IN_BIN:
            # Slow sources fill a bin by number, not by time.
            self.due = float(np.nextafter(now, np.inf)) if n else now + BIN_S
            return False
        s, d = self.bin_source, self.bin_delay
        self.bin_source, self.bin_delay, self.due = np.empty(0), np.empty(0), now + BIN_S
        base = self.offset if self.warm else float(np.min(d))
        e = d - (base + self.slope * (s - self.at))
        k = int(np.argmin(e))
        least = float(e[k])
        spread = max((float(np.mean(e)) - least) * n / (n - 1), 0.0)
        p95 = float(np.partition(e, int(0.95 * (n - 1)))[int(0.95 * (n - 1))]) - least
        if not self.warm:
            self.jitter, self.jitter_p95 = spread, p95
            self.at, self.offset = float(s[k]), base + least - spread / n
            self.p00, self.p01, self.p11 = max(spread / n, FLOOR_S) ** 2, 0.0, SD_SLOPE**2
            return True
        self.jitter = FORGET * self.jitter + (1 - FORGET) * spread
        self.jitter_p95 = 0.9 * self.jitter_p95 + 0.1 * p95
        self._predict_state(max(float(s[k]) - self.at, 0.0))
        self._update_state(least - self.jitter / n, max(self.jitter / n, FLOOR_S) ** 2)
        return True

    def _predict_state(self, dt: float) -> None:
        self.at += dt
        self.offset += self.slope * dt
        self.p00 += dt * (2 * self.p01 + dt * self.p11) + dt * (Q_OFFSET + Q_SLOPE * dt * dt / 3)
        self.p01 += dt * self.p11 + Q_SLOPE * dt * dt / 2
        self.p11 += Q_SLOPE * dt

    def _update_state(self, innovation: float, r: float) -> None:
        s = self.p00 + r
        beyond = abs(innovation) / (3 * math.sqrt(s))
        if beyond > 1:
            s = self.p00 + r * beyond
        k0, k1 = self.p00 / s, self.p01 / s
        self.offset += k0 * innovation
        self.slope = min(max(self.slope + k1 * innovation, -MOST_SLOPE), MOST_SLOPE)
        self.p11 -= k1 * self.p01
        self.p01 *= 1 - k0
        self.p00 *= 1 - k0

    def _reset(self, source: F64, delay: F64, e: F64) -> None:
        """Move the offset to where these stamps are; the slope stays."""
        self.resets += 1
        self.bin_source, self.bin_delay = np.empty(0), np.empty(0)
        self.due = float(source[0]) + BIN_S
        if not self.warm:
            self.at, self.offset = float(source[0]), float(np.min(delay))
            return
        # The line is carried to the first stamp by its value: the slope says nothing of a step.
        first = float(source[0])
        self.offset += self.slope * (first - self.at)
        self.at = first
        step = float(np.min(e)) - self.jitter / len(e)
        self.offset += step
        self.p00 += (self.jitter / len(e)) ** 2
        self.p01 = 0.0
