"""What is heard of a channel: how often, between which numbers, at a rate or when it changes.

State: 256 intervals of each of 512 channels; of further ones only how many events they were.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from math import inf, isnan, nan
from statistics import median

from operators.plan import MIDI_KEY
from sources.inbox import Heard, Item, Refused

MOST_CHANNELS = 512
FEWEST = 8
"""Intervals before a channel can be called sampled."""
STEADY = 0.8
"""Share of the time that has to lie within three usual intervals of an event."""
_USUAL = 3.0
_INTERVALS = 256


@dataclass
class Channel:
    """One series: what it said so far."""

    name: str
    first: float = nan
    last: float = nan
    events: int = 0
    low: float = inf
    high: float = -inf
    texts: int = 0
    own_clock: bool = False
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=_INTERVALS))

    def say(self, rx: float, value: float | str, ts: float) -> None:
        """Take one event: arrival and source time (s, NaN: none)."""
        if self.events and rx > self.last:
            self.gaps.append(rx - self.last)
        if not self.events:
            self.first = rx
        self.last = rx
        self.events += 1
        self.own_clock |= not isnan(ts)
        if isinstance(value, str):
            self.texts += 1
        else:
            self.low, self.high = min(self.low, value), max(self.high, value)

    def is_number(self) -> bool:
        """Whether it has said a number."""
        return self.low <= self.high

    def rate_hz(self, now: float) -> float:
        """Return events a second: lately if it is steady, else since it was first heard."""
        if self.is_steady(now):
            return len(self.gaps) / sum(self.gaps)
        return self.events / (now - self.first) if now > self.first else nan

    def is_steady(self, now: float) -> bool:
        """Whether it speaks at a rate, gaps or silence being rare."""
        if len(self.gaps) < FEWEST:
            return False
        usual = _USUAL * median(self.gaps)
        gaps = [*self.gaps, now - self.last]
        return sum(min(gap, usual) for gap in gaps) >= STEADY * sum(gaps)

    def kind(self, now: float) -> str:
        """Return `sampled`, `held`, or `text`."""
        if not self.is_number():
            return "text"
        midi = MIDI_KEY.fullmatch(self.name.partition(":")[2])
        return "sampled" if not midi and self.is_steady(now) else "held"


class Hearing:
    """All channels that were heard.

    Attributes
    ----------
    channels : dict
        By name, in the order in which they were first heard.
    others : int
        Events of channels beyond the 512.
    refused : dict
        Events that could not be used, by stream and reason.
    """

    def __init__(self) -> None:
        self.channels: dict[str, Channel] = {}
        self.others = 0
        self.refused: dict[str, int] = {}

    def take(self, stream: str, item: Item) -> None:
        """Take what a stream's inbox held."""
        if isinstance(item, Refused):
            why = f"{stream}: {item.reason}"
            self.refused[why] = self.refused.get(why, 0) + item.events
        elif isinstance(item, Heard):
            if isinstance(item.value, tuple):
                for i, value in enumerate(item.value):
                    if not isinstance(value, str) and not isnan(value):
                        self._say(f"{stream}:{item.key}[{i}]", item.rx, value, item.ts)
            else:
                self._say(f"{stream}:{item.key}", item.rx, item.value, item.ts)

    def _say(self, name: str, rx: float, value: float | str, ts: float) -> None:
        channel = self.channels.get(name)
        if channel is None:
            if len(self.channels) >= MOST_CHANNELS:
                self.others += 1
                return
            channel = self.channels[name] = Channel(name)
        channel.say(rx, value, ts)

    def rows(self, now: float) -> list[tuple[str, ...]]:
        """Return a line a channel: see `HEAD`."""
        return [
            (
                shown(c.name), f"{c.rate_hz(now):.1f}", str(c.events),
                f"{c.low:.4g} .. {c.high:.4g}" if c.is_number() else "-",
                c.kind(now), "yes" if c.own_clock else "no",
            )
            for c in self.channels.values()
        ]  # fmt: skip


HEAD = ("channel", "Hz", "events", "range", "kind", "own clock")


def shown(name: str, most: int = 48) -> str:
    """Return a name that a terminal can show, cut where it is too long."""
    clean = re.sub(r"[^ -~]", "?", name)
    return clean if len(clean) <= most else f"{clean[: most - 3]}..."
