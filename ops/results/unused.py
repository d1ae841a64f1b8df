"""Sources of which much could not be used: a sentence each, with the reason and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

LATE, REJECTED = 0.05, 0.05
"""Shares of a source's events beyond which they are a finding."""
HALF = 0.5
_LATE = (
    "they came when every tick that they serve had been released: raise resample.wait_s,"
    " or take resample.profile: accurate"
)


class UnusedKind(NamedTuple):
    """Dead letters of one kind."""

    source: str
    reason: str
    events: int
    sample: str


def findings(
    accounts: Mapping[str, Mapping[str, int]], letters: Iterable[UnusedKind]
) -> Iterator[str]:
    """Yield a sentence for each source of which much was late or rejected.

    Parameters
    ----------
    accounts : mapping
        The ends of each source's events, by name.
    letters : iterable of Refused
        The main reason of a source's rejects is the one with the most of them.
    """
    counts: dict[tuple[str, str], int] = {}
    samples: dict[tuple[str, str], str] = {}
    for letter in letters:
        kind = letter.source, letter.reason
        counts[kind] = counts.get(kind, 0) + letter.events
        samples.setdefault(kind, letter.sample)
    for source, ends in sorted(accounts.items()):
        received = ends.get("received", 0)
        if (late := ends.get("late", 0)) > LATE * received:
            yield f"{source}: {_of(late, received)} were late: {_LATE}"
        if (rejected := ends.get("rejected", 0)) > REJECTED * received:
            said = f"{source}: {_of(rejected, received)} were rejected"
            kinds = [kind for kind in counts if kind[0] == source]
            if kinds:
                kind = max(kinds, key=lambda kind: counts[kind])
                said += f", {counts[kind]:,} of them as {kind[1]} ({samples[kind]})"
            yield said


def refused(accounts: Mapping[str, Mapping[str, int]], source: str) -> bool:
    """Whether most of a source's events were rejected."""
    ends = accounts.get(source, {})
    return ends.get("rejected", 0) > HALF * ends.get("received", 0)


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} events ({100 * part / whole:.3g} %)"
