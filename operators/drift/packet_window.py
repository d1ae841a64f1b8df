"""One window of a channel's samples, for operators/drift/packet_rate.py, in plain numbers.

That module has the definitions, and the form for many windows in arrays, which is the reference:
the figures are equal, bit for bit.

Cost: 40 us a window; a compiled form is in operators/native/stamps.c.
State: that of `packet_rate`, changed in place.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from itertools import pairwise

PACKETS, MIN_COUNT, MIN_S = 64, 8, 1.0
TOGETHER = 0.25
MINUTE_S = 60.0
GAPS, MAX_GAP, MAX_QUIET_S = 3.0, 1.5, 5.0
RATE_S, OUTAGE = 10.0, 5.0
"""Median gaps from which an unusual silence is an outage."""
MIN_IN_PACKET, QUANTILE, MAX_LENGTH_S = 3, 0.95, 10.0
"""Samples from which coincident arrivals are a packet and no accident of jitter."""
NAN = float("nan")
Head = tuple[float, float, int]
"""First and last host time of the open packet (s), NaN before the first, and its samples."""


def window(
    arrival: list[float],
    host: list[float],
    past: int,
    head: Head,
    packets: list[list[float]],
    seconds: list[list[float]],
    origin: float,
) -> tuple[Head, tuple[float, float, float] | None]:
    """Process the next window of samples.

    Parameters
    ----------
    arrival, host : list of float
        Running arrivals from the sample before the window on (n + 1,), and host times (n,) (s).
    past : int
        Samples before the window.
    head, packets, seconds, origin
        As in `Packets`; `packets` and `seconds` are changed.

    Returns
    -------
    head : (float, float, int)
        The packet that the window leaves open.
    numbers : (float, float, float) or None
        Rate, silence and length; None where they are unknown.
    """
    end = arrival[-1]
    gap = [b - a for a, b in pairwise(arrival)]
    second, longest = sorted((0.0, *gap))[-2:]
    number, begin, samples, first_gap, second_gap, starts, counts = seconds
    start, before = (starts[-1], counts[-1]) if starts else (NAN, NAN)
    _append(seconds, math.floor(end), arrival[0], len(gap), longest, second)
    # The last minute, this window included.
    first = bisect_left(number, number[-1] - MINUTE_S)
    next_longest, most = sorted(first_gap[first:] + second_gap[first:])[-2:]
    span = end - begin[first]
    mean = max((span - most) / max(sum(samples[first:]) - 1, 1), 0.0)
    together = TOGETHER * mean
    # Packets: those closed by this window, and the one that it leaves open.
    opened, newest, size = head
    gaps, lengths, sizes = packets
    for i, g in enumerate(gap):
        known = opened == opened
        if g >= together or not known:
            if known:
                gaps.append(g)
                lengths.append(newest - opened)
                sizes.append(float(size))
            opened, size = host[i], 0
            start, before = arrival[i + 1], float(past + i)
        newest = host[i]
        size += 1
    starts[-1], counts[-1] = start, before
    for column in packets:
        del column[:-PACKETS]
    fit = [g for g in gaps if g >= together]
    median = _ranked(fit, 0.5)
    quiet = max(GAPS * median, MAX_GAP * next_longest)
    fitting = zip(gaps, lengths, sizes, strict=True)
    spans = [d if n >= MIN_IN_PACKET else 0.0 for g, d, n in fitting if g >= together]
    length = min(_ranked(spans, QUANTILE), MAX_LENGTH_S)
    # The rate of the last seconds, from packet to packet.
    base = bisect_right(number, number[-1] - RATE_S) - 1
    known = base >= 0 and starts[base] == starts[base]
    begun, count = (starts[base], counts[base]) if known else (origin, 0.0)
    silence = max(first_gap[base + 1 if known else 0 :])
    outage = silence > max(OUTAGE * median, quiet)
    over = start - begun - (silence - median if outage else 0.0)
    rate = (before - count) / over if over > 0 else NAN
    kept = max(first - 1, 0)
    for column in seconds:
        del column[:kept]
    enough = most <= span / 2 and len(fit) >= MIN_COUNT and end - origin >= MIN_S
    return (opened, newest, size), (
        (rate, min(quiet, MAX_QUIET_S), length) if enough and rate > 0 else None
    )


def _append(
    seconds: list[list[float]], number: float, begin: float, n: int, longest: float, second: float
) -> None:
    """Append a window to the seconds, or join it with the earlier ones of its second."""
    if seconds[0] and seconds[0][-1] == number:
        seconds[2][-1] += n
        two = sorted((seconds[3][-1], seconds[4][-1], longest, second))[-2:]
        seconds[4][-1], seconds[3][-1] = two
        return
    new = (float(number), begin, float(n), longest, second, NAN, NAN)
    for column, x in zip(seconds, new, strict=True):
        column.append(x)


def _ranked(values: list[float], part: float) -> float:
    """Return a quantile, 0 for no values."""
    return sorted(values)[math.ceil(part * len(values)) - 1] if values else 0.0
