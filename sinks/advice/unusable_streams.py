"""Streams of which most is refused, filtered or late, as packets show it."""

from __future__ import annotations

from collections.abc import Callable

from operators.records import Packet
from operators.unusable import FILTERED, UnusableStreams

AFTER_ARRIVAL = ("late", "wild_stamp", "out_of_range")
"""What is found out behind the sources, which say the other reasons themselves."""


def count(
    refusals: UnusableStreams, packet: Packet, now: float, stream_of: Callable[[str], str | None]
) -> None:
    """Count what became of a packet's events.

    Parameters
    ----------
    refusals : Refusals
    packet : Packet
    now : float
        s, monotonic.
    stream_of : callable
        The stream of a source, None where it is not of interest.
    """
    for source, channel, end, before in packet.ends:
        stream = stream_of(source)
        if stream is None or not len(before):
            continue
        if end in ("used", "duplicate", "outliers"):
            refusals.use(stream, len(before), now)
        elif end == "late":
            refusals.lose(stream, "late", len(before), now, "", channel)
        elif end == "ignored":
            refusals.lose(stream, FILTERED, len(before), now)
    for letter in packet.letters:
        if (stream := stream_of(letter.source)) is not None:
            refusals.lose(stream, letter.reason, letter.count, now, letter.where, letter.sample)
