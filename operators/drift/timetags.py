"""Timetags that cannot be a clock, found by their form.

Some senders fill the 64 bits of a timetag wrongly: nanoseconds or microseconds where the fraction
counts 2^-32 s, nothing in the fraction, a constant, milliseconds since 1970 as one number. Such a
form shows in the first messages by how the tags run against their arrivals:

- *constant*: they do not move. Milliseconds as one number are, too: 2.3e-7 s a second.
- *whole seconds*: no fraction, and for more than half of the time the tag stands still. Within the
  first second nobody knows these two apart.
- *nanoseconds*, *microseconds in the fraction*: no fraction is above 1e9 (1e6) / 2^32, and within a
  second the tags run at that rate. A pause of the network cannot look like that: either the usual
  step agrees, or three seconds in turn do.
- *milliseconds for seconds*: they run a thousand times too fast.

A sound sender passes in its first 5 s (200 messages at least), and is looked at no more.

State: up to 1,024 messages a source, taken at most one each 5 ms, until it is judged.
Cost: a dozen numpy calls at each of at most 14 looks a source. Losses: none.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from operators.types import F64, I64, Bool, State

Form = Literal[
    "constant", "constant or whole seconds", "whole seconds",
    "nanoseconds in the fraction", "microseconds in the fraction",
    "milliseconds for seconds", "milliseconds since 1970 as one number",
]  # fmt: skip
LOOKS = (20, 25, 30, 35, 40, 45, 50, 75, 100, 150, 200, 350, 600, 1_024)
"""Messages after which they are looked at."""
ENOUGH_S = 5.0
ENOUGH = 200
_BIN_S = 0.005
_SPAN_S = 0.35
"""The least time in which a form shows."""
_NS, _US = 1e9 / 2**32, 1e6 / 2**32
_NEAR, _STEP_NEAR = 0.3, 0.4
_NTP = 2_208_988_800
_UNIX_MS = (5e11, 5e12)
"""From 1985 to 2128."""


class Timetags:
    """Judges one source.

    Attributes
    ----------
    form : str or None
        What its timetags are instead of a clock.
    done : bool
        It is judged.
    """

    def __init__(self) -> None:
        self.form: Form | None = None
        self.done = False
        self._ts: F64 = np.empty(0)
        self._rx: F64 = np.empty(0)

    @classmethod
    def from_snapshot(cls, state: State) -> Timetags:
        """Return the judge of a snapshot."""
        core = cls()
        core.form, core.done = state["form"], state["done"]
        core._ts, core._rx = state["ts"], state["rx"]
        return core

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {"form": self.form, "done": self.done, "ts": self._ts, "rx": self._rx}

    def feed(self, ts: F64, rx: F64) -> int | None:
        """Take in messages in order of arrival; return which one gave a wrong form away.

        Parameters
        ----------
        ts, rx : float64 (n,)
            Timetags as source time, and arrivals (s).
        """
        if self.done or not len(ts):
            return None
        had = len(self._rx)
        last = self._rx[-1:] if had else [-np.inf]
        bins = np.floor(np.append(last, rx) / _BIN_S)
        new: Bool = bins[1:] != bins[:-1]
        at: I64 = np.flatnonzero(new)[: LOOKS[-1] - had]
        self._ts, self._rx = np.append(self._ts, ts[at]), np.append(self._rx, rx[at])
        for n in (n for n in LOOKS if had < n <= len(self._rx)):
            self.form = form_of(self._ts[:n], self._rx[:n])
            span = float(self._rx[:n].max() - self._rx[0])
            self.done = bool(self.form) or n == LOOKS[-1] or (n >= ENOUGH and span >= ENOUGH_S)
            if self.done:
                self._ts, self._rx = np.empty(0), np.empty(0)
                return int(at[n - had - 1]) if self.form else None
        return None


def form_of(ts: F64, rx: F64) -> Form | None:
    """Return what timetags are that cannot be a clock, None where they can."""
    span = float(rx.max() - rx.min())
    if span < _SPAN_S:
        return None
    moved = float(ts.max() - ts.min())
    if moved < 1e-4 * span:
        low, high = _UNIX_MS
        if low < (float(ts[-1]) + _NTP) * 2**32 < high:
            return "milliseconds since 1970 as one number"
        return "constant or whole seconds" if ts[-1] % 1 == 0 and span <= 1 else "constant"
    step_ts, step_rx = np.diff(ts), np.diff(rx)
    usual = float(np.median(step_ts)) / max(float(np.median(step_rx)), 1e-9)
    if abs(usual / 1000 - 1) < _NEAR and abs(moved / span / 1000 - 1) < _NEAR:
        return "milliseconds for seconds"
    second = np.floor(ts)
    fraction = ts - second
    same = second[1:] == second[:-1]
    inside = float(step_rx[same].sum())
    if not fraction.any():
        return "whole seconds" if inside > span / 2 else None
    if inside < _SPAN_S:
        return None
    rate = float(step_ts[same].sum()) / inside
    turns = len(np.unique(second))
    forms: tuple[tuple[Form, float], ...] = (
        ("microseconds in the fraction", _US), ("nanoseconds in the fraction", _NS),
    )  # fmt: skip
    for form, unit in forms:
        fits = float(fraction.max()) <= unit * 1.01 and abs(rate / unit - 1) < _NEAR
        if fits and (abs(usual / unit - 1) < _STEP_NEAR or turns >= 3):
            return form
    return None
