"""Statistics of each received channel: rate, range, and kind (sampled or held).

State: 1,024 events of each of 512 channels and 512 vectors; of further channels the number of
events only.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from math import hypot, inf, isnan, nan

import numpy as np

from operators.settings.channels import MIDI_KEY
from ops.cli.guess.kinds import MAX_SWITCH, MIN_COUNT, nature, steady
from sources.inbox import Item, Message, Unread

__all__ = ["HEAD", "MAX_CHANNELS", "MIN_COUNT", "ChannelSurvey", "SurveyedChannel", "shown"]

MAX_CHANNELS = 512
_MAX_EVENTS = 1024
_SPACE = 3
"""Components of a vector in space, whose size is independent of the orientation of a device."""


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
    rx: deque[float] = field(default_factory=lambda: deque(maxlen=_MAX_EVENTS))
    values: deque[float] = field(default_factory=lambda: deque(maxlen=_MAX_EVENTS))

    def add(self, rx: float, value: float | str, ts: float) -> None:
        """Add one event: arrival, value and source time (s, NaN: none)."""
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
            if len(self.levels) <= MAX_SWITCH:
                self.levels.add(value)

    def is_number(self) -> bool:
        """Return whether a number was received."""
        return self.low <= self.high

    def rate_hz(self, now: float) -> float:
        """Return events per second: of the newest if the rate is steady, else since the first."""
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
    """All received channels.

    Attributes
    ----------
    channels : dict
        By name, in order of the first event.
    vectors : dict
        Sizes of arrays of three numbers, by channel of the array.
    others : int
        Events of channels beyond the 512.
    refused : dict
        Rejected events, by stream and reason.
    """

    def __init__(self) -> None:
        self.channels: dict[str, SurveyedChannel] = {}
        self.vectors: dict[str, SurveyedChannel] = {}
        self.others = 0
        self.refused: dict[str, int] = {}

    def take(self, stream: str, item: Item) -> None:
        """Add an item from the inbox of a stream."""
        if isinstance(item, Unread):
            why = f"{stream}: {item.reason}"
            self.refused[why] = self.refused.get(why, 0) + item.events
        elif isinstance(item, Message):
            name = f"{stream}:{item.key}"
            if not isinstance(item.value, tuple):
                self._add(self.channels, name, item.rx, item.value, item.ts)
                return
            numbers = [x for x in item.value if not isinstance(x, str) and not isnan(x)]
            for i, value in enumerate(item.value):
                if not isinstance(value, str) and not isnan(value):
                    self._add(self.channels, f"{name}[{i}]", item.rx, value, item.ts)
            if len(numbers) == len(item.value) == _SPACE:
                self._add(self.vectors, name, item.rx, hypot(*numbers), item.ts)

    def _add(
        self, into: dict[str, SurveyedChannel], name: str, rx: float, value: float | str, ts: float
    ) -> None:
        channel = into.get(name)
        if channel is None:
            if len(into) >= MAX_CHANNELS:
                self.others += into is self.channels
                return
            channel = into[name] = SurveyedChannel(name)
        channel.add(rx, value, ts)

    def rename(self, source: str, name: str) -> None:
        """Rename a source to an unused name."""
        for group in (self.channels, self.vectors):
            for channel in list(group.values()):
                group[channel.name] = group.pop(channel.name)
                if channel.name.partition(":")[0] == source:
                    del group[channel.name]
                    channel.name = name + channel.name.removeprefix(source)
                    group[channel.name] = channel

    def rows(self, now: float) -> list[tuple[str, ...]]:
        """Return the cells of each channel: see `HEAD`."""
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


def shown(name: str, max_length: int = 48) -> str:
    """Return the printable form of a name, cut to `max_length`."""
    clean = re.sub(r"[^ -~]", "?", name)
    return clean if len(clean) <= max_length else f"{clean[: max_length - 3]}..."
