import struct

import pytest
from pythonosc.osc_message_builder import OscMessageBuilder

from ops.bench.osc_fuzz import bundle, message, nested
from sources.inbox import Message, Unread
from sources.osc.datagram import MAX_ARGUMENTS, MAX_DATAGRAM, MAX_MESSAGES, Datagrams

UNIX = 2_208_988_800


def items(data, **how):
    return Datagrams(**how).decode(data, 5.0)


def one(data, **how):
    (item,) = items(data, **how)
    return item


def built(address, *arguments):
    builder = OscMessageBuilder(address)
    for argument in arguments:
        builder.add_arg(*argument) if isinstance(argument, tuple) else builder.add_arg(argument)
    return builder.build().dgram


def value(data):
    item = one(data)
    assert isinstance(item, Message), item
    return item.value


def reason(data):
    item = one(data)
    assert isinstance(item, Unread), item
    return item.reason


@pytest.mark.parametrize(
    ("argument", "read"),
    [
        (0.25, 0.25),
        (7, 7.0),
        ((1e300, "d"), 1e300),
        ((1 << 60, "h"), float(1 << 60)),
        ("C4", "C4"),
        ("höher", "höher"),
        (True, 1.0),
        (False, 0.0),
    ],
)
def test_a_message_of_one_argument_is_a_number_or_a_marker(argument, read):
    assert value(built("/a", argument)) == read


def test_an_impulse_is_one():
    assert value(message("/a", "I")) == 1.0


@pytest.mark.parametrize("argument", [b"blob", float("nan"), float("inf")])
def test_an_argument_that_is_no_finite_number_is_refused(argument):
    refused = one(built("/a", argument))
    assert (refused.reason, refused.events) == ("value", 1)
    assert refused.sample.startswith(b"/a\0\0")


@pytest.mark.parametrize("tags", ["N", "t", "c", "r", "m", ""])
def test_other_types_are_refused_as_values_not_as_nonsense(tags):
    assert reason(message("/a", tags, bytes({"t": 8, "N": 0, "": 0}.get(tags, 4)))) == "value"


def test_several_arguments_are_an_array_in_which_only_the_bad_ones_are_lost():
    assert value(built("/a", 1, 2.0, 3)) == (1.0, 2.0, 3.0)
    read = value(built("/a", 1.0, "text", True, b"blob", float("inf"), False, 5))
    assert read[:3] == (1.0, "text", 1.0)
    assert all(x != x for x in read[3:5])
    assert read[5:] == (0.0, 5.0)


def test_an_address_whose_arrays_hold_texts_is_named_once():
    datagrams = Datagrams(wants=lambda key: key != "/other")
    for data in (
        built("/a", "x", 1),
        built("/a", "y", 2.0),
        built("/a", "x"),
        built("/other", "x", 1),
    ):
        datagrams.decode(data, 1.0)
    assert datagrams.news() == ["/a"]
    datagrams.decode(built("/a", 1, "x"), 1.0)
    for i in range(100):
        datagrams.decode(built(f"/{i}", 1, "x"), 1.0)
    assert len(datagrams.news()) == 15


@pytest.mark.parametrize(
    "data", [b"/a\0\0", b"/a\0\0" + struct.pack(">f", 1), b"/a\0\0ff\0\0" + bytes(4)]
)
def test_a_message_without_type_tags_is_refused_by_that_name_and_alone(data):
    assert reason(data) == "no_type_tags"
    assert one(data).sample == data
    first, second, third = items(bundle(built("/b", 1), data, built("/c", 2)))
    assert (first.value, second.reason, third.value) == (1.0, "no_type_tags", 2.0)
    assert one(data, wants=lambda key: key == "/b").reason == "filtered"


@pytest.mark.parametrize(
    "data",
    [
        bundle(*[built("/a", 1)] * (MAX_MESSAGES + 1)), nested(9), nested(300),
        message("/a", "i" * (MAX_ARGUMENTS + 1), bytes(4 * MAX_ARGUMENTS + 4)),
        message("/" + "a" * 255, "f", bytes(4)),
    ],
)  # fmt: skip
def test_a_bound_that_is_passed_has_its_own_reason(data):
    assert (reason(data), one(data).events) == ("osc_limit", 1)


def test_nested_arrays_are_flat():
    assert value(message("/a", "[ff]f", struct.pack(">3f", 1, 2, 3))) == (1.0, 2.0, 3.0)
    for tags in ("[ff", "ff]", "]ff["):
        assert reason(message("/a", tags, bytes(8))) == "osc"


