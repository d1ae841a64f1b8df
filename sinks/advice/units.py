"""Members of a signal with different units, and the line of YAML that corrects it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import hypot
from statistics import median_low
from typing import NamedTuple, Protocol

MIN_DIFFERENCE, MAX_RELATIVE_SD = 0.10, 0.05
"""Distance of a gain ratio from 1 that is another unit; largest relative sd of the ratio."""


class Scaled(Protocol):
    """A channel's newest gain, from its sync line."""

    @property
    def gain(self) -> float | None:
        """Reading of the channel per unit of the signal."""

    @property
    def gain_sd(self) -> float | None:
        """Its standard deviation."""

    @property
    def scale_state(self) -> str | None:
        """`given` where the gain is not learnt."""


class Unlike(NamedTuple):
    """A channel whose readings are `ratio` times those of `other`."""

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
    """Yield the members with a given gain that differs from the median by more than 10 %.

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
    # Of two, neither is the median: the first of the configuration represents the signal.
    base = next(c for c, (g, _) in known.items() if len(known) == 2 or g == middle)
    own, own_sd = known[base]
    for channel, (gain, sd) in known.items():
        ratio = gain / own
        # sd(r) / r = sqrt((sd_g / g)^2 + (sd_o / o)^2), r = g / o
        error = ratio * hypot(sd / gain, own_sd / own)
        if channel != base and abs(ratio - 1) > MIN_DIFFERENCE and error < MAX_RELATIVE_SD * ratio:
            yield Unlike(channel, base, ratio, error)
