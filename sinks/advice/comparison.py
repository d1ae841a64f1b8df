"""Why nothing is compared, and what mends it: one sentence for every surface.

Two members have to be present whose lags are known with an sd; below that there is no bound, and
nothing is called in sync.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from operators.types import ChannelState

NOT_COMPARED = "Not compared"
MAX_NAMED = 3


class MemberState(NamedTuple):
    """A member of a signal as its newest sync line has it.

    `came`: whether any event did; `refused`: most of its stream cannot be used.
    """

    channel: str
    state: ChannelState | None
    lag_s: float | None
    lag_sd_s: float | None
    came: bool
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
        """Whether its lag is not found yet, though its events can be used."""
        return self.state == "acquiring" and self.came and not self.refused


def loose(members: Iterable[MemberState]) -> str:
    """Return the members whose lag has no sd, with the remedy; nothing where there is none."""
    names = [m.channel for m in members if m.loose]
    if not names:
        return ""
    lag, has = ("lag", "is") if len(names) == 1 else ("lags", "are")
    return f"{lag} of {named(names)} {has} given without an sd: type lag_sd_s"


def reason(members: Iterable[MemberState]) -> str:
    """Return why a signal's members are not compared, and what mends it."""
    seen = list(members)
    if len(seen) == 1:
        return f"{seen[0].channel} is the only member: name a second one that measures the same"
    live = sum(m.live for m in seen)
    said = [f"{'one channel' if live == 1 else 'no channel'} live"] if live < 2 else []
    said.append(loose(seen))
    if searched := [m.channel for m in seen if m.searched]:
        lag = "lag" if len(searched) == 1 else "lags"
        said.append(f"{lag} of {named(searched)} not found yet: it takes both moving for a while")
    absent = [m for m in seen if not m.live and (m.refused or not m.came)]
    if refused := [m.channel for m in absent if m.refused]:
        said.append(f"what comes for {named(refused)} cannot be used: its stream says why")
    if waiting := [m.channel for m in absent if not m.refused]:
        said.append(f"nothing came from {named(waiting)}: start it, or look at its stream")
    if gone := [
        m.channel for m in seen if m.came and not m.refused and m.state in ("stale", "lost")
    ]:
        said.append(f"{named(gone)} silent")
    if back := [m.channel for m in seen if m.state == "rejoining"]:
        said.append(f"{named(back)} rejoining")
    found = "; ".join(filter(None, said))
    return found or "fewer than two members with a known lag were live at once"


def reasons(signals: Iterable[list[MemberState]]) -> str:
    """Return the reasons of all signals that could be compared, or of all where none could."""
    every = [members for members in signals if members]
    many = [members for members in every if len(members) > 1]
    if not many and len(every) > 1:
        alone = named([members[0].channel for members in every])
        return f"{alone} are each the only member: name a second one that measures the same"
    many = many or every
    return "; ".join(dict.fromkeys(map(reason, many)))


def named(names: list[str]) -> str:
    """Return names in a row, the first few of many."""
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
