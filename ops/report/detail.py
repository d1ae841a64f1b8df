"""A short stretch of a run, sample by sample: as stamped, as it arrived, and aligned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from operators.types import F64
from ops.report.ticks import TickStats
from ops.results.lines import LineReader, SampleLine, TickLine

WIDTH_S, MIN_TICKS = 12.0, 60
FURTHEST_S = 60.0
"""Stamps further from host time than this (s) belong to another epoch."""
MAX_SAMPLES = 200_000
MAX_COMPARED = 16
_AXES = ("source_ts", "rx", "ts")
_SAME_S = 1e-4


def width_s(tick_hz: float) -> float:
    """Return the length (s) of the stretch."""
    return max(WIDTH_S, MIN_TICKS / tick_hz) if tick_hz > 0 else WIDTH_S


@dataclass
class Detail:
    """One signal from `begin` to `end` (host s).

    Attributes
    ----------
    samples : dict
        By channel, then by time axis: time and value (n,).
    time, value, sd : float64 (k,)
        The fused ticks.
    apart : dict
        By time axis: RMS difference between channels, interpolated to the ticks; NaN with
        fewer than two comparable channels.
    """

    begin: float
    end: float
    samples: dict[str, dict[str, tuple[F64, F64]]]
    time: F64
    value: F64
    sd: F64
    apart: dict[str, float]

    @property
    def own_stamps(self) -> bool:
        """Whether two or more channels have stamps other than their arrival."""
        drawn = [axes for axes in self.samples.values() if len(axes["source_ts"][0]) > 1]
        own = any(not _equal(axes["source_ts"], axes["rx"]) for axes in drawn)
        return own and len(drawn) > 1


def stretch(course: TickStats) -> tuple[float, float] | None:
    """Return the end of the longest spell with the largest number of live channels."""
    if course.best is None:
        return None
    begin, end = course.best
    return max(begin, end - width_s(course.tick_hz)), end


def windows(
    reader: LineReader, course: TickStats, offsets: Mapping[str, float]
) -> dict[str, Detail]:
    """Return a window for each signal with written samples.

    Parameters
    ----------
    offsets : mapping
        Newest clock offset (s) by channel.
    """
    there = stretch(course)
    if there is None or not reader.has("aligned"):
        return {}
    begin, end = there
    furthest = max((abs(s) for s in offsets.values() if abs(s) <= FURTHEST_S), default=0.0)
    members = {channel for names in course.channels.values() for channel in names}
    rows: dict[str, list[tuple[float, ...]]] = {}
    count = 0
    for line in reader.near("aligned", SampleLine, begin - furthest, end + furthest):
        complete = None not in (line.value, line.rx, line.source_ts)
        if line.channel in members and count < MAX_SAMPLES and complete:
            rows.setdefault(line.channel, []).append(
                (line.source_ts, line.rx, line.ts, line.value)  # type: ignore[arg-type]
            )
            count += 1
    ticks = [line for line in reader.near("fused", TickLine, begin, end) if begin <= line.ts <= end]
    samples = {channel: _axes(np.array(mine), begin, end) for channel, mine in rows.items()}
    found = {}
    for signal, channels in course.channels.items():
        mine = {channel: samples[channel] for channel in channels if channel in samples}
        if mine:
            found[signal] = _window(signal, mine, ticks, begin, end)
    return found


def _axes(rows: F64, begin: float, end: float) -> dict[str, tuple[F64, F64]]:
    """Return a channel's samples within the stretch on each of the three time axes."""
    out = {}
    for i, axis in enumerate(_AXES):
        time = rows[:, i]
        inside = (time >= begin) & (time <= end)
        order = np.argsort(time[inside], kind="stable")
        out[axis] = time[inside][order], rows[inside, 3][order]
    return out


def _window(
    signal: str,
    samples: dict[str, dict[str, tuple[F64, F64]]],
    ticks: Sequence[TickLine],
    begin: float,
    end: float,
) -> Detail:
    values = [(t.ts, s.value, s.sd) for t in ticks if (s := t.signals.get(signal)) is not None]
    time, value, sd = np.array(values, dtype=float).reshape(-1, 3).T
    apart = {axis: _apart([axes[axis] for axes in samples.values()], time) for axis in _AXES}
    return Detail(begin, end, samples, time, value, sd, apart)


def _apart(series: list[tuple[F64, F64]], time: F64) -> float:
    """Return the RMS difference between channels at `time` (k,), over all pairs.

    d = sqrt(mean over pairs (i, j) and ticks t of (x_i(t) - x_j(t))^2)
    """
    read = [_at(*one, time) for one in series[:MAX_COMPARED] if len(one[0]) > 1]
    squares = [(a - b) ** 2 for a, b in combinations(read, 2)]
    known = np.concatenate(squares) if squares else np.empty(0)
    known = known[np.isfinite(known)]
    return float(np.sqrt(known.mean())) if len(known) else float("nan")


def _at(time: F64, value: F64, ticks: F64) -> F64:
    """Return a series interpolated at `ticks` (k,), NaN in holes and beyond its ends.

    A hole is an interval above max(1 s, 3 median intervals).
    """
    read = np.interp(ticks, time, value, left=np.nan, right=np.nan)
    after = np.clip(np.searchsorted(time, ticks), 1, len(time) - 1)
    interval = np.median(np.diff(time))
    hole = time[after] - time[after - 1] > max(1.0, 3 * interval)
    return np.where(hole, np.nan, read)


def _equal(one: tuple[F64, F64], other: tuple[F64, F64]) -> bool:
    return len(one[0]) == len(other[0]) and bool(np.all(np.abs(one[0] - other[0]) < _SAME_S))
