"""Times as arguments of commands."""

from __future__ import annotations

import argparse
import math
from datetime import UTC, datetime


def moment(text: str) -> float:
    """Return the time of an argument (s since the epoch).

    Parameters
    ----------
    text : str
        A date or a date with a time as in ISO 8601, of UTC without a zone; or seconds.

    Raises
    ------
    argparse.ArgumentTypeError
        It is neither.
    """
    try:
        seconds = float(text)
    except ValueError:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            seconds = math.nan
        else:
            seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(seconds):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time, expected 2026-11-21, 2026-11-21T12:00 or seconds since 1970"
        )
    return seconds


def shown(seconds: float) -> str:
    """Return a time in ISO 8601 (UTC); seconds where no calendar has it."""
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return f"{seconds:g}"
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds").removesuffix(".000") + "Z"
