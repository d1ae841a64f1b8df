"""Streams of which most cannot be used: how much, why, the newest sample, and what mends it.

Events are looked at in windows of `WINDOW_S`. Where more of a window is lost than not, the stream
*stands* as refused; that is said at the end of the window and each `AGAIN_S` after, with the counts
since it was last said. What `keys` filters is no loss where some of a stream is wanted: it counts
only where nothing at all was used, of a stream that speaks at a rate for `AGAIN_S`, of others ever.

Pure: whoever calls brings the time. State: a count a stream and reason.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

WINDOW_S = 4.0
AGAIN_S = 60.0
FILTERED = "filtered"
_MAX_REASONS = 3
_MAX_SHOWN = 48
_MAX_KEYS = 3
REMEDIES: Mapping[str, str] = {
    "value": "these types have no number: send numbers",
    "osc": "it is no OSC: is this port meant?",
    "osc_limit": "beyond 256 messages a bundle, 8 levels or 1,024 arguments: send smaller ones",
    "too_long": "longer than 8 KiB: send smaller bundles",
    "no_type_tags": "there is no type tag string: let the sender write one",
    "peer": "the sender is not in allow",
    "exposition": "a line of the page is no sample, so none of the page is used: mend it there",
    FILTERED: "keys, members and facts name none of it",
    "late": "it came after its ticks: raise resample.wait_s, or look at its clock and network",
    "wild_stamp": "its stamps leap: mend its clock, or set timetags: ignore on an OSC stream",
    "out_of_range": "it lies outside of the channel's range",
}  # fmt: skip


class UnusableStream(NamedTuple):
    """`lost` of `events` events, by reason from most to least: (events, where, sample)."""

    stream: str
    lost: int
    events: int
    reasons: tuple[tuple[str, int, str, str], ...]

    def text(self, keys: Sequence[str] = ()) -> str:
        """Return it in words; `keys` are those that the stream asks for."""
        parts = []
        for reason, n, where, sample in self.reasons[:_MAX_REASONS]:
            remedy = REMEDIES.get(reason, "")
            if reason == FILTERED and keys:
                asked = ", ".join(keys[:_MAX_KEYS]) + (", ..." if len(keys) > _MAX_KEYS else "")
                remedy = f"keys asks for {asked}"
            peer = f" from {where}" if where else ""
            newest = f"newest '{shown(sample)}'" if sample else ""
            said = "; ".join(filter(None, (remedy, newest)))
            parts.append(f"{n} {reason}{peer}" + (f" ({said})" if said else ""))
        return f"{self.lost} of {self.events} events not used: " + ", ".join(parts)


class _Count:
    """What came of a stream in a window, and since it was last said."""

    def __init__(self) -> None:
        self.begin: float | None = None
        self.used = self.lost = self.filtered = 0
        self.events = 0
        self.reasons: dict[str, tuple[int, str, str]] = {}
        self.last_used: float | None = None
        self.said = float("-inf")


class UnusableStreams:
    """Finds the streams of which most is lost.

    Parameters
    ----------
    steady : collection of str
        Streams that speak at a rate.

    Attributes
    ----------
    standing : dict
        The newest `UnusableStream` of each stream of which most is lost now.
    """

    def __init__(self, steady: Collection[str] = ()) -> None:
        self._steady = steady
        self._counts: dict[str, _Count] = {}
        self.standing: dict[str, UnusableStream] = {}

    def use(self, stream: str, events: int, now: float) -> None:
        """Count events that can be used, or are lost for no fault of the stream."""
        count = self._count(stream, now)
        count.used += events
        count.events += events
        count.last_used = now

    def lose(
        self, stream: str, reason: str, events: int, now: float, where: str = "", sample: str = ""
    ) -> None:
        """Count events that cannot be used, with the newest of them."""
        count = self._count(stream, now)
        count.events += events
        if reason == FILTERED:
            count.filtered += events
        else:
            count.lost += events
        before = count.reasons.get(reason, (0, "", ""))[0]
        count.reasons[reason] = (before + events, where, sample)

    def due(self, now: float) -> list[UnusableStream]:
        """Return what is to be said now; to be called several times a second."""
        found: list[UnusableStream] = []
        for stream, count in self._counts.items():
            if count.begin is None or now - count.begin < WINDOW_S:
                continue
            if not self._most_is_lost(stream, count, now):
                self.standing.pop(stream, None)
                count.events, count.reasons, count.said = 0, {}, float("-inf")
            else:
                refusal = _refusal(stream, count)
                self.standing[stream] = refusal
                if now - count.said >= AGAIN_S:
                    found.append(refusal)
                    count.said, count.events, count.reasons = now, 0, {}
            count.begin, count.used, count.lost, count.filtered = now, 0, 0, 0
        return found

    def _most_is_lost(self, stream: str, count: _Count, now: float) -> bool:
        if count.lost > count.used:
            return True
        patience = AGAIN_S if stream in self._steady else float("inf")
        unused = count.last_used is None or now - count.last_used >= patience
        return count.filtered > 0 and unused

    def _count(self, stream: str, now: float) -> _Count:
        count = self._counts.get(stream)
        if count is None:
            count = self._counts[stream] = _Count()
        if count.begin is None:
            count.begin = now
        return count


def _refusal(stream: str, count: _Count) -> UnusableStream:
    ranked = sorted(count.reasons.items(), key=lambda item: -item[1][0])
    reasons = tuple((reason, *told) for reason, told in ranked)
    return UnusableStream(stream, sum(n for _, n, _, _ in reasons), count.events, reasons)


def shown(sample: str) -> str:
    """Return a sample that a terminal can show, cut where it is too long."""
    clean = "".join(c if " " <= c <= "~" else " " for c in sample)
    clean = " ".join(clean.split())
    return clean if len(clean) <= _MAX_SHOWN else f"{clean[: _MAX_SHOWN - 3]}..."
