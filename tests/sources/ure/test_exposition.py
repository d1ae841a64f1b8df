import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from sources.inbox import Message, Unread
from sources.ure import exposition
from sources.ure.exposition import MAX_LINE, MAX_SAMPLES, PageDecoder, PageError

RX = 1_730_000_000.25
WHERE = "http://ure/"
EXPORTED = b"""# HELP node_cpu Seconds the CPUs spent.
# TYPE node_cpu counter
node_cpu{cpu="0",mode="idle"} 1.8734e+06
node_cpu{mode="user",cpu="0",} 12
# A comment

ure_pulse 0.86
ure:rate {a = "x\\\\y\\"z\\n,}{ 1"}\t-1e-3
spaced\t 7  1730000000123\t
"""


def decode(page, openmetrics=False, pages=None, **how):
    return (pages or PageDecoder(**how)).decode(page, RX, WHERE, openmetrics)


def values(items):
    return {x.key: x.value for x in items if isinstance(x, Message)}


def lost(items):
    return {x.reason: x.events for x in items if isinstance(x, Unread)}


def refusal(page, openmetrics=False):
    with pytest.raises(PageError) as refused:
        decode(page, openmetrics)
    return refused.value


def test_series_are_named_by_metric_and_labels_in_order_of_name():
    items = decode(EXPORTED)

    assert values(items) == {
        'node_cpu{cpu="0",mode="idle"}': 1.8734e6,
        'node_cpu{cpu="0",mode="user"}': 12.0,
        "ure_pulse": 0.86,
        'ure:rate{a="x\\\\y\\"z\\n,}{ 1"}': -1e-3,
        "spaced": 7.0,
    }
    assert {x.rx for x in items} == {RX}


def test_a_stamp_of_its_own_is_source_time_in_the_unit_of_the_format():
    stamped, bare = decode(b"a 1 1730000000123\nb 2\n")
    assert (stamped.ts, math.isnan(bare.ts)) == (1_730_000_000.123, True)

    (stamped,) = decode(b"a 1 1730000000.123\n# EOF\n", openmetrics=True)
    assert stamped.ts == 1_730_000_000.123


def test_a_repeated_stamp_is_no_new_sample():
    pages = PageDecoder()
    first = decode(b"a 1 1000\nb 1\nc 1 1000\n", pages=pages)
    again = decode(b"a 1 1000\nb 1\nc 1 2000\n", pages=pages)

    assert len(first) == 3
    assert set(values(again)) == {"b", "c"}
    assert lost(again) == {"repeated": 1}


def test_a_sample_that_cannot_be_used_costs_itself_only():
    long = b'l{a="' + b"x" * 300 + b'"} 1\n'
    items = decode(b"a 1\nb NaN\nc +Inf\nd -inf\ne 1e999\nf 1 9999999999999999\n" + long)

    assert values(items) == {"a": 1.0}
    assert lost(items) == {"value": 4, "stamp": 1, "too_long": 1}
    assert {x.where for x in items if isinstance(x, Unread)} == {WHERE}
    assert next(x.sample for x in items if isinstance(x, Unread)) == b"b NaN"


def test_series_that_are_not_wanted_are_counted_together():
    pages = PageDecoder(lambda key: key == "a")
    items = decode(b"a 1\nb 2\nc NaN\n", pages=pages)

    assert values(items) == {"a": 1.0}
    assert lost(items) == {"filtered": 2}
    assert (pages.series, pages.wanted) == (3, 1)


@pytest.mark.parametrize(
    "line",
    [
        b"<html>", b"a", b"a ", b"a 1 2 3", b"1a 2", b"a one", b"a 0x10", b"a 1_000", b"a 1 1.5",
        b"a {} {} 1", b'a{b="c} 1', b'a{b="c"', b'a{b="c"} ', b"a{b=c} 1", b'a{b="c" d="e"} 1',
        b'a{b="c",b="d"} 1', b'a{b="\\t"} 1', b'a{1b="c"} 1', b'a{,} 1', b"a,1", b"a=1", b"a -",
        b"a " + b"1" * 401, b"a\xc2\xa01", b"a \xd9\xa1", b"a 1\0", b'{"a", b="c"} 1', b"a .",
        b"a{" + b" " * MAX_LINE + b"} 1", b'a{b="\xff"} 1', b"# HELP a \xff", b"a 1 # {} 1",
        b"a 1\ra 2",
    ],
)  # fmt: skip
def test_one_line_that_is_no_sample_refuses_the_page(line):
    error = refusal(b"good 1\n" + line + b"\nbetter 2\n")

    assert error.reason == "exposition"
    assert error.why.startswith("line 2 ")
    assert error.sample == line[:256]


