import json
import math
import random
import struct

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.events import CommandRow, Event, Reject
from sources import ndjson as decode
from sources.ndjson import Decoder
from sources.rows import names as table
from sources.rows.names import REJECT, Names, tick_of

LINE = '{"ts": 1700000000.25, "source": "a", "key": "x", "value": 0.5}'


def event(**changes):
    fields = {"ts": 1700000000.25, "source": "a", "key": "x", "value": 0.5} | changes
    return json.dumps({k: v for k, v in fields.items() if v is not ...})


def decoded(*lines, file="f.ndjson", base=0):
    block = b"".join((x if isinstance(x, bytes) else x.encode()) + b"\n" for x in lines)
    return Decoder(file).decode(block, base, Names("studio"))


def rejects(rows):
    return [n for n in ([] if rows.notes is None else rows.notes) if isinstance(n, Reject)]


def reasons(rows):
    return [r.reason for r in rejects(rows)]


def channels(rows):
    return [rows.names.channels[n] if n >= 0 else n for n in rows.name.tolist()]


def bits(column):
    return [struct.pack("<d", x) for x in column.tolist()]


def as_columns(rows):
    """The columns of rows, with names resolved, floats by their bits."""
    notes = [None] * len(rows) if rows.notes is None else rows.notes.tolist()
    return [
        channels(rows), bits(rows.ts), bits(rows.rx), bits(rows.value), rows.stamped.tolist(),
        rows.seq.tolist(), rows.line.tolist(), notes,
    ]  # fmt: skip


def many(n=400, seed=1, arrival=True):
    """Lines of three sources with numbers of all lengths."""
    rng = random.Random(seed)
    lines = []
    for i in range(n):
        t = 1.7e9 + i * 0.01
        value = round(rng.uniform(-300, 300), rng.randrange(8))
        meta = {"rx": round(t + 0.02, rng.randrange(7)), "seq": i} if arrival else ...
        source = rng.choice(["ure", "osc_1", "s.2,x"])
        lines.append(event(ts=round(t, rng.randrange(7)), source=source, value=value, meta=meta))
    return lines


@pytest.fixture
def only_the_parser(monkeypatch):
    monkeypatch.setattr(decode, "_MIN_COUNT", 10**9)


def test_an_event_becomes_a_row():
    rows = decoded(event(meta={"rx": 1700000000.5, "seq": 7, "unit": "1"}), base=100)
    assert channels(rows) == [("a", "x")]
    assert (rows.ts[0], rows.rx[0], rows.value[0]) == (1700000000.25, 1700000000.5, 0.5)
    assert (rows.stamped[0], rows.seq[0], rows.line[0]) == (True, 7, 100)
    assert rows.notes is None


def test_the_source_time_replaces_a_missing_arrival():
    rows = decoded(LINE, event(meta={"seq": 3}), event(meta=None), event(meta={"rx": None}))
    assert rows.rx.tolist() == rows.ts.tolist() == [1700000000.25] * 4
    assert not rows.stamped.any()
    assert rows.seq.tolist() == [-1, 3, -1, -1]


