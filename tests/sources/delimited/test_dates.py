from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.delimited.dates import date_of, read_dates
from sources.rows.columns import Text

NONE = np.empty(0, np.int64)


def read(*texts):
    """Read texts as columns; None where the other way has to."""
    encoded = [t.encode() for t in texts]
    data = bytes(64) + b"".join(encoded) + bytes(64)
    stop = 64 + np.cumsum([len(t) for t in encoded])
    start = stop - [len(t) for t in encoded]
    text = Text(np.frombuffer(data, np.uint8), NONE, NONE, NONE, NONE, NONE)
    seconds, good = read_dates(text, start, stop)
    return [s if g else None for s, g in zip(seconds.tolist(), good.tolist(), strict=True)]


FORMS = {
    "1970-01-01 00:00:00": 0.0,
    "2024-02-29T12:34:56.789": 1709210096.789,
    "2024/02/29 12:34:56,789": 1709210096.789,
    "29.02.2024 12:34:56.789": 1709210096.789,
    "2024-02-29T12:34:56.789Z": 1709210096.789,
    "2024-02-29T12:34:56.789+02:00": 1709210096.789 - 7200,
    "2024-02-29T12:34:56-0130": 1709210096.0 + 5400,
    "2024-02-29 12:34:56+05": 1709210096.0 - 18000,
    "2024-02-29 12:34:56.123456789": 1709210096.0 + 0.123456789,
}


@pytest.mark.parametrize("text", FORMS)
def test_both_ways_read_the_forms_that_people_write(text):
    assert date_of(text).seconds == FORMS[text]
    assert read(text) == [FORMS[text]]


@pytest.mark.parametrize(
    "text",
    ["2024-02-30 00:00:00", "2023-02-29 00:00:00", "2024-13-01 00:00:00", "2024-01-01 24:00:01",
     "2024-01-01 00:60:00", "2024-01-01 00:00:0x", "2024-01-01", "12:00:00", "5", "",
     "0000-01-01 00:00:00", "2024-01-01 00:00:00.", "2024-01-01 00:00:00 noon",
     "2024-01-01 00:00:00+xx:00", "abcd-ef-gh ij:kl:mn"],
)  # fmt: skip
def test_no_way_reads_what_is_no_date(text):
    assert date_of(text) is None
    assert read(text) == [None]


def test_a_text_without_a_zone_is_reported():
    assert date_of("2024-01-01 00:00:00Z").zoned
    assert not date_of("2024-01-01 00:00:00").zoned


@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),
    st.integers(-1439, 1439),
    st.integers(0, 6),
)
def test_both_ways_agree_with_the_calendar(moment, minutes, decimals):
    zone = timezone(timedelta(minutes=minutes))
    east = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    part = f".{moment.microsecond:06}"[: decimals + 1] if decimals else ""
    whole = moment.replace(microsecond=0, tzinfo=zone)
    text = f"{whole.replace(tzinfo=None).isoformat()}{part}{east}"
    since = (whole - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    true = since + (int(part[1:]) / 10.0**decimals if decimals else 0.0)
    assert read(text) == [true]
    assert date_of(text).seconds == true
