"""Remarks on a recording for its user: a sentence each.

Texts that are numbers with a decimal comma are markers, as all texts are; integers beyond 2^53
are rounded. Neither is an error of a row, and neither is a dead letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

NEVER_READ = "its clock was never read; taken to be the recorder's"
COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?\s*")


def is_comma_number(text: str) -> bool:
    """Whether a text is a number with a decimal comma."""
    return COMMA.fullmatch(text) is not None


def comma(channel: str, count: int, sample: str) -> str:
    """Return the remark on numbers with a decimal comma in a channel."""
    return (
        f"{channel}: {count:,} texts are numbers with a decimal comma ({sample.strip()!r}), and"
        " texts are markers: write them with a point, without quotes"
    )


def wide(channel: str, count: int) -> str:
    """Return the remark on integers that float64 cannot represent."""
    return (
        f"{channel}: {count:,} integers beyond 2^53 are rounded to the 53 bits of a float64;"
        " record their differences, or a larger unit"
    )


def unread(remarks: Iterable[str]) -> list[str]:
    """Return the sources whose clock was never read, from the remarks on their recordings."""
    end = f": {NEVER_READ}"
    return [remark.removesuffix(end) for remark in remarks if remark.endswith(end)]