def test_a_rig_of_its_own_makes_another_channel_and_the_default_one_does_not():
    rows = decoded(event(), event(rig="studio"), event(rig="hall"), event(rig=None))
    assert rows.name.tolist() == [0, 0, 1, 0]
    assert rows.names.rigs == ["studio", "hall"]
    assert rows.names.rig_of().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("changes", "reason", "source"),
    [
        ({"value": True}, "value", "a"),
        ({"value": None}, "value", "a"),
        ({"value": {"a": 1}}, "value", "a"),
        ({"value": []}, "value", "a"),
        ({"value": ...}, "schema", "a"),
        ({"ts": ...}, "schema", "a"),
        ({"key": ...}, "schema", "a"),
        ({"source": ...}, "schema", "?"),
        ({"source": 5}, "schema", "?"),
        ({"source": "s" * 256}, "schema", "?"),
        ({"key": "k" * 256}, "schema", "a"),
        ({"key": 5}, "schema", "a"),
        ({"ts": "1"}, "schema", "a"),
        ({"ts": True}, "schema", "a"),
        ({"ts": None}, "schema", "a"),
        ({"ts": 1.1e12}, "stamp", "a"),
        ({"ts": -1.1e12}, "stamp", "a"),
        ({"ts": 10**40}, "stamp", "a"),
        ({"meta": 5}, "schema", "a"),
        ({"meta": []}, "schema", "a"),
        ({"meta": {"rx": "1"}}, "schema", "a"),
        ({"meta": {"rx": True}}, "schema", "a"),
        ({"meta": {"rx": 2e12}}, "stamp", "a"),
        ({"meta": {"seq": 1.5}}, "schema", "a"),
        ({"meta": {"seq": "1"}}, "schema", "a"),
        ({"meta": {"seq": 2**63}}, "schema", "a"),
        ({"rig": 5}, "schema", "a"),
        ({"rig": ""}, "schema", "a"),
        ({"rig": "../../etc"}, "schema", "a"),
        ({"rig": ".."}, "schema", "a"),
    ],
)
def test_a_bad_part_rejects_the_event_and_the_source_is_named_where_it_can_be(
    changes, reason, source
):
    rows = decoded(LINE, event(**changes), LINE, base=10)
    assert rows.name.tolist() == [0, REJECT, 0]
    (reject,) = rejects(rows)
    where = f"f.ndjson:{10 + len(LINE) + 1}"
    assert (reject.reason, reject.source, reject.where) == (reason, source, where)
    assert reject.sample == event(**changes).encode()[:256]
    assert math.isnan(rows.ts[1])
    assert math.isnan(rows.value[1])


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (b"NaN", "json"),
        (b"1e999", "value"),
        (b"-1e999", "value"),
        (b"9" * 400, "value"),
        (b"01", "json"),
        (b"1.", "json"),
        (b".5", "json"),
        (b"+1", "json"),
        (b'"\\ud800"', "json"),
        (b'"\xff"', "json"),
        (b'1, "x": "\xff"', "json"),
        (b"[" * 5000 + b"]" * 5000, "json"),
        (b'1, "x": ' + b"[" * 200 + b"]" * 200, "json"),
        (b"1} {}", "json"),
        (b"1}\0\0", "json"),
        (b"", "json"),
    ],
)
def test_a_line_without_json_or_number_is_one_reject(part, reason):
    bad = b'{"ts": 1, "source": "a", "key": "x", "value": ' + part + b"}"
    rows = decoded(LINE, bad, LINE)
    assert reasons(rows) == [reason]
    assert rows.name.tolist() == [0, REJECT, 0]


@pytest.mark.parametrize(
    ("part", "value"),
    [(b"-0", 0.0), (b"-0.0", -0.0), (b"1e3", 1000.0), (b"9" * 30, 1e30), (b"1e-999", 0.0)],
)
def test_every_finite_number_is_a_value(part, value):
    rows = decoded(b'{"ts": 1, "source": "a", "key": "x", "value": ' + part + b"}")
    assert bits(rows.value) == [struct.pack("<d", value)]


def test_a_whole_number_in_disguise_is_a_sequence_number():
    rows = decoded(event(meta={"seq": 5.0}), event(meta={"seq": -3}))
    assert rows.seq.tolist() == [5, -3]


def test_other_keys_of_any_kind_are_ignored():
    deep = json.loads("[" * 50 + "]" * 50)
    rows = decoded(event(meta={"x": deep, "y": True, "z": None}, tick=3, other={"a": [1]}))
    assert channels(rows) == [("a", "x")]


def test_the_last_of_duplicate_keys_wins():
    assert decoded('{"ts":1,"ts":2,"source":"a","key":"x","value":1}').ts.tolist() == [2.0]


def test_an_array_becomes_channels_that_share_their_line():
    rows = decoded(LINE, event(value=[1, 2.5, 3], meta={"rx": 1700000001.0, "seq": 4}))
    assert channels(rows)[1:] == [("a", "x[0]"), ("a", "x[1]"), ("a", "x[2]")]
    assert rows.value.tolist() == [0.5, 1.0, 2.5, 3.0]
    assert rows.line.tolist() == [0] + [len(LINE) + 1] * 3
    assert rows.seq.tolist() == [-1, 4, 4, 4]
    assert rows.stamped.tolist() == [False, True, True, True]


