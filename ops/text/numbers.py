"""Numbers as text, for sentences."""

from __future__ import annotations

import datetime
import math

from ops.text.table import places

NONE = "not known"


def known(value: float | None) -> bool:
    """Return whether the value is a finite number."""
    return value is not None and math.isfinite(value)


def plain(value: float | None, digits: int = 3) -> str:
    """Return a number with `digits` significant digits, in powers of ten beyond 12 places."""
    if value is None or not math.isfinite(value):
        return NONE
    if not value:
        return "0"
    before = math.floor(math.log10(abs(value))) + 1
    if not -4 <= before <= 12:
        return f"{value:.{digits - 1}e}"
    return f"{round(value, digits - before) + 0.0:.{max(digits - before, 0)}f}"


def unsure(value: float | None, sd: float | None, scale: float = 1.0) -> str:
    """Return `value ± sd`: the sd with two digits, the value to the same place."""
    if value is None or not math.isfinite(value):
        return NONE
    if sd is None or not math.isfinite(sd):
        return f"{plain(value * scale)} (sd {NONE})"
    sd, value = sd * scale, value * scale
    if sd <= 0:
        return f"{plain(value)} ± 0"
    digits = places(sd)
    return f"{round(value, digits) + 0.0:.{digits}f} ± {sd:.{digits}f}"


def share(part: int, whole: int) -> str:
    """Return a part of a whole in per cent; an incomplete part never rounds to 100 %."""
    if not whole:
        return NONE
    percent = 100 * part / whole
    rounded = f"{percent:.1f}" if percent < 10 or percent > 99 else f"{percent:.0f}"
    if part < whole and float(rounded) >= 100:
        return "more than 99.9 %"
    if part and float(rounded) == 0:
        return "less than 0.1 %"
    return f"{rounded.removesuffix('.0')} %"


def count(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun if number == 1 else noun + 's'}".replace(",", " ")


def milliseconds(value_s: float | None) -> str:
    """Return a time in ms."""
    return NONE if value_s is None else f"{plain(1e3 * value_s)} ms" if known(value_s) else NONE


def utc(time: float | None) -> str:
    """Return a host time as a UTC date, or in seconds for times that are no date."""
    if time is None:
        return NONE
    try:
        moment = datetime.datetime.fromtimestamp(time, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time:.3f} s"
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if time > 1e8 else f"{time:.3f} s"
