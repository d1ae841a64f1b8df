"""Changes of state for display: a flapping subject is one entry, not a hundred.

A run of changes of one subject, each within `FOLD_S` of the one before, is folded once a state
occurs for the third time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

Kind = Literal["mode", "channel", "stream", "clock", "rule"]
FOLD_S, MIN_FLAPS = 60.0, 3
_CALM = frozenset({"live", "up", "fused", "resolved"})


class Transition(NamedTuple):
    """A subject enters a state at `ts` (s); `detail` belongs to the state."""

    ts: float
    kind: Kind
    name: str
    state: str
    detail: str = ""


class ChangeEntry(NamedTuple):
    """The newest change of a subject, and the counts of its states from `since` on (s).

    Attributes
    ----------
    ts : float
        Of the newest change.
    kind, name : str
        The subject.
    text : str
        The current state.
    since : float
        Of the first change.
    before : str
        Of a folded run, the states with their counts; else empty.
    """

    ts: float
    kind: Kind
    name: str
    text: str
    since: float
    before: str = ""


def fold(transitions: Iterable[Transition]) -> list[ChangeEntry]:
    """Return entries in the order of their newest change."""
    runs: list[list[Transition]] = []
    newest: dict[tuple[str, str], list[Transition]] = {}
    for transition in sorted(transitions):
        subject = transition.kind, transition.name
        run = newest.get(subject)
        if run is None or transition.ts - run[-1].ts > FOLD_S:
            run = newest[subject] = []
            runs.append(run)
        run.append(transition)
    return sorted(entry for run in runs for entry in _entries(run))


def _entries(run: list[Transition]) -> list[ChangeEntry]:
    counts = Counter(transition.state for transition in run)
    if max(counts.values()) < MIN_FLAPS:
        return [ChangeEntry(m.ts, m.kind, m.name, _text(m), m.ts) for m in run]
    last = run[-1]
    shown = [state for state in counts if state not in _CALM] or list(counts)
    before = ", ".join(
        f"{state} once" if counts[state] == 1 else f"{state} {counts[state]} times"
        for state in shown
    )
    return [ChangeEntry(last.ts, last.kind, last.name, _text(last), run[0].ts, before)]


def _text(transition: Transition) -> str:
    return f"{transition.state}: {transition.detail}" if transition.detail else transition.state