def test_a_bad_element_is_one_reject_and_its_neighbours_live():
    rows = decoded('{"ts":1,"source":"a","key":"x","value":[1,true,"s",1e999,[2],null,7]}')
    assert channels(rows) == [("a", "x[0]"), *[REJECT] * 5, ("a", "x[6]")]
    assert reasons(rows) == ["value", "text", "value", "value", "value"]
    assert {r.source for r in rejects(rows)} == {"a"}
    assert len(set(rows.line.tolist())) == 1


def test_text_is_a_marker():
    rows = decoded(event(value="Strophe é"), LINE)
    assert rows.notes is not None
    assert rows.notes.tolist() == ["Strophe é", None]
    assert math.isnan(rows.value[0])
    assert channels(rows) == [("a", "x")] * 2


def test_a_tick_is_a_row_without_channel():
    rows = decoded('{"tick": 5.5}', '{"tick": 6, "rig": "hall"}', '{"tick": "x"}', '{"tick":1e99}')
    assert rows.name.tolist() == [tick_of(0), tick_of(1), REJECT, REJECT]
    assert rows.ts[:2].tolist() == rows.rx[:2].tolist() == [5.5, 6.0]
    assert rows.names.rigs == ["studio", "hall"]
    assert reasons(rows) == ["schema", "stamp"]


def control(**changes):
    fields = {"control": "bridge.release", "rx": 5.5, "rig": "hall", "by": "ann"} | changes
    return json.dumps({k: v for k, v in fields.items() if v is not ...})


def test_a_command_is_a_tick_with_its_user():
    rows = decoded(LINE, control(), control(control="bridge.rollback", rig=..., rx=6), LINE)
    assert rows.name.tolist() == [0, tick_of(1), tick_of(0), 0]
    assert rows.rx[1:3].tolist() == [5.5, 6.0]
    assert np.isnan(rows.value[1:3]).all()
    assert rows.notes is not None
    assert rows.notes.tolist() == [
        None,
        CommandRow(0, "bridge.release", "ann"),
        CommandRow(0, "bridge.rollback", "ann"),
        None,
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (control()[:30], "json"),
        (control()[:-1], "json"),
        (control(control="bridge.explode"), "schema"),
        (control(control=5), "schema"),
        (control(control=["bridge.release"]), "schema"),
        (control(control=None), "schema"),
        (control(rx=...), "schema"),
        (control(rx="5"), "schema"),
        (control(rx=1e300), "stamp"),
        (control(by=...), "schema"),
        (control(by=5), "schema"),
        (control(by="u" * 256), "schema"),
        (control(rig=5), "schema"),
        (control(rig="../x"), "schema"),
    ],
)
def test_a_bad_command_is_a_reject(line, reason):
    rows = decoded(LINE, line, LINE)
    assert reasons(rows) == [reason]
    assert rows.name.tolist() == [0, REJECT, 0]


def test_a_step_of_the_wall_clock_is_a_tick():
    rows = decoded('{"tick": 5.5, "rig": "studio", "step": -3600.0}', '{"tick": 6, "step": "x"}')
    assert rows.name.tolist() == [tick_of(0), REJECT]
    assert rows.rx[0] == 5.5
    assert reasons(rows) == ["schema"]


def test_mark_carriage_return_and_blank_lines_are_fine():
    plain = decoded(LINE, LINE)
    block = b"\xef\xbb\xbf" + LINE.encode() + b"\r\n\r\n  \n\t\n" + LINE.encode() + b" \r"
    rows = Decoder("f").decode(block, 0, Names("studio"))
    assert as_columns(rows)[:6] == as_columns(plain)[:6]
    assert rows.notes is None


def test_a_mark_elsewhere_than_at_the_beginning_is_a_reject():
    assert reasons(decoded(LINE, b"\xef\xbb\xbf" + LINE.encode())) == ["json"]


@pytest.mark.parametrize(("size", "reason"), [(1 << 20, []), ((1 << 20) + 1, ["too_long"])])
def test_a_line_may_be_a_mebibyte_long(size, reason):
    line = event(pad="")
    long = line.replace('"pad": ""', f'"pad": "{"p" * (size - len(line))}"')
    rows = decoded(LINE, long, LINE)
    assert reasons(rows) == reason
    assert len(rows) == 3


