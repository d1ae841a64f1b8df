import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.events import Reject, StreamStatus
from operators.types import BRIDGE_COMMANDS, ENDED
from sources import inbox
from sources.inbox import Message, Unread
from sources.live.inbox_rows import HostTick, in_order, lines_of, rows_of, starts_of
from sources.ndjson import Decoder
from sources.rows.names import REJECT, Names

NAN = float("nan")
stamps = st.integers(1_600_000_000_000_000, 1_900_000_000_000_000).map(lambda us: us / 1e6)
numbers = st.floats(allow_nan=False, allow_infinity=False)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)
items = st.one_of(
    st.builds(
        Message, stamps, st.sampled_from(["/a", "/b"]) | keys,
        numbers | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
        | st.lists(numbers | st.just(NAN) | keys, min_size=2, max_size=4).map(tuple),
        st.just(NAN) | st.floats(-1e12, 1e12), st.just(-1) | st.integers(-(2**63), 2**63 - 1),
    ),
    st.builds(
        Unread, stamps, st.sampled_from(["osc", "value", "filtered", "inbox_full"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=300), st.binary(max_size=300),
        st.integers(1, 1000),
    ),
    st.builds(inbox.StreamChange, stamps, st.booleans(), st.text(max_size=5)),
    st.builds(HostTick, stamps, st.sampled_from(["studio", "stage"])),
    st.builds(
        inbox.Commanded, stamps, st.sampled_from(BRIDGE_COMMANDS),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=255),
    ),
)  # fmt: skip
arrivals = st.lists(st.tuples(st.sampled_from(["osc_1", "midi_1"]), items), min_size=1, max_size=20)


def decoded(*items):
    """Return the rows of items, and the rows of their lines on the tape."""
    names = Names("studio")
    lines = lines_of(list(items), "studio")
    live = rows_of(list(items), starts_of(lines), names)
    return live, Decoder("tape").decode(lines, 0, Names("studio"))


def named(rows):
    return [rows.names.channels[n] if n >= 0 else n for n in rows.name.tolist()]


def notes(rows):
    """Return the notes; of rejects, reason, source and count."""
    found = [None] * len(rows) if rows.notes is None else rows.notes.tolist()
    return [(n.reason, n.source, n.count) if isinstance(n, Reject) else n for n in found]


@given(arrivals)
def test_the_tape_decodes_to_the_emitted_rows_bit_for_bit(items):
    live, read = decoded(*items)

    assert named(live) == named(read)
    assert notes(live) == notes(read)
    for column in ("ts", "rx", "value", "stamped", "seq", "line"):
        ours, theirs = getattr(live, column), getattr(read, column)
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes(), column


def test_a_message_without_a_source_time_is_not_stamped():
    live, _ = decoded(("osc", Message(5.0, "/a", 1.0)), ("osc", Message(6.0, "/a", 1.0, 3.5)))

    assert np.isnan(live.ts).tolist() == [True, False]
    assert live.stamped.tolist() == [False, True]
    assert live.rx.tolist() == [5.0, 6.0]


def test_an_array_is_one_line_of_channels_and_its_bad_elements_are_rejects():
    array, number = Message(5.0, "/a", (1.0, NAN, 3.0)), Message(6.0, "/a", 1.0)
    live, _ = decoded(("osc", array), ("osc", number))

    assert named(live) == [("osc", "/a[0]"), REJECT, ("osc", "/a[2]"), ("osc", "/a")]
    assert len(set(live.line[:3].tolist())) == 1 < len(set(live.line.tolist()))
    assert notes(live)[1] == ("value", "osc", 1)


def test_a_text_in_an_array_is_ignored_live_as_from_the_tape():
    live, taped = decoded(("osc", Message(5.0, "/a", (1.0, "Fader", NAN))))

    for rows in (live, taped):
        assert named(rows) == [("osc", "/a[0]"), REJECT, REJECT]
        assert [notes(rows)[i][0] for i in (1, 2)] == ["text", "value"]
    assert ENDED["text"] == "ignored"


def test_a_change_of_a_stream_is_a_tick_as_well():
    live, _ = decoded(
        ("midi", inbox.StreamChange(5.0, False, "unplugged")), ("", HostTick(6.0, "stage"))
    )

    assert notes(live) == [StreamStatus(0, "midi", False), None]
    assert live.rx.tolist() == [5.0, 6.0]


def test_streams_are_merged_by_arrival_and_ties_keep_their_order():
    def at(rx, key):
        return Message(rx, key, 1.0)

    taken = {"a": [at(1.0, "a1"), at(3.0, "a3")], "b": [at(1.0, "b1"), at(2.0, "b2")]}
    assert [item.key for _, item in in_order(taken)] == ["a1", "b1", "b2", "a3"]
