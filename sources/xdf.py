"""An XDF file (LabRecorder, Lab Streaming Layer) as rows of a recording.

A stream is a source, each of its channels a channel. `ts` is the raw stamp. LabRecorder asks each
stream's host for its clock every few seconds, to and fro, and writes the answers down: readings
of host - source at a source time (`two_way`). What has been read so of a clock says more than any
one-way arrival could, and the file has no arrivals: `rx` is the raw stamp plus the offset that the
readings of the whole file give it; of a stream with a nominal rate the jitter of the stamps
themselves is taken out too (`even`). These rows bear no evidence of their own (`stamped` is
False). The readings do: each is a row of the channel `clock_offset` of its source, stamped, from
which `drift` works out what it reports of the clock, where the configuration uses that channel.
A stream without readings keeps its stamps: its clock is taken to be the recorder's.

Rows come in the order of `rx`. `line` numbers samples in that order. The host axis is the
recorder's clock; its epoch is that of the file, as a rule the start of the machine.

pyxdf reads a file whole, so that one of more than `MOST_BYTES` is refused.

State: the file's samples as they stand there, and 24 bytes a sample. Cost: pyxdf's, about 3 us a
sample, and 0.1 us a number. Losses: damaged places (`archive`), stamps and numbers that are none.
"""

from __future__ import annotations

import importlib.util
import io
import math
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from operators.records import F64, I64, Bool, Reason, Reject
from sources.chunks import Span, Whole, survey
from sources.even import Readings, even
from sources.line import MAX_LINE, MAX_STAMP_S
from sources.names import LONGEST, REJECT, Names
from sources.recording import Mark
from sources.rows import Rows, no_notes
from sources.two_way import Course, courses

READINGS = "clock_offset"
MOST_BYTES = 1 << 30
SLACK_S = 60.0
"""Samples come so long before a clock's first reading or after its last."""
_MOST_ROWS = 65_536
_SAMPLE = 256


def is_xdf(path: str) -> bool:
    """Whether a path is that of an XDF file."""
    return path.lower().endswith((".xdf", ".xdfz", ".xdf.gz"))


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
                gain = np.abs(d + step - usual) - np.abs(d - usual)
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
        fine = _fine(ts)
        rx, readings = ts.copy(), None
        told = _fine(at) & _fine(at + offset)
        if told.any():
            rx[fine], readings = Clock.read(at[told], offset[told]).host_time(ts[fine])
        if float(info["nominal_srate"][0]) > 0 and not _may_drop(info):
            rx[fine] = even(rx[fine], float(info["nominal_srate"][0]), readings)
        out.append(Track(source, keys, ts, rx, stream["time_series"]))
        if len(at):
            out.append(Track(source, (READINGS,), at, at + offset, offset[:, None], stamped=True))
    return out


def _fine(stamps: F64) -> Bool:
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


