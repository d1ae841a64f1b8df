"""Statistics of a rig's ticks in bounded memory: modes, bound, indicators, values, weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from configs.thresholds import THRESHOLDS
from operators.records import INDICATORS
from operators.types import F64, MODES
from ops.report.decimate import Decimator, Quantiles
from ops.results.lines import SignalPart, TickLine

MAX_SPELLS = 500
_AT_ONCE = 4096
_LIVE, _BOUND, _LATENCY = 1, 2, 3
_FIRST_INDICATOR = 4
_COLUMNS = _FIRST_INDICATOR + len(INDICATORS)
"""Columns of the tick matrix before those of the signals; the first is the time."""
_NOTHING = SignalPart()


class Spell(NamedTuple):
    """Consecutive ticks of one mode."""

    begin: float
    end: float
    mode: str
    ticks: int


class Within(NamedTuple):
    """Ticks with a known indicator, and those within its budget."""

    good: int
    known: int


class TickStats:
    """Statistics of the ticks, in one pass.

    Attributes
    ----------
    begin, end : float or None
        Time of the first and the last tick (host s).
    ticks, valued : int, dict
        Number of ticks; number of ticks with a value, by signal.
    modes, lives : Counter
        Ticks by mode; ticks by number of live channels.
    spells : list of Spell
        The first `MAX_SPELLS`; `changes` counts all.
    channels : dict
        Members by signal.
    bound, latency : Quantiles
        The stated bound of ticks with two or more compared channels; release minus tick (s).
    best : (float, float) or None
        The longest spell (host s) with the largest number of channels live for `width_s`.
    most_live : int
        The number of live channels in that spell.
    """

    def __init__(self, lines: Iterable[TickLine], width_s: float = 0.0) -> None:
        self.begin: float | None = None
        self.end: float | None = None
        self.ticks = self.changes = 0
        self.modes: Counter[str] = Counter()
        self.lives: Counter[int] = Counter()
        self.spells: list[Spell] = []
        self.channels: dict[str, tuple[str, ...]] = {}
        self.valued: dict[str, int] = {}
        self.bound, self.latency = Quantiles(), Quantiles()
        self.within = {name: Within(0, 0) for name in INDICATORS}
        self._width_s = width_s
        self._longest: dict[int, tuple[float, float]] = {}
        self._since: tuple[float, int] | None = None
        self._mode_now = ""
        for part in _parts(lines):
            self._take(part)
        if self.end is not None:
            self._live_until(self.end, None)
        self.points = self._envelope.points() if self.ticks else Decimator(_COLUMNS).points()

    @property
    def seconds(self) -> float:
        """Length of the data (s)."""
        return 0.0 if self.begin is None or self.end is None else self.end - self.begin

    @property
    def tick_hz(self) -> float:
        """Ticks a second, NaN with fewer than two."""
        return (self.ticks - 1) / self.seconds if self.seconds > 0 else float("nan")

    @property
    def best(self) -> tuple[float, float] | None:
        """The longest spell with `most_live` live channels (host s)."""
        return self._longest.get(self.most_live)

    @property
    def most_live(self) -> int:
        """Largest number of channels that were live for `width_s`."""
        long = [n for n, (a, b) in self._longest.items() if n and b - a >= self._width_s]
        return max(long or self._longest, default=0)

    def column(self, name: str) -> int:
        """Return the column in `points` of `live`, `bound`, `latency` or an indicator."""
        fixed = {"live": _LIVE, "bound": _BOUND, "latency": _LATENCY}
        return (fixed.get(name) or _FIRST_INDICATOR + INDICATORS.index(name)) - 1

    def columns_of(self, signal: str) -> int:
        """Return the first column of a signal in `points`: value, band edges, weights."""
        at = _COLUMNS - 1
        for name, channels in self.channels.items():
            if name == signal:
                return at
            at += 3 + len(channels)
        raise KeyError(signal)

    def mean_weights(self, signal: str) -> dict[str, float]:
        """Return the mean weight of each member over the ticks with a value."""
        names = self.channels[signal]
        mean = self._weight_sums[signal] / max(self.valued[signal], 1)
        return dict(zip(names, mean.tolist(), strict=True))

    def _take(self, lines: list[TickLine]) -> None:
        if not self.ticks:
            self.begin = lines[0].ts
            self.channels = {name: tuple(s.weights) for name, s in lines[0].signals.items()}
            self.valued = dict.fromkeys(self.channels, 0)
            self._weight_sums = {s: np.zeros(len(c)) for s, c in self.channels.items()}
            width = _COLUMNS - 1 + sum(3 + len(names) for names in self.channels.values())
            self._envelope = Decimator(width)
        rows = np.array([self._row(line) for line in lines], dtype=float)
        self.ticks += len(lines)
        self.end = lines[-1].ts
        at = _COLUMNS
        for name, channels in self.channels.items():
            value, sd = rows[:, at].copy(), rows[:, at + 1].copy()
            rows[:, at + 1], rows[:, at + 2] = value - 1.96 * sd, value + 1.96 * sd
            known = np.isfinite(value)
            self.valued[name] += int(known.sum())
            weights = rows[known, at + 3 : at + 3 + len(channels)]
            self._weight_sums[name] += np.nansum(weights, axis=0)
            at += 3 + len(channels)
        self._judge(rows)
        self._envelope.add(rows)
        for line in lines:
            self._mode(line)

    def _row(self, line: TickLine) -> list[float | None]:
        latency = None if line.released is None else line.released - line.ts
        row = [line.ts, line.live, line.sync_bound_s, latency]
        row += map(line.indicators.get, INDICATORS)
        for name, channels in self.channels.items():
            part = line.signals.get(name, _NOTHING)
            row += (part.value, part.sd, None)
            row += map(part.weights.get, channels)
        return row

    def _judge(self, rows: F64) -> None:
        # Runs of older versions state a bound for a single channel.
        rows[~(rows[:, _LIVE] >= 2), _BOUND] = np.nan
        self.bound.add(rows[:, _BOUND])
        self.latency.add(rows[:, _LATENCY])
        for i, name in enumerate(INDICATORS):
            budget = THRESHOLDS.get(name)
            values = rows[:, _FIRST_INDICATOR + i]
            values = values[np.isfinite(values)]
            good = 0
            if budget is not None:
                good = int((values >= budget.good if budget.least else values <= budget.good).sum())
            before = self.within[name]
            self.within[name] = Within(before.good + good, before.known + len(values))

    def _mode(self, line: TickLine) -> None:
        mode = line.mode if line.mode in MODES else "none"
        self.modes[mode] += 1
        if mode != self._mode_now:
            self._mode_now = mode
            self.changes += 1
            if self.changes <= MAX_SPELLS:
                self.spells.append(Spell(line.ts, line.ts, mode, 1))
        elif self.changes == len(self.spells):
            last = self.spells[-1]
            self.spells[-1] = last._replace(end=line.ts, ticks=last.ticks + 1)
        self.lives[line.live or 0] += 1
        self._live_until(line.ts, line.live or 0)

    def _live_until(self, ts: float, live: int | None) -> None:
        """Note the number of live channels from `ts` on; None at the end of the data."""
        if self._since is not None and live == self._since[1]:
            return
        if self._since is not None:
            begin, before = self._since
            longest = self._longest.get(before)
            if longest is None or ts - begin > longest[1] - longest[0]:
                self._longest[before] = begin, ts
        self._since = None if live is None else (ts, live)


def _parts(lines: Iterable[TickLine]) -> Iterator[list[TickLine]]:
    rest = iter(lines)
    while part := list(islice(rest, _AT_ONCE)):
        yield part
