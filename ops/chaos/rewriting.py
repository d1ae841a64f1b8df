"""A fault on the rows of a recording: exact, seeded, and in order of arrival.

Rows outside the window keep their values and their order. Moved rows are merged into the others by
their new arrival; of equal arrivals the row that was first stays first. A row without a stamp of
its sender has one time only, its arrival. An array is one event. Each draw is of one event, in the
order of the file, so that results do not depend on the cutting of the file.

A change of the tempo draws events ahead by minutes. They come from a second reading, which runs
ahead of the first one, so that memory does not grow with the recording.

State: the rows of 0.8 s, and of two pieces of the file. Cost: about 4 us a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import inf, isfinite, nan, sqrt
from typing import TypeAlias

import numpy as np

from operators.types import F64, I64, Bool
from ops.chaos.fault import DELAY_S, JITTER_S, LOSS, NOISE_SD, REPORTED, STEP_S, Disturbance
from sources.replay.arrival_check import Arrivals
from sources.rows.names import Names
from sources.rows.rows import DecodedRows
from sources.rows.written import LineDetails

Part: TypeAlias = tuple[DecodedRows, LineDetails]
Reading: TypeAlias = Callable[[], Iterable[Part]]
"""Begins a reading of the recording: parts of whole lines."""
MAX_DELAY_S = 10.0
"""An arrival further from its neighbours than this is a wild stamp."""


@dataclass
class Spread:
    """Mean and standard deviation of one channel's values (Welford 1962, by parts)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: F64) -> None:
        """Add values, (n,)."""
        with np.errstate(over="ignore", invalid="ignore"):
            n, mean = len(values), float(values.mean())
            squares = float(np.square(values - mean).sum())
        off, total = mean - self.mean, self.count + n
        self.squares += squares + off * off * self.count * n / total
        self.mean += off * n / total
        self.count = total

    @property
    def sd(self) -> float:
        """Standard deviation; 0 where it is not known."""
        found = sqrt(self.squares / self.count) if self.count and self.squares > 0 else 0.0
        return found if isfinite(found) else 0.0


@dataclass
class RecordingSurvey:
    """First and last arrival of a recording (s), and the spread of its channels.

    Attributes
    ----------
    spreads : dict
        By rig, source and key.
    """

    first: float = nan
    last: float = nan
    spreads: dict[tuple[str, str, str], Spread] = field(default_factory=dict)

    @staticmethod
    def of(parts: Iterable[Part]) -> RecordingSurvey:
        """Return the survey of a recording."""
        found, arrivals = RecordingSurvey(), Arrivals(MAX_DELAY_S)
        for rows, _ in parts:
            wild = arrivals.judge(rows.rx, rows.line, end=True).wild
            sound = rows.rx[~wild & np.isfinite(rows.rx)]
            if len(sound):
                found.first = min(float(sound.min()), found.first if isfinite(found.first) else inf)
                found.last = max(float(sound.max()), found.last if isfinite(found.last) else -inf)
            known = (rows.name >= 0) & np.isfinite(rows.value)
            for number in np.unique(rows.name[known]).tolist():
                spread = found.spreads.setdefault(_owner(rows.names, number), Spread())
                spread.add(rows.value[known & (rows.name == number)])
        return found


@dataclass
class Counts:
    """Numbers of events in a changed recording."""

    events: int = 0
    changed: int = 0
    removed: int = 0


