"""Members of a signal that read it in unlike units, and the line of YAML that mends it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import hypot
from statistics import median_low
from typing import NamedTuple, Protocol

UNLIKE, SURE = 0.10, 0.05
"""How far from 1 a ratio of gains is another unit, and the most that its sd may be of it."""


class Scaled(Protocol):
    """A channel's newest gain and level, as a sync line has them."""

    @property
    def gain(self) -> float | None:
        """What the channel reads per unit of the signal."""

    @property
    def gain_sd(self) -> float | None:
        """Its standard deviation."""

    @property
    def scale_state(self) -> str | None:
        """`given` where nobody asked for it to be learnt."""


class Unlike(NamedTuple):
    """A channel that reads `ratio` times what `other` reads."""

    channel: str
    other: str
    ratio: float
    sd: float

    @property
    def text(self) -> str:
        """The finding and its remedy."""
        return (
            f"{self.channel} moves {self.ratio:.3g} +-{self.sd:.2g} times as much as {self.other}: "
            f"if its unit is another one, channels: "
            f"{{{json.dumps(self.channel, ensure_ascii=False)}: {{gain: auto, offset: auto}}}}"
        )


def unlike(members: Sequence[str], newest: Mapping[str, Scaled]) -> Iterator[Unlike]:
    """Yield the members whose gain is given and differs from the middle one's by more than 10 %.

    Parameters
    ----------
    members : sequence of str
        Channels of one signal, in the order of the configuration.
    newest : mapping of str to Scaled
        The newest sync line of each.
    """
    known: dict[str, tuple[float, float]] = {}
    for channel in members:
        line = newest.get(channel)
        if line and line.scale_state == "given" and line.gain and line.gain_sd is not None:
            known[channel] = (line.gain, line.gain_sd)
    if len(known) < 2:
        return
    middle = median_low([gain for gain, _ in known.values()])
    # Of two neither is in the middle: the first of the configuration stands for the signal.
    base = next(c for c, (g, _) in known.items() if len(known) == 2 or g == middle)
    own, own_sd = known[base]
    for channel, (gain, sd) in known.items():
        ratio = gain / own
        error = ratio * hypot(sd / gain, own_sd / own)
        if channel != base and abs(ratio - 1) > UNLIKE and error < SURE * ratio:
            yield Unlike(channel, base, ratio, error)
