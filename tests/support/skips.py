"""The end of a test run: one line for each kind of skipped test, with the target that helps."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

FETCHED = re.compile(r"no (?P<programs>.+) here: run `make (?P<target>\S+)`")
"""The reason of a test whose programs a make target fetches."""


def reason(programs: Iterable[str], target: str) -> str:
    """Return the reason of a test that lacks programs of a make target."""
    return f"no {', '.join(programs)} here: run `make {target}`"


def no_folder(content: str, folder: Path) -> str:
    """Return the reason of a test that lacks a folder of files; no make target fetches them."""
    return f"no {content} here: no folder {folder}"


def lines(reasons: Iterable[str]) -> list[str]:
    """Return one line for each make target, then one for each other reason."""
    fetched: Counter[str] = Counter()
    programs: defaultdict[str, set[str]] = defaultdict(set)
    other: Counter[str] = Counter()
    for text in reasons:
        text = text.removeprefix("Skipped: ")
        if match := FETCHED.fullmatch(text):
            fetched[match["target"]] += 1
            programs[match["target"]].update(match["programs"].split(", "))
        else:
            other[text] += 1
    named = [(reason(sorted(programs[t]), t), n) for t, n in sorted(fetched.items())]
    return [f"{n} skipped: {text}" for text, n in (*named, *sorted(other.items()))]