class Rewriter:
    """Applies a fault to a recording.

    Parameters
    ----------
    fault : Disturbance
    survey : RecordingSurvey
        Of the same recording.

    Attributes
    ----------
    counts : Counts
        Grows while parts are read.
    """

    def __init__(self, fault: Disturbance, survey: RecordingSurvey) -> None:
        self._fault, self._spreads = fault, survey.spreads
        self.begin, self.end = survey.first + fault.at_s, survey.first + fault.end_s
        self.counts = Counts()

    def parts(self, reading: Reading) -> Iterator[Part]:
        """Yield the changed recording.

        Parameters
        ----------
        reading : callable
            Begins a reading; called twice for a change of the tempo.
        """
        readings = [self._changed(reading())]
        if self._fault.tempo is not None:
            readings.append(self._at_tempo(reading()))
        # Columnar files need the lines in order.
        line = 0
        for rows, details in _merged(readings):
            numbers = line + _lines(rows)
            line = int(numbers[-1])
            yield replace(rows, line=numbers), details

    def _changed(self, parts: Iterable[Part]) -> Iterator[_Keyed]:
        """Yield the rows with the fault, in order of the file."""
        rng = np.random.default_rng([self._fault.seed, 15])
        arrivals, hit = Arrivals(MAX_DELAY_S), _Hit(self._fault)
        for rows, details in parts:
            judged = arrivals.judge(rows.rx, rows.line, end=True)
            of_line = _lines(rows)
            in_window = hit.rows(rows) & ~judged.wild & (rows.rx >= self.begin)
            if self._fault.tempo is None:
                in_window &= rows.rx < self.end
            first = _firsts(rows)
            self.counts.events += int((first & (rows.name >= 0)).sum())
            key = judged.merge_time.copy()
            horizon = arrivals.merge_time
            if self._fault.tempo is not None:
                whole = np.unique(of_line[in_window])
                yield _Keyed.of(rows, details, key, horizon, ~np.isin(of_line, whole))
                continue
            yield self._faulted(rows, details, key, horizon, in_window, of_line, rng)

    def _faulted(
        self,
        rows: DecodedRows,
        details: LineDetails,
        key: F64,
        horizon: float,
        in_window: Bool,
        of_line: I64,
        rng: np.random.Generator,
    ) -> _Keyed:
        """Return a part with the fault."""
        mode, kept = self._fault.mode, np.ones(len(rows), np.bool_)
        lines = np.unique(of_line[in_window])
        self.counts.changed += len(lines)
        if mode in ("delay", "jitter"):
            later = np.full(len(lines), DELAY_S)
            if mode == "jitter":
                later = rng.uniform(*JITTER_S, len(lines))
            moved = np.zeros(len(rows))
            moved[in_window] = later[np.searchsorted(lines, of_line[in_window])]
            rows = _later(rows, moved)
            key = key + moved
        elif mode == "spike":
            value = rows.value.copy()
            value[in_window] = self._noisy(rows, np.flatnonzero(in_window), rng)
            rows = replace(rows, value=value)
        elif mode == "step":
            rows = replace(rows, ts=np.where(in_window & rows.stamped, rows.ts + STEP_S, rows.ts))
        else:
            gone = lines if mode == "stop" else lines[rng.random(len(lines)) < LOSS]
            kept = ~np.isin(of_line, gone)
            self.counts.removed += len(gone)
            self.counts.changed -= len(lines)
        return _Keyed.of(rows, details, key, horizon, kept)

    def _noisy(self, rows: DecodedRows, at: I64, rng: np.random.Generator) -> F64:
        """Return the values of rows with noise."""
        values, names = rows.value[at], rows.name[at]
        # Each event has a draw, whether it is a number or not.
        noise = rng.standard_normal(len(at))
        for number in np.unique(names).tolist():
            owner, mine = _owner(rows.names, number), names == number
            if self._fault.entropy is not None and owner[2] == REPORTED:
                values[mine] = self._fault.entropy
            elif owner in self._spreads:
                values[mine] += NOISE_SD * self._spreads[owner].sd * noise[mine]
        return values

    def _at_tempo(self, parts: Iterable[Part]) -> Iterator[_Keyed]:
        """Yield the rows of the window alone, at their new times.

        With a channel's first event in the window at a, and b = a + tempo duration:
        t' = a + (t - a) / tempo up to b, then t - (b - a) (1 - 1 / tempo), on the sender's clock
        where it has one. The arrival moves as much as the stamp.
        """
        tempo = self._fault.tempo or 1.0
        length = self._fault.for_s * tempo or inf
        first: dict[tuple[str, str, str], float] = {}
        arrivals, hit = Arrivals(MAX_DELAY_S), _Hit(self._fault)
        newest = -inf
        for rows, details in parts:
            judged = arrivals.judge(rows.rx, rows.line, end=True)
            mine = hit.rows(rows) & ~judged.wild & (rows.rx >= self.begin)
            moved = np.zeros(len(rows))
            time = np.where(np.isnan(rows.ts), rows.rx, rows.ts)
            for number in np.unique(rows.name[mine]).tolist():
                at = mine & (rows.name == number)
                begin = first.setdefault(_owner(rows.names, number), float(time[at][0]))
                moved[at] = -np.clip(time[at] - begin, 0, length) * (1 - 1 / tempo)
            rows = replace(rows, ts=rows.ts + moved, rx=rows.rx + moved)
            if mine.any():
                newest = max(newest, float(rows.rx[mine].max()))
            self.counts.changed += int((_firsts(rows) & mine).sum())
            # A later row may arrive before the newest one by the queueing of the network.
            yield _Keyed.of(rows, details, rows.rx, newest - MAX_DELAY_S, mine)


