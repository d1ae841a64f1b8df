"""What the rules found, what could not be used, and the markers, in bounded room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ops.results.lines import DeadLineFields, EvidenceLine, LineReader, MarkerPart

MAX_TOLD, MAX_KINDS, MAX_NAMES = 200, 64, 256
OTHERS = "*"


@dataclass
class ReportedFinding:
    """A rule that held from `begin` to `end` (host s); without an end, it holds still."""

    rule: str
    kind: str
    begin: float
    end: float | None
    said: str


@dataclass
class CountedRejection:
    """Losses of one stage, reason and source, and the first of them."""

    count: int = 0
    where: str = ""
    sample: str = ""


@dataclass
class Findings:
    """Findings in order of time, the first `MAX_TOLD`; `fired` counts all, by rule.

    `dead` by (stage, reason, source), what is beyond `MAX_NAMES` of them under `*`; the first
    `MAX_TOLD` `markers`, of `marked` in all.
    """

    told: list[ReportedFinding] = field(default_factory=list)
    fired: Counter[str] = field(default_factory=Counter)
    risks: Counter[str] = field(default_factory=Counter)
    dead: dict[tuple[str, str, str], CountedRejection] = field(default_factory=dict)
    markers: list[MarkerPart] = field(default_factory=list)
    marked: int = 0


def findings(reader: LineReader) -> Findings:
    """Return what a rig's files hold."""
    found = Findings()
    _evidence(reader.lines("evidence", EvidenceLine), found)
    for letter in reader.lines("dead", DeadLineFields):
        _bury(letter, found.dead)
    for marker in reader.lines("markers", MarkerPart):
        found.marked += 1
        if len(found.markers) < MAX_TOLD:
            found.markers.append(marker)
    return found


def _evidence(lines: Iterable[EvidenceLine], found: Findings) -> None:
    firing: dict[str, ReportedFinding] = {}
    for line in lines:
        rule = line.rule if line.rule in found.fired or len(found.fired) < MAX_KINDS else OTHERS
        if line.state == "resolved":
            if rule in firing:
                firing.pop(rule).end = line.ts
            continue
        found.fired[rule] += 1
        if line.kind == "risk":
            found.risks[rule] += 1
        firing[rule] = finding = ReportedFinding(rule, line.kind or "?", line.ts, None, _said(line))
        if len(found.told) < MAX_TOLD:
            found.told.append(finding)


def _said(line: EvidenceLine) -> str:
    facts = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, int | float) else f"{name} unknown"
        for name, value in line.facts.items()
    )
    return line.quote or " ".join(part for part in (facts and f"{facts}.", line.action) if part)


def _bury(letter: DeadLineFields, dead: dict[tuple[str, str, str], CountedRejection]) -> None:
    kind = letter.stage or "?", letter.reason or "?", letter.source or "?"
    if kind not in dead and len(dead) >= MAX_NAMES:
        kind = OTHERS, OTHERS, OTHERS
    grave = dead.setdefault(
        kind, CountedRejection(where=letter.where or "", sample=letter.sample or "")
    )
    grave.count += letter.count or 0