def test_glued_and_torn_lines_that_make_up_for_each_other_are_all_rejects():
    """Three lines, three events by the block parser: none of them is a line of its own."""
    two = event(key="y") + event(key="z")
    torn, rest = '{"ts":1,"source":"a","key":"w","value":', "5}"
    for filler in (10, 100):
        rows = decoded(*[LINE] * filler, two, torn, rest)
        assert reasons(rows) == ["json"] * 3
        assert channels(rows) == [("a", "x")] * filler + [REJECT] * 3


def test_a_sample_is_no_longer_than_256_bytes():
    (reject,) = rejects(decoded("x" * 1000))
    assert reject.sample == b"x" * 256


def assert_same_without_layouts(block, monkeypatch):
    fast, names = Decoder("f"), Names("studio")
    for _ in range(3):  # what is learnt from a block serves the next
        found = fast.decode(block, 7, names)
    assert fast._layouts
    with monkeypatch.context() as patch:
        patch.setattr(decode, "_MIN_COUNT", 10**9)
        expected = Decoder("f").decode(block, 7, Names("studio"))
    assert as_columns(found) == as_columns(expected)


@pytest.mark.parametrize("arrival", [True, False])
@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":")])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_layouts_agree_with_the_parser(arrival, separators, newline, monkeypatch):
    lines = [json.dumps(json.loads(x), separators=separators) for x in many(arrival=arrival)]
    assert_same_without_layouts((newline.join(lines) + newline).encode(), monkeypatch)


ODD_NUMBERS = [
    "0", "-0", "0.0", "-0.0", "00", "01.5", "-", "-.5", "1.", ".5", "1..5", "1.5.5", "1e5", "1E-5",
    "9007199254740991", "9007199254740993", "123456789012345678", "0.1234567890123456",
    "0.12345678901234567", "99999999.99999999", "1234567890.1234567", "0.000000000000001",
    "12345678.12345678", "123456789.123456789", "5e-324", "1.7976931348623157e308", "1-5", "1 5",
    "4.35", "0.3", "2.675", "1.005", "8.5e2", "1_0", "1,5", "0x1", "١", "1700000000.123456",
]  # fmt: skip


@pytest.mark.parametrize("place", ["ts", "value", "rx", "seq"])
def test_layouts_leave_odd_numbers_to_the_parser(place, monkeypatch):
    def line(number, i):
        of = {"ts": f"{i}.5", "value": "1.25", "rx": f"{i}.75", "seq": f"{i}"} | {place: number}
        return (
            f'{{"ts": {of["ts"]}, "source": "a", "key": "k", "value": {of["value"]}, '
            f'"meta": {{"rx": {of["rx"]}, "seq": {of["seq"]}, "n": {i}}}}}\n'
        )

    usual = "7" if place == "seq" else "7.5"
    numbers = [x for odd in ODD_NUMBERS for x in (usual, odd, usual, usual)]
    block = "".join(line(x, i) for i, x in enumerate(numbers, 100)).encode()
    assert_same_without_layouts(block, monkeypatch)


def test_decimals_come_out_bit_for_bit():
    rng = random.Random(5)
    values = [
        f"{rng.choice(['', '-'])}{rng.randrange(10 ** rng.randrange(1, 17))}"
        f".{rng.randrange(10 ** (n := rng.randrange(1, 17))):0{n}d}"
        for _ in range(3000)
    ]
    block = "".join(
        f'{{"ts":1,"source":"a","key":"k","value":{v}}}\n' for v in values
    ).encode()  # fmt: skip
    rows = Decoder("f")
    rows.decode(block, 0, Names("s"))
    assert bits(rows.decode(block, 0, Names("s")).value) == [
        struct.pack("<d", float(v)) for v in values
    ]


