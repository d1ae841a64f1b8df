"""Records and alerts as Prometheus reads them."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import yaml

RUNBOOK = "ops/monitoring/RUNBOOK.md"
Severity = Literal["critical", "warning"]


class Record(NamedTuple):
    """A series made of others."""

    name: str
    expr: str
    labels: dict[str, str] = {}

    def rule(self) -> dict[str, Any]:
        """Return it as a rule."""
        made: dict[str, Any] = {"record": self.name, "expr": self.expr}
        return made | ({"labels": self.labels} if self.labels else {})


class Alert(NamedTuple):
    """What is told to people.

    `family`: of those of one family and place, a critical one silences the warnings.
    `hold`: how long the expression has to hold before it is told.
    """

    name: str
    expr: str
    severity: Severity
    family: str
    summary: str
    description: str
    hold: str = "0s"

    def rule(self) -> dict[str, Any]:
        """Return it as a rule."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.hold,
            "labels": {"severity": self.severity, "family": self.family},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{RUNBOOK}#{self.name.lower()}",
            },
        }


class Group(NamedTuple):
    """Rules that are worked out one after the other: what is read stands above who reads it."""

    name: str
    interval: str
    rules: tuple[Record | Alert, ...]


def text(groups: tuple[Group, ...], command: str) -> str:
    """Return a rule file that `command` made."""
    listed = [
        {"name": group.name, "interval": group.interval, "rules": [r.rule() for r in group.rules]}
        for group in groups
    ]
    body = yaml.dump({"groups": listed}, Dumper=_Dumper, sort_keys=False, width=1000)
    return f"# Made by `{command}`: change its tables, not this file.\n{body}"


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such, and lists set in."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


def _said(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _said)