class Recorded:
    """The rows of tracks, in the order of host time.

    Parameters
    ----------
    path : str
        How the file is called in rejects.
    tracks : list of Track
    damaged : list of Span
        Places of the file that could not be read.
    """

    def __init__(self, path: str, tracks: list[Track], damaged: list[Span]) -> None:
        self._path, self.tracks, self._damaged = path, tracks, damaged
        size = [len(t.ts) for t in tracks]
        of = np.repeat(np.arange(len(tracks), dtype=np.int32), size)
        at = np.concatenate([np.arange(n) for n in size]) if size else np.empty(0, np.int64)
        due = np.concatenate([_filled(t.rx) for t in tracks]) if size else np.empty(0)
        order = np.argsort(due, kind="stable")
        self._of, self._at = of[order], at[order]
        self._width = np.array([len(t.keys) for t in tracks], np.int64)
        self._names: Names | None = None
        self._table: list[Any] = []
        self.samples = len(order)

    def __len__(self) -> int:
        return self.samples + len(self._damaged)

    def rows(self, first: int, names: Names) -> tuple[Rows, int]:
        """Return the rows from a line on, not too many, and the line after them."""
        if first >= self.samples:
            return self._faults(first, names), len(self)
        if names is not self._names:
            self._names = names
            self._table = [np.array([names[None, t.source, k] for k in t.keys], np.int32)
                           for t in self.tracks]  # fmt: skip
        of = self._of[first : first + _MOST_ROWS]
        ends = np.cumsum(self._width[of])
        last = max(int(np.searchsorted(ends, _MOST_ROWS, "right")), 1)
        of, at = of[:last], self._at[first : first + last]
        width = self._width[of]
        which = np.repeat(np.arange(last), width)
        n = len(which)
        name, value = np.empty(n, np.int32), np.empty(n)
        ts, rx, stamped = np.empty(last), np.empty(last), np.zeros(last, bool)
        notes = no_notes(n)
        for k in np.unique(of).tolist():
            track, mine = self.tracks[k], of == k
            mask = mine[which]
            name[mask] = np.tile(self._table[k], int(mine.sum()))
            ts[mine], rx[mine] = track.ts[at[mine]], track.rx[at[mine]]
            stamped[mine] = track.stamped
            if isinstance(track.values, list):
                notes[mask] = [text for i in at[mine].tolist() for text in track.values[i]]
                value[mask] = np.nan
            else:
                value[mask] = track.values[at[mine]].astype(np.float64).ravel()
        rows = Rows(
            names=names, name=name, ts=ts[which], rx=rx[which], value=value,
            stamped=stamped[which], seq=np.full(n, -1), line=first + which, notes=notes,
        )  # fmt: skip
        return self._judged(rows), first + last

    def _judged(self, rows: Rows) -> Rows:
        """Make rejects of what cannot be used; leave notes away where there are none."""
        notes = rows.notes
        assert notes is not None
        text = np.array([isinstance(x, str) for x in notes], bool) if notes.any() else None
        stamp = ~(_fine(rows.ts) & _fine(rows.rx))
        number = ~np.isfinite(rows.value)
        if text is not None:
            number &= ~text
        bad = stamp | number | (rows.name == REJECT)
        long = [] if text is None else [i for i in np.flatnonzero(text).tolist()
                                        if len(notes[i]) > MAX_LINE]  # fmt: skip
        bad[long] = True
        for i in np.flatnonzero(bad).tolist():
            reason: Reason = "stamp" if stamp[i] else "too_long" if i in long else "value"
            source = rows.names.pairs[rows.name[i]][0] if rows.name[i] >= 0 else "?"
            said = notes[i] if isinstance(notes[i], str) else f"ts={rows.ts[i]} {rows.value[i]}"
            notes[i] = Reject(0, reason, source, f"{self._path}:{rows.line[i]}",
                              said[:_SAMPLE].encode()[:_SAMPLE])  # fmt: skip
        for column in (rows.ts, rows.rx, rows.value):
            column[bad] = np.nan
        rows.name[bad] = REJECT
        rows.stamped[bad] = False
        return replace(rows, notes=None) if text is None and not bad.any() else rows

    def _faults(self, first: int, names: Names) -> Rows:
        """Return a reject for each damaged place, from a line on."""
        spans = self._damaged[first - self.samples :]
        n = len(spans)
        notes, nan = no_notes(n), np.full(n, np.nan)
        for i, span in enumerate(spans):
            said = f"{span.stop - span.start} bytes cannot be read".encode()
            notes[i] = Reject(0, "archive", "?", f"{self._path}:{span.start}", said)
        return Rows(
            names=names, name=np.full(n, REJECT, np.int32), ts=nan, rx=nan, value=nan,
            stamped=np.zeros(n, np.bool_), seq=np.full(n, -1),
            line=first + np.arange(n), notes=notes,
        )  # fmt: skip