def test_a_number_is_never_read_in_the_place_of_another(monkeypatch):
    """Extra numbers, names with numbers, exponents and doubled keys around the numbers meant."""
    rng = random.Random(3)
    shapes = [
        '{{"n": {0}, "ts": {1}, "source": "s1.5", "key": "k,2", "value": {2}}}',
        '{{"ts": {0}, "ts": {1}, "source": "a", "key": "k", "value": {2}}}',
        '{{"x": {0}, "value": 1e2, "source": "a", "key": "k", "ts": {1}, "y": [{2}, 3]}}',
        '{{"meta": {{"seq": 4, "rx": {0}, "o": {{"rx": {1}}}}}, "ts": 5, "source": "a", '
        '"key": "k", "value": {2}, "rig": "hall"}}',
        '{{"source": "a", "key": "\\u00e9\\"", "ts": {0}, "value": {1}, "meta": {{"a": "{2}"}}}}',
    ]
    lines = [
        rng.choice(shapes).format(*(round(rng.uniform(0, 200), rng.randrange(3)) for _ in range(3)))
        for _ in range(600)
    ]
    assert_same_without_layouts(("\n".join(lines) + "\n").encode(), monkeypatch)


def test_layouts_are_paused_where_they_do_not_pay(monkeypatch):
    """A channel a line: each has a text of its own."""
    decoder, parser = Decoder("f"), Decoder("f")
    found, expected = [], []
    for i in range(20):
        block = "".join(event(key=f"k{j}", value=i) + "\n" for j in range(400)).encode()
        found.append(as_columns(decoder.decode(block, i, Names("s"))))
        with monkeypatch.context() as patch:
            patch.setattr(decode, "_MIN_COUNT", 10**9)
            expected.append(as_columns(parser.decode(block, i, Names("s"))))
    assert found == expected
    assert decoder._pause
    assert not decoder._layouts


def test_names_take_bounded_room(monkeypatch):
    monkeypatch.setattr(table, "MAX_NAMES", 100)
    names = Names("studio")
    decoder = Decoder("f")
    for i in range(50):
        names = names.rotated()
        rows = decoder.decode(f"{event(key=f'k{i}')}\n{event(rig=f'r{i}')}\n".encode(), 0, names)
        assert [rows.names.channels[n] for n in rows.name] == [("a", f"k{i}"), ("a", "x")]
        assert len(names) <= 100 + 4


def test_an_unfit_name_is_not_kept():
    names = Names("studio")
    Decoder("f").decode((event(key="k" * 1000) + "\n").encode(), 0, names)
    assert not names
    assert not names.channels


PARTS = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b",", b":", b"\0", b"\xff", b"\\", b"1e999", b"NaN", b"null",
     b"true", b"-", b".", b"0", b"9" * 20, b" ", b"\r", b'"value":', b'{"tick":1}', b"\xed\xa0\x80"]
)  # fmt: skip
CHANGES = st.lists(
    st.tuples(st.integers(0, 80), st.integers(0, 12), st.one_of(PARTS, st.binary(max_size=4))),
    max_size=4,
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(CHANGES, min_size=1, max_size=60), st.booleans())
def test_any_line_becomes_a_row_or_a_reject(changes, several):
    lines = []
    for i, change in enumerate(changes):
        line = event(ts=1.7e9 + i / 8, meta={"rx": 1.7e9 + i / 4, "seq": i}).encode()
        for at, gone, new in change:
            line = line[:at] + new.replace(b"\n", b"") + line[at + gone :]
        lines.append(line)
    if several:
        lines = [*lines, *many(60, arrival=False)]
    rows = decoded(*lines)
    blank = sum(not (x if isinstance(x, bytes) else x.encode()).strip(b" \t\r") for x in lines)
    assert len(set(rows.line.tolist())) == len(lines) - blank
    assert (rows.name == REJECT).sum() == len(rejects(rows))
    alone = [decoded(line) for line in lines]
    assert [c for x in alone for c in channels(x)] == channels(rows)
    assert [b for x in alone for b in bits(x.value)] == bits(rows.value)
    assert [r for x in alone for r in reasons(x)] == reasons(rows)


def test_the_typed_parser_and_the_slow_one_agree_on_good_events(only_the_parser):
    parser = msgspec.json.Decoder(Event)
    lines = many(50)
    rows = decoded(*lines)
    slow = [r for line in lines for r in decode.read_line(line.encode(), rows.names)]
    assert [r.name for r in slow] == rows.name.tolist()
    assert [r.ts for r in slow] == rows.ts.tolist() == [parser.decode(x).ts for x in lines]
    assert [r.seq for r in slow] == rows.seq.tolist()
