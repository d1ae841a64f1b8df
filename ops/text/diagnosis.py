"""A line of `lumen doctor`."""

from __future__ import annotations

from typing import Literal, NamedTuple

Verdict = Literal["ok", "warn", "bad"]


class Diagnosis(NamedTuple):
    """One line: the subject, the finding and the remedy."""

    verdict: Verdict
    subject: str
    found: str
    todo: str = ""

    def __str__(self) -> str:
        """Return the line."""
        return f"{self.verdict:4}  {self.subject:8}  {self.found}" + (
            f": {self.todo}" if self.todo else ""
        )
