"""A partition as a recording: places, ends, arrivals, and values that are no lines."""

from __future__ import annotations

import json

import pytest

from operators.topic_place import byte_of, offset_of, place_of
from sources.kafka.faults import OffsetGoneError
from sources.recordings.recording import Mark, TopicMark
from tests.sources.kafka.scripted import (
    COUNT,
    ScriptedMessage,
    partition,
    rejects_of,
    rows_of,
    values,
)
from tests.support.topic_events import event


def _line(value: float, **more: object) -> bytes:
    return event(5.0, "/a", value, "stage", **more)


def test_lines_of_all_messages_are_rows_in_their_order() -> None:
    rows = rows_of(partition(values(_line(1) + _line(2), _line(3), _line(4))))
    assert rows.value.tolist() == [1, 2, 3, 4]


def test_a_row_has_the_offset_of_its_message_and_its_byte_in_it() -> None:
    first = _line(1)
    rows = rows_of(partition(values(first + _line(2), _line(3))))
    found = [(offset_of(place), byte_of(place)) for place in rows.line.tolist()]
    assert found == [(0, 0), (0, len(first)), (1, 0)]


def test_the_last_line_of_a_message_needs_no_end() -> None:
    rows = rows_of(partition(values(_line(1).rstrip(), _line(2).rstrip())))
    assert rows.value.tolist() == [1, 2]


def test_a_torn_line_is_one_reject_and_never_goes_on_in_the_next_message() -> None:
    half = _line(2)
    rows = rows_of(partition(values(_line(1) + half[:20], half[20:], _line(3))))
    assert [r.reason for r in rejects_of(rows)] == ["json", "json"]
    assert [v for v in rows.value.tolist() if v == v] == [1, 3]


def test_a_mark_order_and_crlf_and_blank_lines_are_fine_in_every_message() -> None:
    odd = b"\xef\xbb\xbf" + _line(1).replace(b"\n", b"\r\n") + b"\n\n"
    rows = rows_of(partition(values(odd, odd, b"")))
    assert rows.value.tolist() == [1, 1]
    assert not rejects_of(rows)


def test_a_message_without_a_value_is_one_reject_in_its_place() -> None:
    rows = rows_of(partition(values(_line(1), None, _line(2))))
    (reject,) = rejects_of(rows)
    assert (reject.reason, reject.where, reject.count) == ("value", "events/3@1:0", 1)
    assert rows.name.tolist()[1] == -2


def test_a_value_over_its_bound_is_one_reject() -> None:
    rows = rows_of(partition(values(_line(1), _line(2) * 20_000, _line(3))))
    (reject,) = rejects_of(rows)
    assert (reject.reason, reject.where) == ("too_long", "events/3@1:0")
    assert [v for v in rows.value.tolist() if v == v] == [1, 3]


def test_a_reject_of_a_line_names_message_and_byte() -> None:
    first = _line(1)
    rows = rows_of(partition(values(_line(0), first + b"{no json}\n")))
    (reject,) = rejects_of(rows)
    assert reject.where == f"events/3@1:{len(first)}"


def test_a_recorded_loss_keeps_the_place_that_it_names() -> None:
    lost = {"reason": "osc", "source": "pad", "where": "127.0.0.1:9", "sample": "", "count": 3}
    (reject,) = rejects_of(rows_of(partition(values(json.dumps({"lost": lost}).encode()))))
    assert (reject.reason, reject.where, reject.count) == ("osc", "127.0.0.1:9", 3)


def test_a_row_without_an_arrival_has_the_time_of_its_message() -> None:
    rows = rows_of(partition(values(_line(1), _line(2, rx=7.0))))
    assert rows.rx.tolist() == [1_730_000_000.5, 7.0]
    assert rows.stamped.tolist() == [True, True]


def test_a_row_keeps_its_source_time_as_arrival_where_the_message_has_none() -> None:
    message = ScriptedMessage(0, _line(1), time=(0, -1))
    rows = rows_of(partition([message]))
    assert rows.rx.tolist() == [5.0]
    assert rows.stamped.tolist() == [False]


def test_a_partition_resumes_within_a_message_with_the_rest_of_its_lines() -> None:
    messages = values(_line(0), _line(1) + _line(2) + _line(3), _line(4))
    whole = rows_of(partition(messages))
    mark = partition(messages).mark(int(whole.line[2]))
    rows = rows_of(partition(messages, mark))
    assert rows.value.tolist() == [2, 3, 4]
    assert rows.line.tolist() == whole.line.tolist()[2:]