def test_a_bundles_timetag_is_the_source_time_and_the_innermost_counts():
    inner = bundle(built("/b", 1), seconds=UNIX + 200, fraction=1 << 31)
    first, second, third = items(
        bundle(built("/a", 1), inner, built("/c", 1), seconds=UNIX + 100, fraction=1 << 30)
    )
    assert [(x.key, x.ts) for x in (first, second, third)] == [
        ("/a", 100.25), ("/b", 200.5), ("/c", 100.25),
    ]  # fmt: skip
    assert {x.rx for x in (first, second, third)} == {5.0}


def test_timetags_may_be_left_unread():
    first, second = items(
        bundle(built("/a", 1), bundle(built("/b", 1), seconds=UNIX + 9), seconds=UNIX + 7),
        timed=False,
    )
    assert first.ts != first.ts
    assert second.ts != second.ts


@pytest.mark.parametrize("fraction", [0, 1])
def test_an_immediate_or_empty_timetag_is_no_time(fraction):
    item = one(bundle(built("/a", 1), seconds=0, fraction=fraction))
    assert item.ts != item.ts
    assert one(built("/a", 1)).ts != one(built("/a", 1)).ts


def test_an_address_that_is_not_wanted_is_counted_with_all_its_numbers():
    item = one(built("/b", 1, 2, 3), wants=lambda key: key == "/a")
    assert (item.reason, item.events) == ("filtered", 3)
    assert one(built("/a", 1), wants=lambda key: key == "/a").value == 1.0


def test_an_address_may_have_blanks_and_brackets():
    assert one(built("/avatar/My Param[3]", 1.0)).key == "/avatar/My Param[3]"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0", b"/a", b"/a\0\0,", b"/a\0\0,f\0\0", b"/a\0\0,f\0\0\0\0\0",
        b"/a\0\0,f\0\0\0\0\0\0\0", b"/a\0\0,f\0\0" + bytes(8), b"a\0\0\0,f\0\0" + bytes(4),
        b"/a\0x,f\0\0" + bytes(4), b"/a\0\0,~\0\0" + bytes(4),
        b"/\xff\0\0,f\0\0" + bytes(4), b"/a\x07\0,f\0\0" + bytes(4), b"/a\0\0,s\0\0text",
        b"/a\0\0,s\0\0tex\0\0\0\0\0", b"/a\0\0,s\0\0te\0x", b"/a\0\0,b\0\0" + b"\xff" * 4,
        b"/a\0\0,b\0\0" + struct.pack(">i", 4), b"/a\0\0,b\0\0" + b"\x7f\xff\xff\xff",
        b"#bundle\0", b"#bundle\0" + bytes(7), b"#bundle\0" + bytes(8) + b"\xff\xff\xff\xfc",
        b"#bundle\0" + bytes(8) + struct.pack(">i", 0), b"#bundle\0" + bytes(10),
        b"#bundle\0" + bytes(8) + struct.pack(">i", 6) + bytes(6),
        b"#bundle\0" + bytes(8) + struct.pack(">i", 400) + built("/a", 1),
        bundle(built("/a", 1), b"/a\0\0,f\0\0"), bundle(b"#bundle\0"),
    ],
)  # fmt: skip
def test_what_is_no_osc_is_one_refusal_whatever_it_is(data):
    assert (reason(data), one(data).events) == ("osc", 1)


def test_a_datagram_beyond_the_bound_is_too_long():
    assert (
        reason(message("/a", "b", struct.pack(">i", MAX_DATAGRAM) + bytes(MAX_DATAGRAM)))
        == "too_long"
    )
    assert reason(bundle(message("/a", "b", struct.pack(">i", 8180) + bytes(8180)))) == "too_long"


def test_bundles_may_be_nested_and_full_up_to_the_bound():
    assert one(nested(7)).value == 1.0
    assert len(items(bundle(*[built("/a", 1)] * MAX_MESSAGES))) == MAX_MESSAGES
    assert len(value(message("/a", "f" * MAX_ARGUMENTS, bytes(4 * MAX_ARGUMENTS)))) == MAX_ARGUMENTS


def test_what_is_remembered_of_headers_is_bounded():
    datagrams = Datagrams()
    for i in range(10_000):
        (item,) = datagrams.decode(built(f"/{i}", i), 1.0)
        assert (item.key, item.value) == (f"/{i}", float(i))
    assert len(datagrams._headers) <= 4_096
