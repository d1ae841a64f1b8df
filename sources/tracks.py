"""What an XDF file's streams say, on the recorder's clock.

A stream's stamps become host time by the readings of its clock (`two_way`), a part of the clock
after the other; those of a stream with a nominal rate are then freed from jitter (`even`).

Cost: about 1 us a sample. State: none.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from operators.records import F64, I64, Bool
from sources.even import Readings, even
from sources.line import MAX_STAMP_S
from sources.names import LONGEST
from sources.two_way import Course, courses

READINGS = "clock_offset"
SLACK_S = 60.0
"""Samples come so long before a clock's first reading or after its last."""
BACK = 2.0
"""How much odder, than a gap that is longer than usual, one is that runs back."""


@dataclass(frozen=True, slots=True)
class Track:
    """One stream, or the readings of its clock.

    Attributes
    ----------
    source : str
    keys : tuple of str
        A channel each.
    ts, rx : float64 (n,)
        Raw stamps and host time (s), in the order of the file.
    values : (n, channels)
        Numbers of any type, or texts.
    stamped : bool
        `rx` was measured for each row.
    """

    source: str
    keys: tuple[str, ...]
    ts: F64
    rx: F64
    values: Any
    stamped: bool = False


@dataclass(frozen=True, slots=True)
class Clock:
    """A stream's clock: the parts between its resets.

    Attributes
    ----------
    parts : list of Course
        One at least.
    host : list of (float, float)
        Host time (s) of each part's first and last reading.
    at, offset : float64 (m,)
        The readings (s).
    edges : list of int
        Where the parts begin among them, and their number.
    """

    parts: list[Course]
    host: list[tuple[float, float]]
    at: F64
    offset: F64
    edges: list[int]

    @staticmethod
    def read(at: F64, offset: F64) -> Clock:
        """Follow a clock through all its readings, in their order."""
        parts, edges = courses(at, offset)
        known = [(at + offset)[a:b] for a, b in pairwise(edges.tolist())]
        host = [(float(h.min()), float(h.max())) for h in known]
        return Clock(parts, host, at, offset, edges.tolist())

    def _part_of(self, stamps: F64) -> I64:
        """Return for each stamp, in the order of the file, the part of the clock it is from.

        A part ends where the stamps jump as the offset does, among the places that agree with
        when readings were taken.
        """
        part = np.zeros(len(stamps), np.int64)
        if len(self.parts) == 1 or len(stamps) < 2:
            return part
        apart = np.diff(stamps)
        usual = float(np.median(apart))
        first = 0
        for k, (old, new) in enumerate(zip(self.parts, self.parts[1:], strict=False)):
            s = stamps[first:]
            before, after = s + old(s), s + new(s)
            (begin, end), (next_begin, next_end) = self.host[k : k + 2]
            not_old = (before < begin - SLACK_S) | (before > next_begin)
            not_new = (after < end) | (after > next_end + SLACK_S)
            wrong = np.zeros(len(s) + 1, np.int64)
            wrong[1:] = np.cumsum(not_old)
            wrong[:-1] += np.cumsum(not_new[::-1])[::-1]
            best = np.flatnonzero(wrong == wrong.min())
            cut = int(best[len(best) // 2])
            inner = best[(best > 0) & (best < len(s))]
            if len(inner):
                d = apart[first + inner - 1]
                step = (after - before)[inner]
                gain = _odd(d + step, usual) - _odd(d, usual)
                if gain.min() < 0:
                    cut = int(inner[np.argmin(gain)])
            first += cut
            part[first:] = k + 1
        return part

    def host_time(self, stamps: F64) -> tuple[F64, Readings]:
        """Return stamps, in the order of the file, as host time (s), and how sure that is."""
        part = self._part_of(stamps)
        host, sd = stamps.copy(), np.zeros(len(stamps))
        at, left = [], []
        for k, (course, (first, last)) in enumerate(
            zip(self.parts, pairwise(self.edges), strict=True)
        ):
            mine, asked = part == k, self.at[first:last]
            host[mine] += course(stamps[mine])
            sd[mine] = course.sd(stamps[mine])
            at.append(asked + course(asked))
            left.append(self.offset[first:last] - course(asked))
        return host, Readings(sd, np.concatenate(at), np.concatenate(left))


def _odd(gap: F64, usual: float) -> F64:
    """Return how odd a gap between samples is (s), three times as odd where time runs back."""
    return np.asarray(np.abs(gap - usual) + BACK * np.maximum(-gap, 0.0))


def tracks(streams: list[dict[str, Any]]) -> list[Track]:
    """Return what pyxdf has read, on the recorder's clock.

    Parameters
    ----------
    streams : list of dict
        As `pyxdf.load_xdf` returns them, without its synchronisation and dejittering.
    """
    out: list[Track] = []
    taken: Counter[str] = Counter()
    for stream in streams:
        info = stream["info"]
        source = _unique(str(info["name"][0] or ""), taken, f"stream_{info['stream_id']}")
        keys = _keys(info)
        ts = np.asarray(stream["time_stamps"], np.float64)
        at = np.array(stream["clock_times"], np.float64)
        offset = np.array(stream["clock_values"], np.float64)
        fine = is_stamp(ts)
        rx, readings = ts.copy(), None
        told = is_stamp(at) & is_stamp(at + offset)
        if told.any():
            rx[fine], readings = Clock.read(at[told], offset[told]).host_time(ts[fine])
        if float(info["nominal_srate"][0]) > 0 and not _may_drop(info):
            rx[fine] = even(rx[fine], float(info["nominal_srate"][0]), readings)
        out.append(Track(source, keys, ts, rx, stream["time_series"]))
        if len(at):
            out.append(Track(source, (READINGS,), at, at + offset, offset[:, None], stamped=True))
    return out


def is_stamp(stamps: F64) -> Bool:
    """Return which stamps are believable numbers."""
    return np.asarray(np.abs(stamps) <= MAX_STAMP_S, bool)  # False for NaN


def _unique(name: str, taken: Counter[str], otherwise: str) -> str:
    """Return a name that can stand in a configuration and that nothing else has."""
    name = name.strip().replace(":", "_")[: LONGEST - 8] or otherwise
    while taken[name]:
        taken[name] += 1
        name = f"{name}_{taken[name]}"
    taken[name] += 1
    return name


def _keys(info: dict[str, Any]) -> tuple[str, ...]:
    """Return a name for each channel: its label, else its number."""
    labels: list[str] = []
    with suppress(KeyError, IndexError, TypeError):
        said = info["desc"][0]["channels"][0]["channel"]
        labels = [str(channel["label"][0] or "") for channel in said]
    taken = Counter({READINGS: 1})
    count = int(info["channel_count"][0])
    labels += [""] * (count - len(labels))
    return tuple(_unique(label, taken, f"ch{i + 1}") for i, label in enumerate(labels[:count]))


def _may_drop(info: dict[str, Any]) -> bool:
    """Whether the sender says that its samples are not evenly spaced."""
    try:
        said = info["desc"][0]["synchronization"][0]["can_drop_samples"][0]
    except (KeyError, IndexError, TypeError):
        return False
    return str(said).lower() == "true"
