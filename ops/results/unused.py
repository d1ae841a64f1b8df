"""Sources with many unused events: a sentence each, with the reason and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

MAX_LATE, MAX_REJECTED = 0.05, 0.05
"""Shares of the events of a source; beyond them follows a finding."""
MOSTLY = 0.5
_LATE = (
    "they arrived after the release of all ticks that they serve: raise resample.wait_s,"
    " or choose resample.profile: accurate"
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
    """Yield a sentence for each source with many late or rejected events.

    Parameters
    ----------
    accounts : mapping
        The ends of each source's events, by name.
    letters : iterable of UnusedKind
        The reason with the most events is the main reason of a source.
    """
    counts: dict[tuple[str, str], int] = {}
    samples: dict[tuple[str, str], str] = {}
    for letter in letters:
        kind = letter.source, letter.reason
        counts[kind] = counts.get(kind, 0) + letter.events
        samples.setdefault(kind, letter.sample)
    for source, ends in sorted(accounts.items()):
        received = ends.get("received", 0)
        if (late := ends.get("late", 0)) > MAX_LATE * received:
            yield f"{source}: {_of(late, received)} were late: {_LATE}"
        if (rejected := ends.get("rejected", 0)) > MAX_REJECTED * received:
            text = f"{source}: {_of(rejected, received)} were rejected"
            kinds = [kind for kind in counts if kind[0] == source]
            if kinds:
                kind = max(kinds, key=lambda kind: counts[kind])
                text += f", {counts[kind]:,} of them as {kind[1]} ({samples[kind]})"
            yield text


def refused(accounts: Mapping[str, Mapping[str, int]], source: str) -> bool:
    """Return whether most events of a source were rejected."""
    ends = accounts.get(source, {})
    return ends.get("rejected", 0) > MOSTLY * ends.get("received", 0)


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} events ({100 * part / whole:.3g} %)"
