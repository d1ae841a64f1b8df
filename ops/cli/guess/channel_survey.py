"""What is heard of a channel: how often, between which numbers, at a rate or when it changes.

State: 1,024 events of each of 512 channels and 512 vectors; of further ones only how many events
they were.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from math import hypot, inf, isnan, nan

import numpy as np

from operators.plan import MIDI_KEY
from ops.cli.guess.kinds import MIN_COUNT, SWITCH, nature, steady
from sources.inbox import Item, Message, Unread

__all__ = ["HEAD", "MAX_CHANNELS", "MIN_COUNT", "ChannelSurvey", "SurveyedChannel", "shown"]

MAX_CHANNELS = 512
_EVENTS = 1024
_SPACE = 3
"""Numbers of a vector in space, whose size does not depend on how a device is turned."""


@dataclass(eq=False)
class SurveyedChannel:
    """One series: its values and arrivals so far."""

    name: str
    first: float = nan
    last: float = nan
    events: int = 0
    low: float = inf
    high: float = -inf
    texts: int = 0
    own_clock: bool = False
    levels: set[float] = field(default_factory=set)
    rx: deque[float] = field(default_factory=lambda: deque(maxlen=_EVENTS))
    values: deque[float] = field(default_factory=lambda: deque(maxlen=_EVENTS))

    def say(self, rx: float, value: float | str, ts: float) -> None:
        """Take one event: arrival and source time (s, NaN: none)."""
        if not self.events:
            self.first = rx
        self.last = rx
        self.events += 1
        self.own_clock |= not isnan(ts)
        if isinstance(value, str):
            self.texts += 1
        else:
            self.low, self.high = min(self.low, value), max(self.high, value)
            self.rx.append(rx)
            self.values.append(value)
            if len(self.levels) <= SWITCH:
                self.levels.add(value)

    def is_number(self) -> bool:
        """Whether it has had a number."""
        return self.low <= self.high

    def rate_hz(self, now: float) -> float:
        """Return events a second: lately if it is steady, else since the first one."""
        gaps = np.diff(np.array(self.rx))
        gaps = gaps[gaps > 0]
        if steady(gaps, now - self.last):
            return len(gaps) / float(gaps.sum())
        return self.events / (now - self.first) if now > self.first else nan

    def kind(self, now: float) -> str:
        """Return `sampled`, `held`, `constant` or `text`: see `ops.cli.guess.kinds`."""
        if not self.is_number():
            return "text"
        key = self.name.partition(":")[2]
        if MIDI_KEY.fullmatch(key):
            return "held"
        return nature(np.array(self.rx), np.array(self.values), len(self.levels), now)


class ChannelSurvey:
    """All channels that were heard.

    Attributes
    ----------
    channels : dict
        By name, in the order in which they were first heard.
    vectors : dict
        Sizes of arrays of three numbers, by the channel of the array.
    others : int
        Events of channels beyond the 512.
    refused : dict
        Events that could not be used, by stream and reason.
    """

    def __init__(self) -> None:
        self.channels: dict[str, SurveyedChannel] = {}
        self.vectors: dict[str, SurveyedChannel] = {}
        self.others = 0
        self.refused: dict[str, int] = {}

    def take(self, stream: str, item: Item) -> None:
        """Take what a stream's inbox held."""
        if isinstance(item, Unread):
            why = f"{stream}: {item.reason}"
            self.refused[why] = self.refused.get(why, 0) + item.events
        elif isinstance(item, Message):
            name = f"{stream}:{item.key}"
            if not isinstance(item.value, tuple):
                self._say(self.channels, name, item.rx, item.value, item.ts)
                return
            numbers = [x for x in item.value if not isinstance(x, str) and not isnan(x)]
            for i, value in enumerate(item.value):
                if not isinstance(value, str) and not isnan(value):
                    self._say(self.channels, f"{name}[{i}]", item.rx, value, item.ts)
            if len(numbers) == len(item.value) == _SPACE:
                self._say(self.vectors, name, item.rx, hypot(*numbers), item.ts)

    def _say(
        self, into: dict[str, SurveyedChannel], name: str, rx: float, value: float | str, ts: float
    ) -> None:
        channel = into.get(name)
        if channel is None:
            if len(into) >= MAX_CHANNELS:
                self.others += into is self.channels
                return
            channel = into[name] = SurveyedChannel(name)
        channel.say(rx, value, ts)

    def rename(self, source: str, name: str) -> None:
        """Call a source by another name, which none has."""
        for group in (self.channels, self.vectors):
            for channel in list(group.values()):
                group[channel.name] = group.pop(channel.name)
                if channel.name.partition(":")[0] == source:
                    del group[channel.name]
                    channel.name = name + channel.name.removeprefix(source)
                    group[channel.name] = channel

    def rows(self, now: float) -> list[tuple[str, ...]]:
        """Return a line a channel: see `HEAD`."""
        return [
            (
                shown(c.name),
                f"{c.rate_hz(now):.1f}",
                str(c.events),
                f"{c.low:.4g} .. {c.high:.4g}" if c.is_number() else "-",
                c.kind(now),
                "yes" if c.own_clock else "no",
            )
            for c in self.channels.values()
        ]


HEAD = ("channel", "Hz", "events", "range", "kind", "own clock")


def shown(name: str, most: int = 48) -> str:
    """Return a name that a terminal can show, cut where it is too long."""
    clean = re.sub(r"[^ -~]", "?", name)
    return clean if len(clean) <= most else f"{clean[: most - 3]}..."
