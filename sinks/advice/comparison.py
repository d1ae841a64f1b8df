"""The reason why no members are compared, with its remedy: one sentence for every surface.

A comparison needs two present members whose lags are known with an sd. Below that there is no
bound, and the status is never "in sync".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from operators.types import ChannelState

NOT_COMPARED = "Not compared"
MAX_NAMED = 3


class MemberState(NamedTuple):
    """A member of a signal, from its newest sync line.

    `received`: whether any event was received; `refused`: its stream is mostly unusable.
    """

    channel: str
    state: ChannelState | None
    lag_s: float | None
    lag_sd_s: float | None
    received: bool
    refused: bool = False

    @property
    def live(self) -> bool:
        """Whether it is present."""
        return self.state == "live"

    @property
    def loose(self) -> bool:
        """Whether it is present with a lag of unknown error."""
        return self.live and self.lag_s is not None and self.lag_sd_s is None

    @property
    def searched(self) -> bool:
        """Whether its lag is not found yet although its events are usable."""
        return self.state == "acquiring" and self.received and not self.refused


def loose(members: Iterable[MemberState]) -> str:
    """Return the members whose lag has no sd, with the remedy; empty where there are none."""
    names = [m.channel for m in members if m.loose]
    if not names:
        return ""
    lag, has = ("lag", "is") if len(names) == 1 else ("lags", "are")
    return f"{lag} of {named(names)} {has} given without an sd: type lag_sd_s"


def reason(members: Iterable[MemberState]) -> str:
    """Return why a signal's members are not compared, with the remedy."""
    seen = list(members)
    if len(seen) == 1:
        return f"{seen[0].channel} is the only member: name a second one that measures the same"
    live = sum(m.live for m in seen)
    parts = [f"{'one channel' if live == 1 else 'no channel'} live"] if live < 2 else []
    parts.append(loose(seen))
    if searched := [m.channel for m in seen if m.searched]:
        lag = "lag" if len(searched) == 1 else "lags"
        parts.append(f"{lag} of {named(searched)} not found yet: it takes both moving for a while")
    absent = [m for m in seen if not m.live and (m.refused or not m.received)]
    if refused := [m.channel for m in absent if m.refused]:
        parts.append(f"events of {named(refused)} cannot be used: see its stream")
    if waiting := [m.channel for m in absent if not m.refused]:
        parts.append(f"nothing came from {named(waiting)}: start it, or look at its stream")
    if gone := [
        m.channel for m in seen if m.received and not m.refused and m.state in ("stale", "lost")
    ]:
        parts.append(f"{named(gone)} silent")
    if back := [m.channel for m in seen if m.state == "rejoining"]:
        parts.append(f"{named(back)} rejoining")
    found = "; ".join(filter(None, parts))
    return found or "fewer than two members with a known lag were live at once"


def reasons(signals: Iterable[list[MemberState]]) -> str:
    """Return the reasons of the signals with several members, or of all where there are none."""
    every = [members for members in signals if members]
    many = [members for members in every if len(members) > 1]
    if not many and len(every) > 1:
        alone = named([members[0].channel for members in every])
        return f"{alone} are each the only member: name a second one that measures the same"
    many = many or every
    return "; ".join(dict.fromkeys(map(reason, many)))


def named(names: list[str]) -> str:
    """Return names as a list in text, the first few of many."""
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