def _filled(stamps: F64) -> F64:
    """Return stamps with those that are none as the one before, the first as early as can be."""
    fine = _fine(stamps)
    last = np.maximum.accumulate(np.where(fine, np.arange(len(stamps)), -1))
    return np.where(last >= 0, stamps[np.maximum(last, 0)], -math.inf)


def load(path: str) -> Recorded:
    """Read a file.

    Raises
    ------
    OSError
        It cannot be opened.
    ValueError
        It is packed or too large, or pyxdf is not installed.
    """
    if not path.lower().endswith(".xdf"):
        raise ValueError(f"{path}: a packed XDF file cannot be read; unpack it first")
    if importlib.util.find_spec("pyxdf") is None:
        raise ValueError(f"{path}: XDF files need pyxdf: pip install 'lumen-fusion[xdf]'")
    try:
        size = Path(path).stat().st_size
    except FileNotFoundError:
        raise FileNotFoundError(f"recording not found: {path}") from None
    if size > MOST_BYTES:
        raise ValueError(f"{path}: {size / 2**30:.1f} GiB, and no more than"
                         f" {MOST_BYTES >> 30} GiB of an XDF file can be read")  # fmt: skip
    with Path(path).open("rb") as file:
        good, bad = survey(file, size)
    try:
        streams = _streams(path, good)
    except Exception:  # of pyxdf, on what no one has foreseen: bad data never stops the flow
        return Recorded(path, [], [Span(0, size)])
    return Recorded(path, tracks(streams), bad)


def _streams(path: str, good: list[Span]) -> list[dict[str, Any]]:
    """Return what pyxdf makes of the good parts of a file."""
    import pyxdf

    if not good:
        return []
    with io.BufferedReader(Whole(path, good), 1 << 16) as file:
        streams, _ = pyxdf.load_xdf(
            file, synchronize_clocks=False, dejitter_timestamps=False, verbose=False
        )
    return list(streams)


class XdfRecording:
    """An XDF file read from a mark on, as `Recording` reads lines.

    Parameters
    ----------
    path : str
    follow : bool
        Not possible.
    mark : Mark, optional
        Its offset is a line.

    Raises
    ------
    OSError, ValueError
        As `load`; or the file is shorter than the mark says.
    """

    before = 0
    idle = False

    def __init__(self, path: str, follow: bool = False, mark: Mark | None = None) -> None:
        if follow:
            raise ValueError(f"{path}: an XDF file cannot be followed")
        self.path, self.follow = path, bool(follow)
        self._recorded = load(path)
        self.size = Path(path).stat().st_size
        self.at = mark.offset if mark else 0
        if self.at > len(self._recorded):
            raise ValueError(f"{path}: shorter than when it was read ({self.at} samples)")
        self.ended = False

    def read(self) -> list[XdfRecording]:
        """Return itself, for `rows` to be taken from, as long as there are any."""
        self.ended = self.at >= len(self._recorded)
        return [] if self.ended else [self]

    def rows(self, names: Names) -> Rows:
        """Return what comes next, and go on behind it."""
        rows, self.at = self._recorded.rows(self.at, names)
        return rows

    def finish(self) -> list[XdfRecording]:
        """Return nothing: only a followed file is ended from outside."""
        return []

    def position(self) -> int:
        """Return how much of the file has been read (bytes)."""
        return self.size * self.at // max(len(self._recorded), 1)

    def mark(self, line: int | None) -> Mark:
        """Return where to go on: at a line, or behind all that was read."""
        return Mark(self.at if line is None else line)

    def close(self) -> None:
        """Let the samples go."""
        self._recorded = Recorded(self.path, [], [])


def channels(path: str) -> Counter[str]:
    """Return how many numbers each channel has."""
    recorded, found = load(path), Counter[str]()
    for track in recorded.tracks:
        if not isinstance(track.values, list):
            for k, key in enumerate(track.keys):
                numbers = int(np.isfinite(track.values[:, k].astype(np.float64)).sum())
                found[f"{track.source}:{key}"] += numbers
    return found
