"""Questions that the history answers: each is one SQL statement, the same for all databases.

A file begins with the question, its explanation, the names of its columns and its parameters; a
parameter with `!` has no default. Columns whose names end in `ts` are times (s since the epoch).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from configs.thresholds import OBJECTIVES, THRESHOLDS
from operators.errors import LumenError
from sinks.history.back_end import BackEnd, Row

ASK_S = 60.0
"""A question is ended after this time."""
_DEFAULTS: dict[str, Any] = {
    "rig": None,
    "from": -1e12,
    "to": 1e12,
    "phase_good": THRESHOLDS["phase_diff"].good,
    "sync_good": THRESHOLDS["sync_quality"].good,
    "residual_good": THRESHOLDS["residual"].good,
    **{f"{name}_required": share for name, share in OBJECTIVES.items()},
}


class QuestionError(LumenError):
    """A question that does not exist, or lacks a parameter."""


class Question(NamedTuple):
    """A shipped question.

    Attributes
    ----------
    name, title, text : str
        Name of the file, question, explanation.
    columns, parameters : tuple of str
    required : tuple of str
        Parameters without a default.
    sql : str
    """

    name: str
    title: str
    text: str
    columns: tuple[str, ...]
    parameters: tuple[str, ...]
    required: tuple[str, ...]
    sql: str


@cache
def questions() -> dict[str, Question]:
    """Return the shipped questions by name."""
    paths = sorted(Path(__file__).parent.glob("*.sql"))
    return {path.stem: _read(path) for path in paths}


def _read(path: Path) -> Question:
    sql = path.read_text("utf-8")
    lines = [line[2:].strip() for line in sql.splitlines() if line.startswith("--")]
    title, text = lines[0], " ".join(lines[1:])
    text, _, rest = text.partition("Columns: ")
    columns, _, parameters = rest.partition("Parameters: ")
    names = re.split(r",\s*", parameters.strip())
    return Question(
        path.stem,
        title,
        text.strip(),
        tuple(re.split(r",\s*", columns.strip())),
        tuple(name.rstrip("!") for name in names),
        tuple(name[:-1] for name in names if name.endswith("!")),
        sql,
    )


def ask(
    store: BackEnd, name: str, values: Mapping[str, Any] | None = None, limit_s: float = ASK_S
) -> tuple[Question, list[Row]]:
    """Answer a question.

    Parameters
    ----------
    store : BackEnd
    name : str
    values : mapping, optional
        Parameters by name; times in seconds since the epoch.
    limit_s : float

    Returns
    -------
    Question, list of tuple
        The rows are in the order of the question's columns.

    Raises
    ------
    QuestionError
        There is no such question, or a parameter is missing or unknown.
    QueryEndedError
        The answer took longer than `limit_s`.
    """
    if name not in questions():
        raise QuestionError(f"no question '{name}', expected one of {', '.join(questions())}")
    question, given = questions()[name], dict(values or {})
    if unknown := sorted(given.keys() - set(question.parameters)):
        raise QuestionError(f"question {name} has no parameter {', '.join(unknown)}")
    if missing := [each for each in question.required if given.get(each) is None]:
        raise QuestionError(f"question {name} needs {', '.join(missing)}")
    taken = {each: given.get(each, _DEFAULTS.get(each)) for each in question.parameters}
    return question, list(store.rows(question.sql, taken, limit_s))
