"""Recording and alerting rules in the format of Prometheus."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import yaml

RUNBOOK = "ops/monitoring/RUNBOOK.md"
Severity = Literal["critical", "warning"]


class Record(NamedTuple):
    """A recording rule."""

    name: str
    expr: str
    labels: dict[str, str] = {}

    def rule(self) -> dict[str, Any]:
        """Return the rule as a mapping."""
        made: dict[str, Any] = {"record": self.name, "expr": self.expr}
        return made | ({"labels": self.labels} if self.labels else {})


class Alert(NamedTuple):
    """An alerting rule.

    `family`: a critical alert inhibits the warnings of its family, rig and instance.
    `hold`: time for which the expression has to hold before the alert fires. `keep`: time for which
    it fires on after the end of that.
    `action`: what has to stop; `lumen gate --watch` runs a command for it.
    """

    name: str
    expr: str
    severity: Severity
    family: str
    summary: str
    description: str
    hold: str = "0s"
    action: str = ""
    keep: str = ""

    def rule(self) -> dict[str, Any]:
        """Return the rule as a mapping."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.hold,
            **({"keep_firing_for": self.keep} if self.keep else {}),
            "labels": {"severity": self.severity, "family": self.family}
            | ({"action": self.action} if self.action else {}),
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{RUNBOOK}#{self.name.lower()}",
            },
        }


class Group(NamedTuple):
    """Rules in order of evaluation: a record stands above the rules that read it."""

    name: str
    interval: str
    rules: tuple[Record | Alert, ...]


def text(groups: tuple[Group, ...], command: str) -> str:
    """Return the text of a rule file; its header names `command`."""
    listed = [
        {"name": group.name, "interval": group.interval, "rules": [r.rule() for r in group.rules]}
        for group in groups
    ]
    body = yaml.dump({"groups": listed}, Dumper=_Dumper, sort_keys=False, width=1000)
    return f"# Made by `{command}`: change its tables, not this file.\n{body}"


class _Dumper(yaml.SafeDumper):
    """YAML writer with block text for several lines, and indented lists."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


def _block_text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _block_text)
