"""Which arrival stamps of a file are beyond belief.

Every arrival is compared with the running arrival: the newest accepted one since the last gap.
Further away than `max_delay_s`, either way, it is in doubt and held until the next lines tell:
a line that is not in doubt makes the held ones wild; five in a row are a gap, and the running
arrival moves there. Of these five, what lies before a fall back of more than `max_delay_s` is
wild all the same: a lone stamp far ahead that meets a gap does not lead the others. A leap of
more than `most_gap_s` ahead of all is never a gap: every tick of it would have to be written.

The first line has nothing to be compared with: it is held until another one agrees with it.
Verdicts are on lines, since the elements of an array share one stamp.

State: three numbers and up to five verdicts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from operators.types import F64, I64, Bool

GAP = 5
_UNKNOWN = float("-inf")
_FIRST_STEP = 64
_MAX_HELD_ROWS = 65_536
"""With so many rejects behind it, a line in doubt is wild: room is bounded."""


class _FittedLine(NamedTuple):
    start: int
    stop: int
    rx: float


class _Group(NamedTuple):
    """Lines on which one verdict is passed, and all rows up to `stop` with them."""

    lines: list[_FittedLine]
    wild: list[bool]
    reference_arrival: float
    stop: int


class ArrivalVerdicts:
    """Verdicts on rows, of which the first `count` are final; columns as in `Arrived`."""

    def __init__(self, n: int) -> None:
        self.count = 0
        self.wild: Bool = np.zeros(n, np.bool_)
        self.merge_time: F64 = np.empty(n)
        self.reference_arrival: F64 = np.empty(n)
        self.calm: Bool = np.ones(n, np.bool_)


@dataclass(slots=True)
class Arrivals:
    """What is known before the next line of a file.

    Attributes
    ----------
    max_delay_s, most_gap_s : float
        What is believed of a single line; the longest silence (s).
    reference_arrival : float
        Newest accepted arrival since the last gap; -inf before the first.
    merge_time : float
        Newest accepted arrival of all.
    verdicts : list of bool
        Whether the next lines are wild, where that is decided already.
    """

    max_delay_s: float
    most_gap_s: float = float("inf")
    reference_arrival: float = _UNKNOWN
    merge_time: float = _UNKNOWN
    verdicts: list[bool] = field(default_factory=list)

    def judge(self, rx: F64, line: I64, end: bool) -> ArrivalVerdicts:
        """Judge the next rows of the file.

        Parameters
        ----------
        rx : float64 (n,)
            NaN for rejects, which are not judged but keep their place.
        line : int64 (n,)
        end : bool
            Nothing comes after these rows.

        Returns
        -------
        Judged
            Of as many rows as can be judged; the others are to be shown again with the next.
        """
        judged = ArrivalVerdicts(len(rx))
        at, step = 0, _FIRST_STEP
        while at < len(rx):
            if not self.verdicts and self.reference_arrival > _UNKNOWN:
                stop = at + step
                at = self._believe(judged, rx, at, min(stop, len(rx)))
                if at == stop or at == len(rx):
                    step *= 4
                    continue
                step = _FIRST_STEP
            group = self._decide(_lines(rx, line, at), len(rx), end)
            if group is None:
                break
            self._settle(judged, at, group)
            at = group.stop
        judged.count = at
        return judged

    def _believe(self, judged: ArrivalVerdicts, rx: F64, at: int, stop: int) -> int:
        """Accept rows up to the first that is in doubt."""
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
        """Find the next lines on which a verdict can be passed; None if more have to come."""
        if self.verdicts:
            given = [line for line, _ in zip(_with_rx(lines), self.verdicts, strict=False)]
            if len(given) < len(self.verdicts) and not end:
                return None
            wild, self.verdicts = self.verdicts[: len(given)], []
            return _Group(given, wild, self.reference_arrival, given[-1].stop if given else n)
        held: list[_FittedLine] = []
        for line in lines:
            if held and line.start - held[0].start > _MAX_HELD_ROWS:
                return self._give_up(held, line.start)
            if np.isnan(line.rx):
                if not held:
                    return _Group([], [], self.reference_arrival, line.stop)
                continue
            if self.reference_arrival > _UNKNOWN:
                if abs(line.rx - self.reference_arrival) <= self.max_delay_s:
                    return self._give_up(held, line.start)
            else:
                agrees = [abs(line.rx - other.rx) <= self.max_delay_s for other in held]
                if any(agrees):
                    first = agrees.index(True)
                    wild = [i != first for i in range(len(held))]
                    return _Group(held, wild, held[first].rx, line.start)
            held.append(line)
            if len(held) == GAP:
                return self._gap(held)
        return self._give_up(held, n) if end and held else None

    def _give_up(self, held: list[_FittedLine], stop: int) -> _Group:
        """Reject what is held; where nothing was known before, the first line is believed."""
        if self.reference_arrival > _UNKNOWN:
            return _Group(held, [True] * len(held), self.reference_arrival, stop)
        return _Group(held, [i > 0 for i in range(len(held))], held[0].rx, stop)

    def _gap(self, held: list[_FittedLine]) -> _Group:
        """Believe five lines in a row, but for those before a fall back."""
        first = GAP - 1
        while first and held[first].rx >= held[first - 1].rx - self.max_delay_s:
            first -= 1
        reference = max(line.rx for line in held[first:])
        if reference - self.merge_time > self.most_gap_s and self.merge_time > _UNKNOWN:
            return _Group(held, [True] * GAP, self.reference_arrival, held[-1].stop)
        return _Group(held, [i < first for i in range(GAP)], reference, held[-1].stop)

    def _settle(self, judged: ArrivalVerdicts, at: int, group: _Group) -> None:
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


def _lines(rx: F64, line: I64, at: int) -> Iterator[_FittedLine]:
    """Yield the lines from a row on; rx is NaN for one that is nothing but rejects."""
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
