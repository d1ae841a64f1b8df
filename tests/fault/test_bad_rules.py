"""Every bad rule is refused at once, in its place, with the expected value."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.refused import BASE, HERE, faults, marked

pytestmark = pytest.mark.usefixtures("run_folder")


BAD_RULES = {
    "a mapping": (f"{HERE}a: 1", "is a mapping, expected a list of rules"),
    "a rule without a condition": (f"- {HERE}risk: a", "'when' is missing"),
    "two conditions": (f"- when: live < 1\n  {HERE}if: live < 2", "beside another condition"),
    "an unknown key": (f"- when: live < 1\n  {HERE}sverity: high", "(did you mean 'severity'?)"),
    "an unknown name": (f"- when: live < 1 and {HERE}coherense > 0", "did you mean 'coherence'?"),
    "a quoted unknown name": (f'- if: "live < 1 or {HERE}puls > 0"', "did you mean 'pulse'?"),
    "a number for a condition": (f"- when: {HERE}live + 1", "expected a condition"),
    "Python": (f"- when: {HERE}__import__('os').system('ls')", "unknown function '__import__'"),
    "a sentence": (f"- match: coherence {HERE}falls", "unexpected 'falls'"),
    "a negative duration": (f"- when: live < 1\n  for_s: {HERE}-5", "expected a number >= 0"),
    "two rules of one name": (
        f"- {{when: live < 1, risk: a}}\n- {HERE}{{when: live < 2, risk: a}}",
        "a second rule",
    ),
}


@pytest.mark.parametrize("name", BAD_RULES)
def test_a_bad_rule_is_refused_in_its_place(name: str) -> None:
    text, expected = BAD_RULES[name]
    clean, line, col = marked(text)
    Path("rules/r.yaml").write_text(clean, "utf-8")
    Path("c.yaml").write_text(BASE + "evidence: {rules: [rules/r.yaml]}", "utf-8")

    found = faults("c.yaml")

    assert len(found) == 1
    assert found[0].startswith(f"rules/r.yaml:{line}:{col}: ")
    assert expected in found[0]
