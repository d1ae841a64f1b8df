"""Streams of an XDF file on the recorder's clock.

The stamps of a stream are converted to host time by its clock readings (`clock_offsets`), one
part of the clock after the other. Streams with a nominal rate are then freed from jitter
(`dejitter`). Implausible stamps (`plausibility`) are rejected with their reason. Host times rise
in the order of the file: remaining jitter is removed by the nearest rising times (`monotone`).

Cost: about 1 us a sample. State: 30 bytes a sample of the current stream, or of several
with up to 262,144 samples together, and pieces of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from operators.events import READING_KEY
from operators.types import F64, I64, Bool, Reason
from sources.header.channel_keys import channel_keys, unique_name
from sources.recordings import remarks
from sources.recordings.spool import Spool, SpoolColumn, Texts, pieces
from sources.xdf import plausibility
from sources.xdf.chunks import Header
from sources.xdf.dejitter import dejitter_work
from sources.xdf.monotone import rising
from sources.xdf.offset_smoother import Work, together
from sources.xdf.plausibility import cause, is_stamp, seconds
from sources.xdf.stream_clock import StreamClock
from sources.xdf.stream_columns import StreamColumns

MOVED_S = 1e-6
_PIECE = 1 << 16
_TOGETHER = 1 << 18
"""Maximum samples of streams that are processed together."""


@dataclass(frozen=True, slots=True)
class XdfStream:
    """One stream, or its clock readings.

    Attributes
    ----------
    source : str
    keys : tuple of str
        One for each channel.
    ts, rx : SpoolColumn
        Raw stamps and host time (s), in the order of the file; host time rises.
    values : SpoolColumn or Texts
        Rows with one value for each key.
    stamped : bool
        `rx` was measured for each row.
    header : Header or None
        Header of the stream, None for readings.
    """

    source: str
    keys: tuple[str, ...]
    ts: SpoolColumn
    rx: SpoolColumn
    values: SpoolColumn | Texts
    stamped: bool = False
    header: Header | None = None

    def __len__(self) -> int:
        return len(self.rx)


class LeftOut(NamedTuple):
    """Rejected events of a stream for one reason, with a sentence about it."""

    source: str
    reason: Reason
    first: int
    events: int
    why: str


@dataclass(slots=True)
class Placed:
    """Streams on the recorder's clock, rejected events, and remarks for the user."""

    tracks: list[XdfStream] = field(default_factory=list)
    lost: list[LeftOut] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


class _TimeAxis:
    """The reference time axis of the streams of one file.

    Attributes
    ----------
    host : float64 (m,)
        Recorder's clock at all plausible readings (s).
    outside : set of int
        Streams on another time axis than most, if no stream has readings.
    """

    def __init__(self, streams: Sequence[StreamColumns]) -> None:
        hosts = []
        for stream in streams:
            at, offset, _ = stream.readings
            good = plausibility.sound(at, offset)
            hosts.append((at + offset)[good])
        self.host = np.concatenate(hosts) if hosts else np.empty(0)
        self.outside: set[int] = set()
        self.axis = self.host
        if not len(self.host) and len(streams) > 1:
            self._vote(streams)

    def _vote(self, streams: Sequence[StreamColumns]) -> None:
        spans, numbers = [], []
        for k, stream in enumerate(streams):
            some = [stream.ts.read(s.start, s.stop) for s in pieces(len(stream.ts))]
            plausible = [x[is_stamp(x)] for x in some]
            quantiles = [np.quantile(x, (0.05, 0.95)) for x in plausible if len(x)]
            if quantiles:
                low, high = np.median(quantiles, axis=0).tolist()
                low, high = min(low, quantiles[0][0]), max(high, quantiles[-1][1])
                spans.append((float(low), float(high), len(stream.ts)))
                numbers.append(k)
        fits = plausibility.majority(spans)
        self.outside = {k for k, fit in zip(numbers, fits, strict=True) if not fit}
        self.axis = np.array([x for s, fit in zip(spans, fits, strict=True) if fit for x in s[:2]])


def place(
    streams: Sequence[StreamColumns], spool: Spool, shown: Callable[[int], None] = lambda _: None
) -> Placed:
    """Put streams on the recorder's clock.

    Parameters
    ----------
    streams : sequence of StreamColumns
        Returned by `decode`; their columns are in `spool`.
    spool : Spool
    shown : callable
        Called with the number of processed samples.
    """
    out, file_axis, taken = Placed(), _TimeAxis(streams), Counter[str]()
    names = [unique_name(s.header.name, taken, f"stream_{s.header.number}") for s in streams]
    done = 0
    for group in _groups([len(stream.ts) for stream in streams]):
        works = [_tracked(file_axis, k, streams[k], names[k], spool) for k in group]
        for k, one in zip(group, together(works), strict=True):
            out.tracks += one.tracks
            out.lost += one.lost
            out.remarks += one.remarks
            done += len(streams[k].ts)
        shown(done)
    return out


def _groups(sizes: Sequence[int]) -> Iterator[range]:
    """Yield ranges of streams with at most `_TOGETHER` samples together, or of one stream."""
    first = total = 0
    for k, size in enumerate(sizes):
        if k > first and total + size > _TOGETHER:
            yield range(first, k)
            first, total = k, 0
        total += size
    if sizes:
        yield range(first, len(sizes))


def _tracked(
    file_axis: _TimeAxis, k: int, stream: StreamColumns, name: str, spool: Spool
) -> Work[Placed]:
    """Put one stream on the recorder's clock."""
    out, keys = Placed(), channel_keys(stream.header.labels, stream.header.channels)
    yield from _track(out, file_axis, k, stream, name, keys, spool)
    for key, wide in zip(keys, stream.wide.tolist(), strict=True):
        if wide:
            out.remarks.append(remarks.wide(f"{name}:{key}", wide))
    return out


