"""Proposed members of each signal, and the rejected guesses.

Two channels of different sources become members of one signal if they share a label, a type or a
unit, and if their series agree. A generated name (`ch1`, `column_2`) is no label. A type or a unit
counts for the only channel of a source. A label counts also by its last part (`/body/pulse`,
`pulse`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from configs.coherence import RESERVED
from configs.inert import quoted
from operators.events import READING_KEY
from ops.cli.guess.agreement import Agreement
from ops.cli.guess.survey import RecordedChannel
from sinks.advice.comparison import named as listed

MAX_PAIRS = 600
"""Compared pairs of channels without a common label, type or unit."""
MIN_ALIKE_RHO = 0.6
"""Smallest correlation of such a pair that is reported."""

Compare = Callable[[str, str], Agreement]


class Proposal(NamedTuple):
    """Signals and the reasons for them.

    Attributes
    ----------
    signals : dict
        Members by name; signals with several members come first.
    made, unmade : list of str
        A sentence for each guess.
    lag_s : float
        The largest lag between members (s).
    """

    signals: dict[str, list[str]]
    made: list[str]
    unmade: list[str]
    lag_s: float


def propose(channels: Sequence[RecordedChannel], compare: Compare, glance: Compare) -> Proposal:
    """Return the signals of sampled channels.

    Parameters
    ----------
    channels : sequence of RecordedChannel
    compare, glance : callable
        Return the agreement of two channels, by name: in full, and coarsely.
    """
    groups = {c.name: [c.name] for c in channels}
    alone = {c.source for c in channels} - _repeated(c.source for c in channels)
    plain = _repeated(f"{c.source}:{word(c)}" for c in channels)
    close: list[_Pair] = []
    far: list[_Pair] = []
    for one, other in combinations(channels, 2):
        if one.source != other.source:
            why = common(one, other, alone, plain)
            (close if why else far).append(_Pair(one, other, why))
    joined: list[tuple[_Pair, Agreement]] = []
    apart: list[tuple[_Pair, Agreement]] = []
    for pair in sorted(close, key=lambda pair: pair.one.label != pair.other.label):
        mine, theirs = groups[pair.one.name], groups[pair.other.name]
        if mine is theirs:
            continue
        found = compare(pair.one.name, pair.other.name)
        if found.agree and not _sources(mine) & _sources(theirs):
            mine += theirs
            groups |= dict.fromkeys(theirs, mine)
            joined.append((pair, found))
        else:
            apart.append((pair, found))
    distinct = {id(members): members for members in groups.values()}
    signals = named(sorted(distinct.values(), key=lambda members: len(members) == 1))
    of = {member: name for name, members in signals.items() for member in members}
    lag_s = max((abs(found.lag_s) for _, found in joined), default=0.0)
    unmade = [*_apart(apart, of), *_alike(far, glance, of)]
    return Proposal(signals, list(_made(joined, of, signals)), unmade, lag_s)


class _Pair(NamedTuple):
    """Two channels, and the evidence that they measure one quantity."""

    one: RecordedChannel
    other: RecordedChannel
    why: str


def _made(
    joined: Sequence[tuple[_Pair, Agreement]], of: dict[str, str], signals: dict[str, list[str]]
) -> Iterator[str]:
    """Yield a sentence for each signal of several members."""
    by_signal: dict[str, list[tuple[_Pair, Agreement]]] = defaultdict(list)
    for pair, found in joined:
        by_signal[of[pair.one.name]].append((pair, found))
    for name, pairs in by_signal.items():
        least = min((found for _, found in pairs), key=lambda found: found.rho)
        whys = " or ".join(dict.fromkeys(pair.why for pair, _ in pairs))
        moves = _moves(least) if len(pairs) == 1 else f"correlations from {least.rho:.2f} up"
        count = f"{len(signals[name])} channels" if len(pairs) > 1 else "two channels"
        yield f"{name} fuses {count} ({listed(signals[name])}): {whys}; {moves}"


def _apart(apart: Sequence[tuple[_Pair, Agreement]], of: dict[str, str]) -> Iterator[str]:
    """Yield a sentence for each pair of signals whose channels share a label only."""
    seen = set()
    for pair, found in apart:
        one, other, why = pair
        two = frozenset((of[one.name], of[other.name]))
        if len(two) == 2 and two not in seen:
            seen.add(two)
            because = found.why or "a signal has at most one channel of a source"
            yield (
                f"{one.name} and {other.name} are not fused, though both are {why}: {because};"
                f" to fuse them: {line(of, one.name, other.name)}"
            )


def _alike(pairs: Sequence[_Pair], compare: Compare, of: dict[str, str]) -> Iterator[str]:
    """Yield the strongest agreement of two sources without a common label, type or unit."""
    best: dict[frozenset[str], tuple[RecordedChannel, RecordedChannel, Agreement]] = {}
    for one, other, _ in pairs[:MAX_PAIRS]:
        if of[one.name] == of[other.name]:
            continue
        found = compare(one.name, other.name)
        key = frozenset((one.source, other.source))
        if found.agree and found.rho > max(MIN_ALIKE_RHO, best[key][2].rho if key in best else 0.0):
            best[key] = one, other, found
    for one, other, found in best.values():
        yield (
            f"{one.name} and {other.name} agree ({_moves(found)}), but share no label, type or"
            f" unit; to fuse them: {line(of, one.name, other.name)}"
        )


def common(
    one: RecordedChannel, other: RecordedChannel, alone: Collection[str], repeated: Collection[str]
) -> str:
    """Return the evidence that two channels measure one quantity; empty for none.

    Parameters
    ----------
    one, other : RecordedChannel
    alone : collection of str
        Sources with a single channel.
    repeated : collection of str
        `<source>:<word>` shared by several channels of a source.
    """
    if not one.label or not other.label:
        return ""
    if one.label.lower() == other.label.lower():
        return f"labelled {one.label!r}"
    double = any(f"{c.source}:{word(c)}" in repeated for c in (one, other))
    if word(one) == word(other) and not double:
        return f"labelled {word(one)!r}"
    if one.source in alone and other.source in alone:
        if one.type and one.type.lower() == other.type.lower():
            return f"of the type {one.type!r}"
        if one.unit not in ("", "1") and one.unit == other.unit:
            return f"of the unit {one.unit!r}"
    return ""


def word(channel: RecordedChannel) -> str:
    """Return the last part of a label, in lower case, without the name of its source."""
    last = channel.label.lower().rstrip("/").rpartition("/")[2].strip()
    return last.removeprefix(f"{channel.source.lower()}_") or last


def line(of: dict[str, str], *members: str) -> str:
    """Return the line of YAML that declares the members of a signal."""
    text = ", ".join(f"{quoted(m)}: {{group: {group(m)}}}" for m in members)
    return f"signals: {{{of[members[0]]}: {{members: {{{text}}}}}}}"


def group(channel: str) -> str:
    """Return the weight group of a channel."""
    return "ure" if channel.partition(":")[0] == "ure" else "sensors"


def named(groups: Iterable[list[str]]) -> dict[str, list[str]]:
    """Return named groups of channels; the name is that of the key, else of source and key."""
    out: dict[str, list[str]] = {}
    for members in groups:
        source, _, key = members[0].partition(":")
        parts = re.findall(r"[A-Za-z0-9_]+", key)
        of_source = re.sub(r"\W+", "_", source, flags=re.ASCII).strip("_")
        names = [parts[-1], f"{of_source}_{parts[-1]}"] if parts else []
        names = [name for name in names if _fits(name) and name not in out]
        out[names[0] if names else f"signal_{len(out) + 1}"] = members
    return out


def _fits(name: str) -> bool:
    return name.isidentifier() and name not in RESERVED and not name.endswith("_sd")


def held(channels: Iterable[RecordedChannel]) -> Iterator[str]:
    """Yield a sentence for each channel whose kind the file does not declare."""
    for c in channels:
        if c.key == READING_KEY:
            continue
        if c.held:
            fused = (
                f"signals: {{{_name(c)}: {{members: {{{quoted(c.name)}: {{group: sensors}}}}}}}}"
            )
            yield (
                f"{c.name} is held, and a fact ({c.held}); to fuse it, remove the fact and add"
                f" {fused}"
            )
        elif c.guessed:
            yield (
                f"{c.name} is assumed to be sampled ({c.guessed}); if it is sent on change:"
                f" channels: {{{quoted(c.name)}: {{kind: held}}}}"
            )


def _name(channel: RecordedChannel) -> str:
    return next(iter(named([[channel.name]])))


def _sources(members: Iterable[str]) -> set[str]:
    return {name.partition(":")[0] for name in members}


def _moves(found: Agreement) -> str:
    return f"correlation {found.rho:.2f} at a lag of {found.lag_s:+.2f} s"


def _repeated(names: Iterable[str]) -> set[str]:
    count: dict[str, int] = defaultdict(int)
    for name in names:
        count[name] += 1
    return {name for name, n in count.items() if n > 1}
