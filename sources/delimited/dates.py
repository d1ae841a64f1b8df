"""Reader of dates with time: seconds since the Unix epoch, one by one and as columns.

Columns: `YYYY-MM-DD hh:mm:ss` (also with `/` or `.`, with `T`) and `DD.MM.YYYY hh:mm:ss`, a
fraction of up to nine digits, and `Z`, `+hh`, `+hhmm` or `+hh:mm`; UTC without a zone. Other forms
of ISO 8601 are read one by one. The choice depends on the text alone.

Days since 1970 of a date: H. Hinnant, "chrono-compatible low-level date algorithms" (2013).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from operators.types import F64, I64, Bool
from sources.rows.columns import Text, read_digits

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DOTTED = re.compile(r"([0-9]{2})\.([0-9]{2})\.([0-9]{4})(.*)", re.DOTALL)
_WITH_TIME = re.compile(r".*[0-9][T ][0-9]{2}:?[0-9]{2}", re.DOTALL)
_LENGTH = 19
_MAX_DECIMALS = 9
_DOT, _COLON = 46, 58
_BETWEEN, _POINTS = (45, 46, 47), (44, 46)
_YEAR_FIRST = ((0, 1, 2, 3), (5, 6), (8, 9))
_DAY_FIRST = ((6, 7, 8, 9), (3, 4), (0, 1))
_CLOCK = ((11, 12), (14, 15), (17, 18))
"""Places of the digits of year, month and day, and of hour, minute and second."""
_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


class Date(NamedTuple):
    """Seconds since the Unix epoch; `zoned`: the text has a zone."""

    seconds: float
    zoned: bool


def date_of(text: str) -> Date | None:
    """Return the date and time in a text, None for any other text."""
    text = text.strip()
    if found := _DOTTED.fullmatch(text):
        text = f"{found[3]}-{found[2]}-{found[1]}{found[4]}"
    elif len(text) > 9 and text[4] in "/." and text[7] == text[4]:
        text = f"{text[:4]}-{text[5:7]}-{text[8:]}"
    if not _WITH_TIME.match(text):
        return None
    text = text.replace(",", ".").replace(" +", "+").replace(" Z", "Z")
    fraction = re.search(r"\.([0-9]+)", text)
    whole = text[: fraction.start()] + text[fraction.end() :] if fraction else text
    try:
        date = datetime.fromisoformat(whole)
    except ValueError:
        return None
    zoned = date.tzinfo is not None
    since = (date if zoned else date.replace(tzinfo=UTC)) - _EPOCH
    part = int(fraction[1]) / 10.0 ** len(fraction[1]) if fraction else 0.0
    return Date(since // timedelta(seconds=1) + part, zoned)


def read_dates(text: Text, start: I64, stop: I64) -> tuple[F64, Bool]:
    """Read dates as columns.

    Parameters
    ----------
    start, stop : int64 (n,)
        Offsets of each date in `text`.

    Returns
    -------
    seconds : float64 (n,)
    good : bool (n,)
        False where the caller has to use `date_of`.
    """
    n = len(start)
    if not n:
        return np.empty(0), np.ones(0, bool)
    at = text.blocks(start, 3).view(np.uint8).reshape(n, 24)
    digit = (at - np.uint8(48)).astype(np.int64)
    day_first = (at[:, 2] == _DOT) & (at[:, 5] == _DOT)
    good = (stop - start >= _LENGTH) & ((at[:, 10] == 32) | (at[:, 10] == 84))
    parted = (at[:, 4] == at[:, 7]) & np.isin(at[:, 4], _BETWEEN)
    good &= day_first | parted
    good &= (at[:, 13] == _COLON) & (at[:, 16] == _COLON)
    fields = []
    for year_first, other in zip(_YEAR_FIRST, _DAY_FIRST, strict=True):
        (a, fine), (b, fits) = _number(digit, year_first), _number(digit, other)
        fields.append(np.where(day_first, b, a))
        good &= np.where(day_first, fits, fine)
    for places in _CLOCK:
        number, fine = _number(digit, places)
        fields.append(number)
        good &= fine
    year, month, day, hour, minute, second = fields
    good &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    good &= (hour < 24) & (minute < 60) & (second < 60)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    good &= day <= _DAYS[np.clip(month, 0, 12)] + (leap & (month == 2))
    east, end, fine = _zone(text, start + _LENGTH, stop)
    good &= fine
    # seconds = 86400 days + 3600 h + 60 min + s - offset of the zone + fraction
    seconds = (_days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - east).astype(
        np.float64
    )
    count = end - start - _LENGTH
    if count.any():
        good &= (count == 0) | (
            np.isin(text.bytes_[start + _LENGTH], _POINTS)
            & (count >= 2)
            & (count <= _MAX_DECIMALS + 1)
        )
        count = np.clip(count - 1, 0, _MAX_DECIMALS)
        part, fine = read_digits(text, end, count)
        good &= fine
        seconds += part / 10.0**count
    return seconds, good


def _number(digit: I64, places: tuple[int, ...]) -> tuple[I64, Bool]:
    """Return the number of digits (n, 24) at some places, and whether all are digits.

    number = 10 number + digit, place by place
    """
    number, good = np.zeros(len(digit), np.int64), np.ones(len(digit), bool)
    for place in places:
        good &= digit[:, place] <= 9
        number = 10 * number + digit[:, place]
    return number, good


def _zone(text: Text, least: I64, stop: I64) -> tuple[I64, I64, Bool]:
    """Return the offset of a zone east of UTC (s), its position, and whether it is valid."""
    east, end, good = np.zeros(len(stop), np.int64), stop.copy(), np.ones(len(stop), bool)
    long = stop - least
    utc = (long >= 1) & (text.bytes_[stop - 1] == 90)
    end[utc] -= 1
    for size, colon in ((6, True), (5, False), (3, False)):
        mark = text.bytes_[stop - size]
        signed = (long >= size) & ((mark == 43) | (mark == 45)) & (end == stop)
        if colon:
            signed &= text.bytes_[stop - 3] == _COLON
        if not signed.any():
            continue
        last = stop[signed]
        hours, fine = read_digits(text, last - size + 3, np.full(len(last), 2))
        minutes = np.zeros(len(last))
        if size > 3:
            minutes, also = read_digits(text, last, np.full(len(last), 2))
            fine &= also
        good[signed] = fine & (hours < 24) & (minutes < 60)
        away = (hours * 3600 + minutes * 60).astype(np.int64)
        east[signed] = np.where(mark[signed] == 45, -away, away)
        end[signed] -= size
    return east, end, good


def _days(year: I64, month: I64, day: I64) -> I64:
    """Return the days since 1970-01-01 of dates of the Gregorian calendar."""
    y = year - (month <= 2)
    era, of_era = y // 400, y % 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    since: I64 = era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
    return since