@pytest.mark.parametrize(
    ("page", "openmetrics", "why"),
    [
        (b"a 1\nb 2", False, "its last line has no end"),
        (b"a 1\na 2\n", False, "line 2 repeats a series"),
        (b'a{b="c",d="e"} 1\na{d="e",b="c"} 1\n', False, "line 2 repeats a series"),
        (b'a{b=""} 1\na 1\n', False, "line 2 repeats a series"),
        (b"", False, "no sample"),
        (b"# HELP a b\n\n", False, "no sample"),
        (b"a 1\n", True, "does not end in # EOF"),
        (b"a 1\n# EOF\nb 2\n", True, "does not end in # EOF"),
        (b"a 1\n# EOF\nb 2\n# EOF\n", True, "line 2 is no sample"),
        (b"a 1\n# EO", True, "its last line has no end"),
        (b"a 1\n# EOF", False, "its last line has no end"),
    ],
)
def test_a_page_that_is_not_whole_or_contradicts_itself_is_refused(page, openmetrics, why):
    assert why in refusal(page, openmetrics).why


@pytest.mark.parametrize(
    "page",
    [
        b"\n" * (exposition.MAX_LINES + 1),
        b"a" * (exposition.MAX_PAGE + 1),
        b"".join(b"a%d 1\n" % i for i in range(MAX_SAMPLES + 1)),
    ],
)
def test_a_page_beyond_its_bounds_is_refused_as_too_long(page):
    assert refusal(page).reason == "too_long"


def test_a_refused_page_changes_nothing_for_the_next():
    pages = PageDecoder()
    decode(b"a 1 1000\n", pages=pages)
    with pytest.raises(PageError):
        decode(b"a 1 2000\nbad\n", pages=pages)

    assert lost(decode(b"a 1 1000\n", pages=pages)) == {"repeated": 1}


@pytest.mark.parametrize("end", [b"# EOF", b"# EOF\r", b"# EOF\n"])
def test_openmetrics_is_whole_with_its_end_line_feed_or_not(end):
    assert values(decode(b"a 1\nb 2\n" + end, openmetrics=True)) == {"a": 1.0, "b": 2.0}


@pytest.mark.parametrize("openmetrics", [False, True])
def test_a_byte_order_mark_is_skipped(openmetrics):
    page = b"\xef\xbb\xbfa 1\n# c\n" + (b"# EOF\n" if openmetrics else b"")

    assert values(decode(page, openmetrics)) == {"a": 1.0}
    assert refusal(b"a 1\n\xef\xbb\xbfb 2\n").why.startswith("line 2 ")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"room 21,5", "'room 21,5': the value '21,5' has a decimal comma, expected a point"),
        (b"some-metric 1", "'some-metric 1': the name 'some-metric' is not of letters"),
        (b"1a 2", "the name '1a' is not of letters"),
        (b"a one", "'a one': the value 'one' is no number"),
        (b"a", "'a': it has no value"),
        (b"a{b=c} 1", "its labels are not of the form"),
        (b'a{b="c', "its labels are not of the form"),
        (b"a 1 yesterday", "'yesterday' behind the value is no stamp"),
        (b"# EOF", "it stands at the end of OpenMetrics only"),
        (b"a " + b"1" * MAX_LINE, f"it is longer than {MAX_LINE} bytes"),
        (b"a\x1b[2J 1", r"line 2 is no sample: 'a\x1b[2J 1'"),
    ],
)
def test_a_bad_line_is_quoted_with_its_reason(line, why):
    error = refusal(b"good 1\n" + line + b"\n")

    assert why in error.why
    assert error.why.isprintable()
    assert len(error.why) < 300


def test_openmetrics_may_carry_exemplars():
    page = b'a_bucket{le="1"} 3 # {trace="b"} 0.5 1.5\n# EOF\n'

    assert values(decode(page, openmetrics=True)) == {'a_bucket{le="1"}': 3.0}


names = st.builds("{}{}".format, st.sampled_from("aZ_:"), st.text("bY09_:", max_size=8))
label_names = st.builds("{}{}".format, st.sampled_from("aZ"), st.text("bY09_", max_size=4))
texts = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)


def written(name, labels, value):
    pairs = ",".join(f'{k}="{escaped(v)}"' for k, v in labels.items())
    return f"{name}{{{pairs}}} {value!r}\n" if labels else f"{name} {value!r}\n"


def escaped(text):
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@given(st.dictionaries(names, st.tuples(st.dictionaries(label_names, texts, max_size=4), numbers),
                       min_size=1, max_size=8))  # fmt: skip
def test_it_reads_what_the_reference_parser_reads(series):
    page = "".join(written(name, *pairs) for name, pairs in series.items())
    reference = {
        f.name + ("{" + ",".join(f'{k}="{escaped(v)}"' for k, v in sorted(s.labels.items())) + "}"
                  if s.labels else ""): s.value
        for f in text_string_to_metric_families(page) for s in f.samples
    }  # fmt: skip

    assert values(decode(page.encode())) == reference


def test_mutated_pages_are_read_or_refused_and_nothing_else():
    chance = random.Random(1)
    for _ in range(20_000):
        page = bytearray(EXPORTED)
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(page))
            match chance.randrange(4):
                case 0:
                    page[at] = chance.randrange(256)
                case 1:
                    del page[at : at + chance.randint(1, 20)]
                case 2:
                    page[at:at] = chance.randbytes(chance.randint(1, 4))
                case _:
                    page[at:at] = page[: chance.randint(1, 40)]
        try:
            items = decode(bytes(page))
        except PageError as error:
            assert len(error.sample) <= 256
        else:
            assert all(math.isfinite(v) for v in values(items).values())
