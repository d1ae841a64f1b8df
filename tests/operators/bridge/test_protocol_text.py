"""README, runbook and the transitions' label pairs are those of the table in code."""

from __future__ import annotations

import re
from pathlib import Path

from operators.bridge.bridge_config import ProtocolConfig, SafetyConfig
from operators.bridge.protocol import TABLE, TRANSITIONS, Protocol
from operators.bridge.protocol_text import diagram, markdown_table

ROOT = Path(__file__).parents[3]


def test_the_readme_draws_the_table() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    (drawing,) = re.findall(r"```mermaid\n(stateDiagram.*?)\n```", readme, re.S)
    assert drawing == diagram()


def test_the_runbook_has_the_table() -> None:
    assert f"\n\n{markdown_table()}\n\n" in (ROOT / "ops/monitoring/RUNBOOK.md").read_text("utf-8")


def test_drawing_table_and_counts_have_the_same_pairs() -> None:
    arrows = re.findall(r"^    (E\d) --> (E\d): (.+)$", diagram(), re.M)
    states: list[str] = []
    rows = set()
    for line in markdown_table().splitlines()[2:]:
        state, _, to, cause, _ = (cell.strip() for cell in line.strip("|").split("|"))
        states = re.findall(r"E\d", state) or states
        rows |= {(each, to, cause) for each in states}
    assert {(a, b) for a, b, _ in arrows} == set(TRANSITIONS) == {row[:2] for row in rows}
    assert len(arrows) == len(TRANSITIONS)
    assert rows == {(row.state, row.to, row.why) for row in TABLE}
    assert rows == {(a, b, why) for a, b, causes in arrows for why in causes.split(" or ")}
    counts = Protocol(ProtocolConfig(), SafetyConfig(), 5.0).transitions
    assert tuple(counts) == TRANSITIONS