def _track(
    out: Placed,
    file_axis: _TimeAxis,
    k: int,
    stream: StreamColumns,
    name: str,
    keys: tuple[str, ...],
    spool: Spool,
) -> Work[None]:
    """Add a stream and its clock readings."""
    header, raw = stream.header, stream.ts.read(0, len(stream.ts))
    at, offset, before = stream.readings
    good_readings = plausibility.sound(at, offset)
    good = is_stamp(raw)
    _leave_out(
        out, name, "stamp", np.flatnonzero(~good), len(keys), f"stamps of {name} are no times"
    )
    own = at[good_readings]
    if len(own):
        fit = plausibility.near(raw, own, before[good_readings])
        why = f"stamps of {name} lie {{}} from its clock's readings: {{}}"
        reference = own
    elif len(file_axis.axis):
        reference, reach = (
            file_axis.axis,
            max(plausibility.REACH_S, plausibility.SPANS * float(np.ptp(file_axis.axis))),
        )
        fit = (raw >= reference.min() - reach) & (raw <= reference.max() + reach)
        whose = "the recorder's clock" if len(file_axis.host) else "those of the other streams"
        why = f"stamps of {name} lie {{}} from {whose}, and its clock was never read: {{}}"
    else:
        fit, reference, why = good, raw[:0], ""
    bad = np.flatnonzero(good & ~fit)
    if len(bad):
        apart = plausibility.distance(raw[bad], reference)
        _leave_out(
            out, name, "wild_stamp", bad, len(keys), why.format(seconds(apart), cause(apart))
        )
    good &= fit
    ts = raw if good.all() else raw[good]
    del raw, fit
    rx, sure = ts, None
    if len(own) and len(ts):
        clock = yield from StreamClock.reading(own, offset[good_readings])
        rx, sure = clock.host_time(ts)
    straight = plausibility.in_order(rx)
    if not straight.all():
        by = float((np.maximum.accumulate(rx) - rx).max())
        why = f"stamps of {name} run against the order of its samples by {seconds(by)}: {cause(by)}"
        lost = np.flatnonzero(good)[~straight]
        _leave_out(out, name, "wild_stamp", lost, len(keys), why)
        good[lost] = False
        ts, rx = ts[straight], rx[straight]
        sure = sure and sure._replace(sd=sure.sd[straight])
    stamps = stream.ts if good.all() else _column(spool, ts)
    del ts, straight
    time = rx
    if header.rate_hz > 0 and not header.may_drop:
        time = yield from dejitter_work(rx, header.rate_hz, sure)
    del rx, sure
    values = _kept(stream.values, good, spool)
    track = XdfStream(
        name, keys, stamps, _column(spool, _risen(out, name, time)), values, header=header
    )
    out.tracks.append(track)
    _add_readings(out, name, at, offset, good_readings, spool)


def _risen(out: Placed, name: str, time: F64) -> F64:
    """Return rising host times; add a remark on the largest correction."""
    risen = rising(time)
    if risen is not time:
        np.subtract(time, risen, out=time)
        moved = np.abs(time, out=time)
        count, most = int((moved > MOVED_S).sum()), float(moved.max())
        if count:
            out.remarks.append(
                f"{name}: stamps fall back within the order of its samples; {count:,} of"
                f" {len(time):,} times were moved, by at most {most * 1e3:.3g} ms"
            )
    return risen


def _add_readings(out: Placed, name: str, at: F64, offset: F64, good: Bool, spool: Spool) -> None:
    """Add the readings of a clock as a stream, in the order of host time."""
    bad = np.flatnonzero(~good)
    if len(bad):
        fine = good.any() and is_stamp(at[bad] + offset[bad]).all()
        apart = plausibility.distance((at + offset)[bad], (at + offset)[good]) if fine else 0.0
        by = f" by {seconds(apart)}" if apart else ""
        why = f"readings of the clock of {name} are apart from all others{by}"
        _leave_out(out, name, "wild_stamp" if fine else "stamp", bad, 1, why)
    if not len(at):
        out.remarks.append(f"{name}: {remarks.NEVER_READ}")
        return
    host = (at + offset)[good]
    order = np.argsort(host, kind="stable")
    values = SpoolColumn(spool, "<f8")
    values.add(offset[good][order])
    ts, rx = _column(spool, at[good][order]), _column(spool, host[order])
    out.tracks.append(XdfStream(name, (READING_KEY,), ts, rx, values, stamped=True))


def _leave_out(
    out: Placed, source: str, reason: Reason, samples: I64, width: int, why: str
) -> None:
    """Reject samples, in records of bounded size."""
    each = max(_PIECE // width, 1)
    for first in range(0, len(samples), each):
        part = samples[first : first + each]
        out.lost.append(LeftOut(source, reason, int(part[0]), len(part) * width, why))


def _column(spool: Spool, numbers: F64) -> SpoolColumn:
    column = SpoolColumn(spool, "<f8")
    column.add(numbers)
    return column


def _kept(values: SpoolColumn | Texts, good: Bool, spool: Spool) -> SpoolColumn | Texts:
    """Return the accepted rows; the column itself if all are accepted."""
    if good.all():
        return values
    if isinstance(values, Texts):
        texts = Texts(spool, values.width)
        for s in pieces(len(good), _PIECE):
            rows = values.read(s.start, s.stop)
            texts.add([x for i in np.flatnonzero(good[s]).tolist() for x in rows[i]])
        return texts
    column = SpoolColumn(spool, values.dtype.str, values.width)
    for s in pieces(len(good), _PIECE):
        column.add(values.read(s.start, s.stop)[good[s]])
    return column
