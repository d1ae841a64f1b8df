"""Packets of a channel's samples: rate over time, silence between packets, packet length.

A radio delivers samples in packets: the stamps may be even, the arrivals coincide. An arrival
less than a quarter of the mean interval after its predecessor is of the same packet; a lone
sample is a packet of one. Of the last 64 packets, with the mean interval of the last minute
taken without its longest silence:

    rate = samples / time from packet to packet over the last 10 s, without an outage
    quiet_s = max(3 median gap, 1.5 second longest gap of the last minute), at most 5 s
    length_s = 95th percentile of the time that the stamps of a packet span

All are unknown before 8 gaps and a second. They do not change while one silence is more than half
of that minute. They are updated at 9, 18 and 36 samples and at each multiple of 64, so that they
do not depend on how samples are cut into blocks.

State: 64 packets and a minute of seconds a channel, and 64 samples. Cost: about 90 numpy calls a
block with many windows of 64 new samples, 4 a window in a block with few. A compiled window
(operators/native/stamps.c) takes 8 us.
Losses: none.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from operators import native
from operators.drift.packet_window import (
    GAPS,
    MAX_GAP,
    MAX_LENGTH_S,
    MAX_QUIET_S,
    MIN_COUNT,
    MIN_IN_PACKET,
    MIN_S,
    MINUTE_S,
    NAN,
    OUTAGE,
    PACKETS,
    QUANTILE,
    RATE_S,
    TOGETHER,
    Head,
    window,
)
from operators.types import F64, I64, Bool, State

EVERY, EARLY = 64, (9, 18, 36)
MAX_EACH = 7
"""Windows of one block that are processed one by one: more of them are faster as arrays."""
_COLUMNS = ("arrival", "host", "packets", "seconds")


class PacketRate(NamedTuple):
    """Numbers in force from the row with this watermark on."""

    watermark: float
    rate_hz: float
    quiet_s: float
    length_s: float


class _RateWindows(NamedTuple):
    """Windows of new samples (w,): number, begin, end, and their two longest gaps."""

    samples: F64
    begin: F64
    end: F64
    longest: F64
    second: F64


@dataclass
class Packets:
    """The packets of one channel.

    Attributes
    ----------
    seen : int
        Samples so far.
    numbers : (rate, silence, length), in force
    arrival, host : array of float
        Of the samples since the last update, and of their predecessor.
    head : (first host, last host, samples) of the open packet
    packets : three lists of at most 64
        Gap after each, time of its stamps, samples.
    seconds : seven lists of at most 63
        Of each second with an update: number, begin, samples, the two longest gaps, arrival of
        the newest packet's first sample, samples before it.
    origin : float
        The first arrival.
    """

    seen: int = 0
    numbers: tuple[float, float, float] = (NAN, NAN, 0.0)
    arrival: array[float] = field(default_factory=lambda: array("d"))
    host: array[float] = field(default_factory=lambda: array("d"))
    head: Head = (NAN, NAN, 0)
    packets: list[list[float]] = field(default_factory=lambda: [[] for _ in range(3)])
    seconds: list[list[float]] = field(default_factory=lambda: [[] for _ in range(7)])
    origin: float = NAN

    def snapshot(self) -> State:
        """Return the state as plain values."""
        columns = {k: np.array(getattr(self, k)) for k in _COLUMNS}
        return {k: columns.get(k, getattr(self, k)) for k in self.__dataclass_fields__}

    @classmethod
    def from_snapshot(cls, state: State) -> Packets:
        """Return the packets of a snapshot."""
        waiting = {k: array("d", state[k]) for k in ("arrival", "host")}
        past = {k: state[k].tolist() for k in ("packets", "seconds")}
        return cls(**{**state, **waiting, **past})

    def passes(self, arrival: list[float], host: list[float]) -> bool:
        """Process few rows if they complete no count; otherwise return False, nothing changed."""
        n = len(host)
        if self.seen < EARLY[-1] or n > EVERY - 1 - self.seen % EVERY:
            return False
        self.seen += n
        self.arrival.extend(arrival)
        self.host.extend(host)
        return True

    def feed(self, arrival: F64, host: F64, watermark: F64) -> tuple[F64 | float, list[PacketRate]]:
        """Process rows in order of arrival.

        Parameters
        ----------
        arrival, host, watermark : float64 (n,)
            As in `Block`.

        Returns
        -------
        length_s : float64 (n,) or float
            Packet length in force at each row (s).
        rates : list of PacketRate
            Updates, in order. The row that completes a count is the first that has them.
        """
        n, seen = len(arrival), self.seen
        due = [e - seen for e in EARLY if seen < e <= seen + n] if seen < EARLY[-1] else []
        due += range(EVERY - seen % EVERY, n + 1, EVERY)
        self.seen += n
        if n and not seen:
            # No gap lies before the first.
            self.arrival, self.host = array("d", arrival[:1]), array("d", host[:1])
            self.origin = float(arrival[0])
        waiting = len(self.arrival) - 1
        self.arrival.frombytes(arrival.tobytes())
        self.host.frombytes(host.tobytes())
        if not due:
            return self.numbers[2], []
        last = waiting + due[-1]
        whole, hosts = np.frombuffer(self.arrival), np.frombuffer(self.host)
        edge = np.array([0, *(waiting + d for d in due)])
        whole = np.maximum.accumulate(whole)
        each = native.kernels is not None or len(due) <= MAX_EACH
        renew = self._renewed_each if each else self._renewed
        numbers = renew(whole[: last + 1], hosts[1 : last + 1], edge, seen - waiting)
        self.arrival, self.host = array("d", whole[last:]), array("d", hosts[last:])
        rates = [
            PacketRate(float(watermark[d - 1]), *x)
            for d, x in zip(due, numbers.T.tolist(), strict=True)
        ]
        edges = [1, *due, n + 1]
        length = np.repeat([self.numbers[2], *numbers[2]], [b - a for a, b in pairwise(edges)])
        rate, quiet, newest = numbers[:, -1].tolist()
        self.numbers = rate, quiet, newest
        return length, rates

    def _renewed(self, arrival: F64, host: F64, edge: I64, past: int) -> F64:
        """Return rate, silence and length (3, w) after each window of new samples.

        `past` samples precede them.
        """
        gap = np.diff(arrival)
        windows = _windows(arrival, gap, edge)
        second = np.floor(windows.end)
        new = np.stack((second, windows.begin, windows.samples, windows.longest, windows.second))
        seconds = np.array(self.seconds)
        minute = np.concatenate((seconds[:5], new), axis=1)
        mean, longest, clear = _last_minute(minute, windows.end)
        begins = gap >= np.repeat(TOGETHER * mean, np.diff(edge))
        begins[0] |= np.isnan(self.head[0])
        start = _newest_start(begins, arrival, edge, past)
        minute = np.concatenate((minute, np.concatenate((seconds[5:], start), axis=1)))
        self.seconds = _by_second(minute).tolist()
        closed = self._close(begins, gap, host)
        # The newest 64 packets closed by each window's end.
        total = len(self.packets[0])
        packets = np.concatenate((np.array(self.packets), closed), axis=1)
        stop = total + np.cumsum(begins)[edge[1:] - 1] - np.isnan(self.head[0])
        self._open(begins, host)
        self.packets = packets[:, -PACKETS:].tolist()
        at = stop[:, None] - PACKETS + np.arange(PACKETS)
        exists = at >= 0
        gaps, lengths, counts = (
            packets[:, np.maximum(at, 0)] if packets.size else np.zeros((3, len(stop), PACKETS))
        )
        fit = exists & (gaps >= TOGETHER * mean[:, None])
        median = _quantile(gaps, fit, 0.5)
        quiet = np.maximum(GAPS * median, MAX_GAP * longest)
        rate = _rate(minute, windows.end, median, quiet, self.origin)
        lengths = np.where(counts >= MIN_IN_PACKET, lengths, 0.0)
        length = np.minimum(_quantile(lengths, fit, QUANTILE), MAX_LENGTH_S)
        enough = clear & (fit.sum(axis=1) >= MIN_COUNT) & (rate > 0)
        enough &= windows.end - self.origin >= MIN_S
        quiet = np.minimum(quiet, MAX_QUIET_S)
        found = np.column_stack((self.numbers, (rate, quiet, length)))
        which = np.maximum.accumulate(np.where(enough, np.arange(1, len(enough) + 1), 0))
        return found[:, which]

    def _renewed_each(self, arrival: F64, host: F64, edge: I64, past: int) -> F64:
        """Return the same, window by window."""
        kernels = native.kernels
        packets, seconds, origin = self.packets, self.seconds, self.origin
        arrivals, hosts = ([], []) if kernels else (arrival.tolist(), host.tolist())
        numbers = self.numbers
        found = []
        for a, b in pairwise(edge.tolist()):
            if kernels:
                self.head, new = kernels.window(
                    arrival, host, a, b, past + a, self.head, packets, seconds, origin
                )
            else:
                times, places = arrivals[a : b + 1], hosts[a:b]
                self.head, new = window(
                    times, places, past + a, self.head, packets, seconds, origin
                )
            numbers = new or numbers
            found.append(numbers)
        return np.array(found).T

    def _close(self, begins: Bool, gap: F64, host: F64) -> F64:
        """Return the packets (3, k) that are closed within the new samples."""
        at = np.flatnonzero(begins)
        first, newest, had = self.head
        if np.isnan(first):
            at = at[1:]
            starts = np.concatenate(([0], at))
            firsts = host[starts]
            counts = np.diff(starts)
        else:
            firsts = np.concatenate(([first], host[at]))
            counts = np.diff(np.concatenate(([0], at)))
            counts[:1] += had
        k = len(at)
        lasts = host[np.maximum(at - 1, 0)]
        if k and at[0] == 0:
            lasts[0] = newest
        return np.stack((gap[at], lasts - firsts[:k], counts[:k]))

    def _open(self, begins: Bool, host: F64) -> None:
        """Make the last of these packets the open one."""
        at = np.flatnonzero(begins)
        if len(at):
            self.head = float(host[at[-1]]), float(host[-1]), len(host) - int(at[-1])
        else:
            self.head = self.head[0], float(host[-1]), self.head[2] + len(host)


def _windows(arrival: F64, gap: F64, edge: I64) -> _RateWindows:
    """Return the figures of the samples between edges; `arrival` starts one sample earlier."""
    starts = edge[:-1]
    longest = np.maximum.reduceat(gap, starts)
    which = np.repeat(np.arange(len(starts)), np.diff(edge))
    peak = np.flatnonzero(gap == longest[which])
    rest = gap.copy()
    rest[peak[np.concatenate(([True], np.diff(which[peak]) > 0))]] = 0.0
    second = np.maximum.reduceat(rest, starts)
    count = np.diff(edge).astype(np.float64)
    return _RateWindows(count, arrival[edge[:-1]], arrival[edge[1:]], longest, second)


def _last_minute(minute: F64, end: F64) -> tuple[F64, F64, Bool]:
    """Return mean interval and second longest gap of the last minute, at the last w windows.

    The third array: whether the longest gap is at most half of that minute.
    """
    w = len(end)
    first = np.searchsorted(minute[0], np.floor(end) - MINUTE_S)
    stop = minute.shape[1] - w + 1 + np.arange(w)
    total = np.concatenate(([0.0], np.cumsum(minute[2])))
    count = total[stop] - total[first]
    place = np.arange(minute.shape[1])
    inside = (place >= first[:, None]) & (place < stop[:, None])
    two = np.where(inside[:, None], minute[3:], 0.0).reshape(w, -1)
    two = np.partition(two, -2, axis=1)[:, -2:]
    span = end - minute[1, first]
    mean = np.maximum((span - two[:, 1]) / np.maximum(count - 1, 1), 0.0)
    return mean, two[:, 0], two[:, 1] <= span / 2


def _newest_start(begins: Bool, arrival: F64, edge: I64, past: int) -> F64:
    """Return arrival of the newest packet's first sample, and samples before it, by window.

    NaN where no packet begins in a window.
    """
    at = np.flatnonzero(begins)
    k = np.searchsorted(at, edge[1:], "left") - 1
    newest = at[np.maximum(k, 0)] if len(at) else np.zeros(len(k), np.int64)
    inside = (k >= 0) & (newest >= edge[:-1]) if len(at) else np.zeros(len(k), bool)
    return np.where(inside, (arrival[newest + 1], past + newest), NAN)


def _rate(minute: F64, end: F64, median: F64, quiet: F64, origin: float) -> F64:
    """Return samples over time (Hz) of the last `RATE_S`, from packet to packet, at w windows."""
    w, h = len(end), minute.shape[1]
    start = np.fmax.accumulate(minute[5:], axis=1)
    now = h - w + np.arange(w)
    base = np.searchsorted(minute[0], np.floor(end) - RATE_S, "right") - 1
    known = (base >= 0) & ~np.isnan(start[0, base])
    begin, count = np.where(known, start[:, base], [[origin], [0.0]])
    place = np.arange(h)
    inside = (place > np.where(known, base, -1)[:, None]) & (place <= now[:, None])
    longest = np.where(inside, minute[3], 0.0).max(axis=1)
    outage = longest > np.maximum(OUTAGE * median, quiet)
    span = start[0, now] - begin - np.where(outage, longest - median, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(span > 0, (start[1, now] - count) / span, NAN))


def _by_second(minute: F64) -> F64:
    """Return the windows of each second joined, for the last minute and the second before it."""
    first = max(int(np.searchsorted(minute[0], minute[0, -1] - MINUTE_S)) - 1, 0)
    starts = np.fmax.accumulate(minute[5:], axis=1)[:, first:]
    minute = minute[:, first:]
    new = np.concatenate(([True], minute[0, 1:] > minute[0, :-1]))
    at = np.flatnonzero(new)
    last = np.append(at[1:], len(new)) - 1
    longest = np.maximum.reduceat(minute[3], at)
    which = np.cumsum(new) - 1
    peak = np.flatnonzero(minute[3] == longest[which])
    rest = minute[3].copy()
    rest[peak[np.concatenate(([True], np.diff(which[peak]) > 0))]] = 0.0
    second = np.maximum.reduceat(np.maximum(rest, minute[4]), at)
    samples = np.add.reduceat(minute[2], at)
    return np.stack((minute[0, at], minute[1, at], samples, longest, second, *starts[:, last]))


def _quantile(values: F64, fit: Bool, part: float) -> F64:
    """Return a quantile over the fitting values of each row, 0 where there is none."""
    ordered = np.sort(np.where(fit, values, np.inf), axis=1)
    place = np.ceil(part * fit.sum(axis=1)).astype(np.int64) - 1
    found = ordered[np.arange(len(ordered)), np.maximum(place, 0)]
    return np.where(np.isfinite(found), found, 0.0)
