"""Arrays of numbers as columns, beside the parser of single lines."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.limits import MAX_LINE, MAX_NAME_LENGTH
from sources.rows.names import Names
from sources.rows.number_arrays import ArrayReader, read_array
from sources.rows.one_line import read_line

NAMES = st.text(max_size=6) | st.just("x" * (MAX_NAME_LENGTH + 1))
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(-1e300, 1e300)
STAMPS = st.floats(-2e15, 2e15) | st.integers(-(10**13), 10**13)
ODD = NUMBERS | st.none() | st.text(max_size=3) | st.lists(NUMBERS, max_size=2)
METAS = st.fixed_dictionaries(
    {},
    optional={
        "rx": st.none() | STAMPS,
        "seq": st.none() | st.integers(-(2**64), 2**64),
        "own_time": st.none() | st.booleans(),
        "more": st.just([1]),
    },
)
LINES = st.fixed_dictionaries(
    {"ts": STAMPS, "source": NAMES, "key": NAMES, "value": st.lists(NUMBERS, max_size=5)
     | st.lists(ODD, max_size=5) | NUMBERS},
    optional={"rig": st.none() | NAMES, "meta": st.none() | METAS, "tick": st.just(1.0)},
)  # fmt: skip


def by_line(line, per_second):
    names = Names("r")
    rows = read_line(line, names, per_second)
    return names.channels, [(r.name, r.ts, r.value, r.rx, r.seq) for r in rows]


def by_columns(line, per_second):
    """Return the same of the fast reader, None where it leaves the line."""
    names = Names("r")
    reader = ArrayReader(names, per_second)
    if not reader.read(line):
        return None
    rows = reader.rows()
    columns = (rows.name, rows.ts, rows.value, rows.rx, rows.seq)
    return names.channels, list(zip(*(c.tolist() for c in columns), strict=True))


@given(LINES, st.sampled_from([1.0, 1000.0]), st.booleans())
def test_a_line_has_the_rows_of_the_other_reader_or_is_left_to_it(parts, per_second, ascii_only):
    line = json.dumps(parts, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    found = by_columns(line, per_second)
    if found is not None:
        assert repr(found) == repr(by_line(line, per_second))


@pytest.mark.parametrize("per_second", [1.0, 1000.0])
@pytest.mark.parametrize(
    "meta", ["", ',"meta":{"rx":3.5,"seq":7}', ',"meta":{"own_time":false}', ',"meta":null']
)
def test_an_array_of_numbers_is_taken(meta, per_second):
    line = b'{"ts":1.7e9,"source":"eeg","key":"x","value":[1,-2.5,3e2]%b}' % meta.encode()
    channels, rows = by_columns(line, per_second)
    assert channels == [("eeg", f"x[{i}]") for i in range(3)]
    assert [row[2] for row in rows] == [1.0, -2.5, 300.0]
    assert repr((channels, rows)) == repr(by_line(line, per_second))


@pytest.mark.parametrize(
    "line",
    [
        b'{"ts":1,"source":"a","key":"x","value":[]}',
        b'{"ts":1,"source":"a","key":"x","value":[1,null]}',
        b'{"ts":1,"source":"a","key":"x","value":[1e999]}',
        b'{"ts":1,"source":"a","key":"x","value":["1"]}',
        b'{"ts":1,"source":"a","key":"x","value":[1]} {}',
        b'{"ts":1e13,"source":"a","key":"x","value":[1]}',
        b'{"ts":1,"source":"\xff","key":"x","value":[1]}',
        b'{"ts":1,"source":"a","key":"x","value":[1],"more":"\xff"}',
        b'{"ts":1,"source":"a","key":"x","value":[1],"meta":{"seq":9223372036854775808}}',
        b'{"ts":1,"source":"a","key":"x","value":[1%b]}' % (b",1" * MAX_LINE),
    ],
)
def test_all_else_is_left_to_the_other_reader(line):
    assert read_array(line) is None


def test_several_lines_keep_their_order():
    lines = [f'{{"ts":{n},"source":"a","key":"x","value":{[*range(n)]}}}' for n in (2, 5, 1)]
    reader = ArrayReader(Names("r"), 1.0)
    assert reader.rows() is None
    assert all(reader.read(line.encode()) for line in lines)
    rows = reader.rows()
    assert rows.counts.tolist() == [2, 5, 1]
    assert rows.ts.tolist() == [2.0] * 2 + [5.0] * 5 + [1.0]
    assert rows.name.tolist() == rows.value.tolist() == [0, 1, 0, 1, 2, 3, 4, 0]
    assert np.isnan(rows.rx).all()