@dataclass(frozen=True)
class _Keyed:
    """Rows with the time by which they are merged; later ones have at least `horizon`."""

    rows: DecodedRows
    details: LineDetails
    key: F64
    horizon: float

    @staticmethod
    def of(rows: DecodedRows, details: LineDetails, key: F64, horizon: float, kept: Bool) -> _Keyed:
        """Return the kept rows."""
        at = np.flatnonzero(kept)
        details = LineDetails(details.place[at], details.step[at])
        return _Keyed(rows.take(at), details, key[at], horizon)


class _Hit:
    """The channels of a table of names on which a fault is."""

    def __init__(self, fault: Disturbance) -> None:
        self._fault = fault
        self._names: Names | None = None
        self._hit: list[bool] = []

    def rows(self, rows: DecodedRows) -> Bool:
        """Return whether the fault is on each row, (n,)."""
        if rows.names is not self._names:
            self._names, self._hit = rows.names, []
        for source, key in rows.names.channels[len(self._hit) :]:
            self._hit.append(self._fault.hits(source, key))
        # The last entry, of index -1, is that of rows without a channel.
        return np.array([*self._hit, False])[np.maximum(rows.name, -1)]


@dataclass
class _Pool:
    """Rows of one reading that wait for those of smaller keys."""

    rows: DecodedRows | None = None
    details: LineDetails | None = None
    key: F64 = field(default_factory=lambda: np.empty(0))
    horizon: float = -inf
    ended: bool = False


def _merged(readings: list[Iterator[_Keyed]]) -> Iterator[Part]:
    """Yield the rows of readings by their keys, each reading in its own order where equal."""
    pools = [_Pool() for _ in readings]
    names = Names("")
    while True:
        horizons = [inf if pool.ended else pool.horizon for pool in pools]
        # The reading that is behind goes on.
        which = horizons.index(min(horizons))
        pool = pools[which]
        if pool.ended:
            yield from _taken(pools, inf, names)
            return
        more = next(readings[which], None)
        if more is None:
            pool.ended = True
            continue
        if names.rigs[0] != more.rows.names.rigs[0] or names.rotated() is not names:
            names = Names(more.rows.names.rigs[0])
        _add(pool, more, names)
        yield from _taken(pools, min(inf if p.ended else p.horizon for p in pools), names)


def _add(pool: _Pool, more: _Keyed, names: Names) -> None:
    pool.horizon = max(pool.horizon, more.horizon)
    rows, details, key = more.rows.renamed(names), more.details, more.key
    if pool.rows is not None and pool.details is not None:
        rows = DecodedRows.join([pool.rows.renamed(names), rows])
        details = LineDetails(
            np.concatenate((pool.details.place, details.place)),
            np.concatenate((pool.details.step, details.step)),
        )
        key = np.concatenate((pool.key, key))
    pool.rows, pool.details, pool.key = rows, details, key


def _taken(pools: list[_Pool], before: float, names: Names) -> Iterator[Part]:
    """Yield the rows with keys below `before`, and take them from the pools."""
    rows, places, steps, keys = [], [], [], []
    for pool in pools:
        if pool.rows is None or pool.details is None:
            continue
        due = pool.key < before if before < inf else np.ones(len(pool.key), np.bool_)
        now, later = np.flatnonzero(due), np.flatnonzero(~due)
        rows.append(pool.rows.take(now).renamed(names))
        places.append(pool.details.place[now])
        steps.append(pool.details.step[now])
        keys.append(pool.key[now])
        pool.rows, pool.key = pool.rows.take(later), pool.key[later]
        pool.details = LineDetails(pool.details.place[later], pool.details.step[later])
    if not rows or not sum(map(len, rows)):
        return
    order = np.argsort(np.concatenate(keys), kind="stable")
    details = LineDetails(np.concatenate(places)[order], np.concatenate(steps)[order])
    yield DecodedRows.join(rows).take(order), details


def _later(rows: DecodedRows, by: F64) -> DecodedRows:
    """Return rows that arrive later; the only time of rows without a sender's stamp moves."""
    ts = np.where(rows.stamped | (by == 0), rows.ts, rows.ts + by)
    return replace(rows, rx=np.where(by == 0, rows.rx, rows.rx + by), ts=ts)


def _lines(rows: DecodedRows) -> I64:
    """Return the number of each row's line within its part, (n,)."""
    return np.asarray(np.cumsum(_firsts(rows)))


def _firsts(rows: DecodedRows) -> Bool:
    """Return whether each row is the first of its line, (n,)."""
    first = np.ones(len(rows), np.bool_)
    first[1:] = rows.line[1:] != rows.line[:-1]
    return first


def _owner(names: Names, number: int) -> tuple[str, str, str]:
    return (names.rigs[int(names.rig_of()[number])], *names.channels[number])