def test_offsets_with_gaps_are_no_loss() -> None:
    messages = [ScriptedMessage(3, _line(1)), ScriptedMessage(9, _line(2))]
    rows = rows_of(partition(messages))
    assert [offset_of(p) for p in rows.line.tolist()] == [3, 9]
    assert not rejects_of(rows)


def test_a_partition_that_is_not_followed_ends_where_it_ended_at_the_first_answer() -> None:
    messages = values(_line(1), _line(2))
    recording = partition(messages, follow=False)
    rows_of(recording)
    assert recording.ended
    messages.append(ScriptedMessage(2, _line(3)))
    mark = recording.mark(None)
    assert mark.topic is not None
    assert mark.topic.end == 2
    again = partition(messages, Mark(place_of(1), topic=mark.topic), follow=False)
    assert rows_of(again).value.tolist() == [2]
    assert again.ended


def test_a_followed_partition_does_not_end() -> None:
    recording = partition(values(_line(1)))
    rows_of(recording)
    assert recording.read() == []
    assert recording.idle
    assert not recording.ended


def test_an_offset_that_was_deleted_is_refused_by_name() -> None:
    mark = Mark(place_of(2), topic=TopicMark(COUNT))
    with pytest.raises(OffsetGoneError) as refused:
        partition(values(_line(1)), mark, low=7)
    for part in ("topic events", "partition 3", "offset 2", "earliest is 7", "--from earliest"):
        assert part in str(refused.value)


def test_deleted_offsets_are_passed_over_on_request_and_counted() -> None:
    messages = [ScriptedMessage(7, _line(1))]
    mark = Mark(place_of(2), topic=TopicMark(COUNT))
    rows = rows_of(partition(messages, mark, low=7, from_earliest=True))
    (reject,) = rejects_of(rows)
    assert (reject.reason, reject.count, reject.where) == ("offset_gone", 5, "events/3@2:0")
    assert [v for v in rows.value.tolist() if v == v] == [1]


def test_an_offset_deleted_while_running_is_refused_too() -> None:
    messages = values(_line(1))
    recording = partition(messages)
    rows_of(recording)
    client = recording._client
    client.low, client.all = 30, [ScriptedMessage(30, _line(2))]
    with pytest.raises(OffsetGoneError, match="offset 1 was deleted, the earliest is 30"):
        recording.read()


def test_an_offset_behind_the_end_is_that_of_another_topic() -> None:
    recording = partition(values(_line(1)), Mark(place_of(8), topic=TopicMark(COUNT)))
    client = recording._client
    client.low = 9
    client.limits = lambda partition: (0, 1)
    with pytest.raises(OffsetGoneError, match="made anew"):
        recording.read()


def _block(offset: int, value: float, tape: bytes, place: int) -> ScriptedMessage:
    named = [("tape", tape), ("place", b"%d" % place)]
    return ScriptedMessage(offset, _line(value), named)


def test_a_block_that_an_edge_sent_again_is_read_once() -> None:
    messages = [
        _block(0, 1, b"a", 0),
        _block(1, 2, b"b", 0),
        _block(2, 3, b"a", 40),
        _block(3, 1, b"a", 0),
        _block(4, 3, b"a", 40),
        _block(5, 4, b"a", 80),
    ]
    recording = partition(messages)
    assert rows_of(recording).value.tolist() == [1, 2, 3, 4]
    assert recording.twice == 2


def test_places_of_tapes_are_those_of_the_mark_and_not_of_the_messages_read_ahead() -> None:
    messages = [_block(n, n, b"a", 40 * n) for n in range(4)]
    recording = partition(messages)
    rows = rows_of(recording)
    mark = recording.mark(int(rows.line[2]))
    assert mark.topic is not None
    assert mark.topic.places == {"a": 40}
    assert rows_of(partition(messages, mark)).value.tolist() == [2, 3]


def test_headers_of_another_form_are_no_places() -> None:
    messages = [
        ScriptedMessage(0, _line(1), [("tape", b"a"), ("place", b"-1")]),
        ScriptedMessage(1, _line(2), [("tape", b"a/b"), ("place", b"0")]),
        ScriptedMessage(2, _line(3), [("tape", b"a")]),
        ScriptedMessage(3, _line(4), [("place", b"0")]),
    ]
    recording = partition(messages)
    assert rows_of(recording).value.tolist() == [1, 2, 3, 4]
    assert recording.mark(None).topic == TopicMark(COUNT)


def test_a_settled_place_is_committed_for_monitoring() -> None:
    recording = partition([_block(n, n, b"a", 40 * n) for n in range(4)])
    rows_of(recording)
    mark = recording.mark(place_of(3))
    recording.settle(mark)
    assert recording._client.committed == [3]
    assert recording.mark(place_of(3)) == mark
