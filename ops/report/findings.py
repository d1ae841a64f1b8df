"""Findings of the rules, dead letters and markers of a rig, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ops.results.lines import EvidenceLine, LineReader, MarkerPart, UnusedLine

MAX_LISTED, MAX_KINDS, MAX_NAMES = 200, 64, 256
OTHERS = "*"


@dataclass
class ReportedFinding:
    """A rule that held from `begin` to `end` (host s); it still holds without an end."""

    rule: str
    kind: str
    begin: float
    end: float | None
    text: str


@dataclass
class CountedUnused:
    """Rejected events of one stage, reason and source, with the first sample."""

    count: int = 0
    where: str = ""
    sample: str = ""


@dataclass
class Findings:
    """Findings, dead letters and markers of one rig.

    `listed` holds the first `MAX_LISTED` findings in order of time; `fired` counts all by rule.
    `dead` is keyed by (stage, reason, source); keys beyond `MAX_NAMES` count under `*`.
    `markers` holds the first `MAX_LISTED` markers, of `marked` in all.
    """

    listed: list[ReportedFinding] = field(default_factory=list)
    fired: Counter[str] = field(default_factory=Counter)
    risks: Counter[str] = field(default_factory=Counter)
    dead: dict[tuple[str, str, str], CountedUnused] = field(default_factory=dict)
    markers: list[MarkerPart] = field(default_factory=list)
    marked: int = 0


def findings(reader: LineReader) -> Findings:
    """Return the findings, dead letters and markers of a rig's files."""
    found = Findings()
    _evidence(reader.lines("evidence", EvidenceLine), found)
    for letter in reader.lines("dead", UnusedLine):
        _count(letter, found.dead)
    for marker in reader.lines("markers", MarkerPart):
        found.marked += 1
        if len(found.markers) < MAX_LISTED:
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
        finding = ReportedFinding(rule, line.kind or "?", line.ts, None, _text(line))
        firing[rule] = finding
        if len(found.listed) < MAX_LISTED:
            found.listed.append(finding)


def _text(line: EvidenceLine) -> str:
    facts = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, int | float) else f"{name} unknown"
        for name, value in line.facts.items()
    )
    return line.quote or " ".join(part for part in (facts and f"{facts}.", line.action) if part)


def _count(letter: UnusedLine, dead: dict[tuple[str, str, str], CountedUnused]) -> None:
    kind = letter.stage or "?", letter.reason or "?", letter.source or "?"
    if kind not in dead and len(dead) >= MAX_NAMES:
        kind = OTHERS, OTHERS, OTHERS
    counted = dead.setdefault(
        kind, CountedUnused(where=letter.where or "", sample=letter.sample or "")
    )
    counted.count += letter.count or 0
