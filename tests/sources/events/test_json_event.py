"""Events as JSON objects: what is used of them, and the reason of each loss."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.events.json_event import MAX_ELEMENTS, events_of
from sources.inbox import Message, Unread


def test_an_event_keeps_its_key_value_time_and_number() -> None:
    (event,) = events_of(b'{"key": "/x", "value": 1.5, "ts": 12.25, "seq": 7}', 100.0, "peer")
    assert event == Message(100.0, "/x", 1.5, 12.25, 7)
    (event,) = events_of('{"key": "/x", "value": "verse", "meta": {"seq": 3}}', 100.0, "peer")
    assert event[:3] == (100.0, "/x", "verse")
    assert math.isnan(event.ts)
    assert event.seq == 3


def test_each_event_of_an_array_has_its_own_fate() -> None:
    text = (
        '[{"key": "a", "value": 1}, {"key": "a"}, {"key": "a", "value": true}, 5,'
        ' {"key": "a", "value": 2, "ts": 1e15}, {"key": "a", "value": [1, null, "x"]}]'
    )
    items = events_of(text, 1.0, "peer")
    assert [x.reason if isinstance(x, Unread) else None for x in items] == [
        None, "schema", "value", "schema", "stamp", None,
    ]  # fmt: skip
    last = items[-1]
    assert isinstance(last, Message)
    assert isinstance(last.value, tuple)
    assert last.value[0] == 1.0
    assert math.isnan(last.value[1])  # type: ignore[arg-type]
    assert last.value[2] == "x"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "json"),
        ("{", "json"),
        ("[" * 4000, "json"),
        ('{"key": "a", "value": NaN}', "json"),
        ("[]", "schema"),
        ('{"key": "", "value": 1}', "schema"),
        (f'{{"key": "{"k" * 256}", "value": 1}}', "schema"),
        ('{"key": "a", "value": 1, "seq": 1.5}', "schema"),
        (f'{{"key": "a", "value": 1{"0" * 400}}}', "value"),
        ('{"key": "a", "value": []}', "value"),
        (f'{{"key": "a", "value": [{",".join("1" * (MAX_ELEMENTS + 1))}]}}', "value"),
        ('{"key": "a", "value": 1, "ts": "now"}', "stamp"),
    ],
)
def test_an_unusable_text_is_one_reject_with_its_reason(text: str, reason: str) -> None:
    (item,) = events_of(text, 1.0, "peer")
    assert isinstance(item, Unread)
    assert item.reason == reason
    assert item.where == "peer"


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_any_content_gives_items_and_no_error(data: bytes | str) -> None:
    assert len(events_of(data, 1.0, "peer")) >= 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["key", "value", "ts", "seq", "meta"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@given(_JSON)
def test_any_json_gives_finite_numbers_or_rejects(content: object) -> None:
    import json

    for item in events_of(json.dumps(content), 1.0, "peer"):
        if isinstance(item, Message) and isinstance(item.value, float):
            assert math.isfinite(item.value)
