"""Streams whose events are mostly refused, filtered or late, counted from packets."""

from __future__ import annotations

from collections.abc import Callable

from operators.records import Packet
from operators.unusable import FILTERED, UnusableStreams

AFTER_ARRIVAL = ("late", "wild_stamp", "out_of_range")
"""Reasons found behind the sources; the sources report the other reasons themselves."""
_COUNTED = frozenset(("used", "duplicate", "outliers", "late", "ignored"))


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
    for source, channel, end, watermark in packet.ends:
        # The end is checked first: half of those of a live packet are not counted.
        if end not in _COUNTED or (stream := stream_of(source)) is None or not len(watermark):
            continue
        if end == "late":
            refusals.lose(stream, "late", len(watermark), now, "", channel)
        elif end == "ignored":
            refusals.lose(stream, FILTERED, len(watermark), now)
        else:
            refusals.use(stream, len(watermark), now)
    for letter in packet.letters:
        if (stream := stream_of(letter.source)) is not None:
            refusals.lose(stream, letter.reason, letter.count, now, letter.where, letter.sample)
