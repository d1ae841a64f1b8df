"""Arrival check: detection of implausible arrival stamps in a file.

Each arrival is compared with the reference arrival: the newest accepted one since the last gap. A
line further away than `max_delay_s`, either way, is doubtful and held until later lines decide. A
plausible line makes the held ones wild. Five doubtful lines in a row are a gap, and the reference
moves there. Of these five, lines before a step back of more than `max_delay_s` are wild: a single
stamp far ahead that meets a gap does not set the reference. A leap of more than `max_gap_s` ahead
of all accepted arrivals is never a gap: each of its ticks would be written.

The first line has no reference: it is held until another line agrees with it. Verdicts are on
lines, since the elements of an array share one stamp.

State: three numbers and up to five verdicts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from operators.types import F64, I64, Bool

GAP_LINES = 5
_UNKNOWN = float("-inf")
_FIRST_STEP = 64
_MAX_HELD_ROWS = 65_536
"""After so many held rows a doubtful line is wild: the state is bounded."""


class _FittedLine(NamedTuple):
    start: int
    stop: int
    rx: float


class _Group(NamedTuple):
    """Lines with a common verdict; it covers all rows up to `stop`.

    `by`: the first row of the line that decided; the number of rows if the end did.
    """

    lines: list[_FittedLine]
    wild: list[bool]
    reference_arrival: float
    stop: int
    by: int


class ArrivalVerdicts:
    """Verdicts on rows, of which the first `count` are final; columns as in `Arrived`.

    `by`: the row that decided on each row; the number of rows if the end did.
    """

    def __init__(self, n: int) -> None:
        self.count = 0
        self.wild: Bool = np.zeros(n, np.bool_)
        self.merge_time: F64 = np.empty(n)
        self.reference_arrival: F64 = np.empty(n)
        self.calm: Bool = np.ones(n, np.bool_)
        self.by: I64 = np.arange(n)


@dataclass(slots=True)
class Arrivals:
    """The arrival check of one file: its state before the next line.

    Attributes
    ----------
    max_delay_s, max_gap_s : float
        Largest accepted difference of a single line; longest accepted silence (s).
    reference_arrival : float
        Newest accepted arrival since the last gap; -inf before the first.
    merge_time : float
        Newest accepted arrival of all.
    verdicts : list of bool
        Whether the next lines are wild, as far as that is decided.
    """

    max_delay_s: float
    max_gap_s: float = float("inf")
    reference_arrival: float = _UNKNOWN
    merge_time: float = _UNKNOWN
    verdicts: list[bool] = field(default_factory=list)

    def judge(self, rx: F64, line: I64, end: bool) -> ArrivalVerdicts:
        """Check the next rows of the file.

        Parameters
        ----------
        rx : float64 (n,)
            NaN for rejects, which are not checked but keep their place.
        line : int64 (n,)
        end : bool
            These rows are the last ones.

        Returns
        -------
        ArrivalVerdicts
            Of the rows that can be decided; the caller repeats the others with the next ones.
        """
        judged = ArrivalVerdicts(len(rx))
        at, step = 0, _FIRST_STEP
        while at < len(rx):
            if not self.verdicts and self.reference_arrival > _UNKNOWN:
                stop = at + step
                at = self._accept(judged, rx, at, min(stop, len(rx)))
                if at == stop or at == len(rx):
                    step *= 4
                    continue
                step = _FIRST_STEP
            group = self._decide(_lines(rx, line, at), len(rx), end)
            if group is None:
                break
            self._enter(judged, at, group)
            at = group.stop
        judged.count = at
        return judged

    def _accept(self, judged: ArrivalVerdicts, rx: F64, at: int, stop: int) -> int:
        """Accept rows up to the first doubtful one.

        reference[i] = max(reference[i - 1], rx[i]); doubtful: |rx[i] - reference[i - 1]| > delay
        """
        part = rx[at:stop]
        reference = np.empty(len(part) + 1)
        reference[0] = self.reference_arrival
        np.fmax.accumulate(np.concatenate(([self.reference_arrival], part)), out=reference)
        doubtful = np.flatnonzero(np.abs(part - reference[:-1]) > self.max_delay_s)
        n = int(doubtful[0]) if len(doubtful) else len(part)
        judged.reference_arrival[at : at + n] = reference[1 : n + 1]
        np.maximum(reference[1 : n + 1], self.merge_time, out=judged.merge_time[at : at + n])
        self.reference_arrival = float(reference[n])
        self.merge_time = max(self.merge_time, self.reference_arrival)
        return at + n

    def _decide(self, lines: Iterator[_FittedLine], n: int, end: bool) -> _Group | None:
        """Return the next lines with a verdict; None if it depends on later lines."""
        if self.verdicts:
            given = [line for line, _ in zip(_with_rx(lines), self.verdicts, strict=False)]
            if len(given) < len(self.verdicts) and not end:
                return None
            wild, self.verdicts = self.verdicts[: len(given)], []
            stop = given[-1].stop if given else n
            return _Group(given, wild, self.reference_arrival, stop, stop - 1)
        held: list[_FittedLine] = []
        for line in lines:
            if held and line.start - held[0].start > _MAX_HELD_ROWS:
                return self._give_up(held, line.start)
            if np.isnan(line.rx):
                if not held:
                    return _Group([], [], self.reference_arrival, line.stop, line.start)
                continue
            if self.reference_arrival > _UNKNOWN:
                if abs(line.rx - self.reference_arrival) <= self.max_delay_s:
                    return self._give_up(held, line.start)
            else:
                agrees = [abs(line.rx - other.rx) <= self.max_delay_s for other in held]
                if any(agrees):
                    first = agrees.index(True)
                    wild = [i != first for i in range(len(held))]
                    return _Group(held, wild, held[first].rx, line.start, line.start)
            held.append(line)
            if len(held) == GAP_LINES:
                return self._gap(held)
        return self._give_up(held, n) if end and held else None

    def _give_up(self, held: list[_FittedLine], stop: int) -> _Group:
        """Reject the held lines; without a reference the first one is accepted."""
        if self.reference_arrival > _UNKNOWN:
            return _Group(held, [True] * len(held), self.reference_arrival, stop, stop)
        return _Group(held, [i > 0 for i in range(len(held))], held[0].rx, stop, stop)

    def _gap(self, held: list[_FittedLine]) -> _Group:
        """Accept five lines in a row, except those before a step back."""
        first = GAP_LINES - 1
        while first and held[first].rx >= held[first - 1].rx - self.max_delay_s:
            first -= 1
        reference = max(line.rx for line in held[first:])
        if reference - self.merge_time > self.max_gap_s and self.merge_time > _UNKNOWN:
            reference, first = self.reference_arrival, GAP_LINES
        wild = [i < first for i in range(GAP_LINES)]
        return _Group(held, wild, reference, held[-1].stop, held[-1].start)

    def _enter(self, judged: ArrivalVerdicts, at: int, group: _Group) -> None:
        """Enter a verdict."""
        rows = slice(at, group.stop)
        judged.merge_time[rows] = self.merge_time
        for line, wild in zip(group.lines, group.wild, strict=True):
            judged.wild[line.start : line.stop] = wild
            if not wild:
                self.merge_time = max(self.merge_time, line.rx)
                judged.merge_time[line.start : group.stop] = self.merge_time
        judged.reference_arrival[rows] = self.reference_arrival = group.reference_arrival
        judged.calm[at : group.stop - 1] = not group.lines
        judged.by[rows] = group.by


def _lines(rx: F64, line: I64, at: int) -> Iterator[_FittedLine]:
    """Yield the lines from a row on; rx is NaN for a line of rejects only."""
    while at < len(rx):
        stop = at + 1
        while stop < len(rx) and line[stop] == line[at]:
            stop += 1
        stamps = rx[at:stop]
        known = stamps[~np.isnan(stamps)]
        yield _FittedLine(at, stop, float(known[0]) if len(known) else float("nan"))
        at = stop


def _with_rx(lines: Iterator[_FittedLine]) -> Iterator[_FittedLine]:
    return (line for line in lines if not np.isnan(line.rx))
