"""A number within bounds, as an argument of a command."""

from __future__ import annotations

import argparse
import math


def bounded_number(text: str, least: float, most: float, expected: str) -> float:
    """Return the number of an argument.

    Raises
    ------
    argparse.ArgumentTypeError
        The text is no number from `least` to `most`; the message has `expected`.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
    return number
