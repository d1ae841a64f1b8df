"""Detection of streams with mostly unusable events: counts, reasons, newest sample, remedy.

Events are counted in windows of `WINDOW_S`. A stream with more lost than used events in a window
is *standing* as unusable. A report is due at the end of that window and each `AGAIN_S` after it,
with the counts since the last report. Events filtered by `keys` are no loss if part of a stream is
used. They count only if nothing was used: for `AGAIN_S` in a stream with a rate, ever in others.

Pure: the caller provides the time. State: a count a stream and reason.
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
    "control": "it is no command to the bridge of this rig by its own user",
    "out_of_range": "it lies outside of the channel's range",
}


class UnusableStream(NamedTuple):
    """`lost` of `events` events, by reason from most to least: (events, where, sample)."""

    stream: str
    lost: int
    events: int
    reasons: tuple[tuple[str, int, str, str], ...]

    def text(self, keys: Sequence[str] = ()) -> str:
        """Return the report as text; `keys` are the configured keys of the stream."""
        parts = []
        for reason, n, where, sample in self.reasons[:_MAX_REASONS]:
            remedy = REMEDIES.get(reason, "")
            if reason == FILTERED and keys:
                asked = ", ".join(keys[:_MAX_KEYS]) + (", ..." if len(keys) > _MAX_KEYS else "")
                remedy = f"keys asks for {asked}"
            peer = f" from {where}" if where else ""
            newest = f"newest '{shown(sample)}'" if sample else ""
            detail = "; ".join(filter(None, (remedy, newest)))
            parts.append(f"{n} {reason}{peer}" + (f" ({detail})" if detail else ""))
        return f"{self.lost} of {self.events} events not used: " + ", ".join(parts)


class _Count:
    """Counts of a stream in the window, and since the last report."""

    def __init__(self) -> None:
        self.begin: float | None = None
        self.used = self.lost = self.filtered = 0
        self.events = 0
        self.reasons: dict[str, tuple[int, str, str]] = {}
        self.last_used: float | None = None
        self.last_report = float("-inf")


class UnusableStreams:
    """Detects the streams with more lost than used events.

    Parameters
    ----------
    steady : collection of str
        Streams with a regular rate.

    Attributes
    ----------
    standing : dict
        The newest `UnusableStream` of each stream that is unusable now.
    """

    def __init__(self, steady: Collection[str] = ()) -> None:
        self._steady = steady
        self._counts: dict[str, _Count] = {}
        self.standing: dict[str, UnusableStream] = {}

    def use(self, stream: str, events: int, now: float) -> None:
        """Count usable events, and events lost for reasons outside the stream."""
        count = self._count(stream, now)
        count.used += events
        count.events += events
        count.last_used = now

    def lose(
        self, stream: str, reason: str, events: int, now: float, where: str = "", sample: str = ""
    ) -> None:
        """Count unusable events, with the newest sample."""
        count = self._count(stream, now)
        count.events += events
        if reason == FILTERED:
            count.filtered += events
        else:
            count.lost += events
        before = count.reasons.get(reason, (0, "", ""))[0]
        count.reasons[reason] = (before + events, where, sample)

    def due(self, now: float) -> list[UnusableStream]:
        """Return the reports due now; the caller polls several times a second."""
        found: list[UnusableStream] = []
        for stream, count in self._counts.items():
            if count.begin is None or now - count.begin < WINDOW_S:
                continue
            if not self._most_is_lost(stream, count, now):
                self.standing.pop(stream, None)
                count.events, count.reasons, count.last_report = 0, {}, float("-inf")
            else:
                refusal = _refusal(stream, count)
                self.standing[stream] = refusal
                if now - count.last_report >= AGAIN_S:
                    found.append(refusal)
                    count.last_report, count.events, count.reasons = now, 0, {}
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
    reasons = tuple((reason, *counted) for reason, counted in ranked)
    return UnusableStream(stream, sum(n for _, n, _, _ in reasons), count.events, reasons)


def shown(sample: str) -> str:
    """Return a sample in printable ASCII, truncated to `_MAX_SHOWN` characters."""
    clean = "".join(c if " " <= c <= "~" else " " for c in sample)
    clean = " ".join(clean.split())
    return clean if len(clean) <= _MAX_SHOWN else f"{clean[: _MAX_SHOWN - 3]}..."
