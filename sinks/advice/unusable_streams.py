"""Streams whose events are mostly refused, filtered or late, counted from packets."""

from __future__ import annotations

from collections.abc import Callable

from operators.records import Packet
from operators.unusable import FILTERED, UnusableStreams

AFTER_ARRIVAL = ("late", "wild_stamp", "out_of_range")
"""Reasons found behind the sources; the sources report the other reasons themselves."""
_USED = frozenset(("used", "duplicate", "outliers"))
_LOST = frozenset(("late", "ignored"))


def count(
    refusals: UnusableStreams, packet: Packet, now: float, stream_of: Callable[[str], str | None]
) -> None:
    """Count the ends of a packet's events.

    Parameters
    ----------
    refusals : UnusableStreams
    packet : Packet
    now : float
        s, monotonic.
    stream_of : callable
        Returns the stream of a source, None where it is not counted.
    """
    used: dict[str, int] = {}
    for source, channel, end, watermark in packet.ends:
        if not (n := len(watermark)):
            continue
        if end in _USED:
            used[source] = used.get(source, 0) + n
        elif end in _LOST and (stream := stream_of(source)) is not None:
            if end == "late":
                refusals.lose(stream, "late", n, now, "", channel)
            else:
                refusals.lose(stream, FILTERED, n, now)
    for source, n in used.items():
        if (stream := stream_of(source)) is not None:
            refusals.use(stream, n, now)
    for letter in packet.letters:
        if (stream := stream_of(letter.source)) is not None:
            refusals.lose(stream, letter.reason, letter.count, now, letter.where, letter.sample)
