"""Events of a rig as table rows; a mode or a rule that flaps takes one row."""

from __future__ import annotations

from collections.abc import Iterator

from ops.report.model import RigData
from ops.text.numbers import count, unsure
from sinks.advice.changes import Transition, fold

Row = tuple[float, str, str]
"""Host time (s), event, details."""


def moments(rig: RigData) -> list[Row]:
    """Return modes, findings, clock resets and markers in order of time."""
    return sorted([*_modes(rig), *_rules(rig), *_others(rig)])


def _modes(rig: RigData) -> Iterator[Row]:
    begin = rig.course.begin or 0.0
    ticks = {spell.begin: spell.ticks for spell in rig.course.spells}
    for entry in fold(Transition(s.begin, "mode", "", s.mode) for s in rig.course.spells):
        left = f"for {count(ticks[entry.ts], 'tick')}"
        if entry.before:
            left = f"{entry.before} until {entry.ts - begin:.1f} s; then {left}"
        yield entry.since, f"mode {entry.text}", left


def _rules(rig: RigData) -> Iterator[Row]:
    begin = rig.course.begin or 0.0
    turns: list[Transition] = []
    found = {}
    for finding in rig.findings.listed:
        name = f"{finding.kind} {finding.rule}"
        found[finding.begin, name] = finding
        turns.append(Transition(finding.begin, "rule", name, "firing"))
        if finding.end is not None:
            turns.append(Transition(finding.end, "rule", name, "resolved"))
    for entry in fold(turns):
        first = found.get((entry.since, entry.name))
        if first is None:
            continue  # a resolved finding; its end stands in the row of its beginning
        end = first.end
        if entry.before:
            end = None if entry.text == "firing" else entry.ts
        until = "to the end" if end is None else f"until {end - begin:.1f} s"
        how = f"{entry.before} {until}" if entry.before else until
        yield entry.since, entry.name, f"{how}. {first.text}"


def _others(rig: RigData) -> Iterator[Row]:
    for source, track in rig.clocks.items():
        for reset in track.resets:
            yield (
                reset.at,
                f"clock reset {source}",
                f"by {unsure(reset.step_s, reset.sd_s, 1e3)} ms",
            )
    for marker in rig.findings.markers:
        yield marker.ts, f"marker {marker.channel or ''}", marker.value or ""
