"""Rigs in a partition that is not theirs: rejects in their place, and no lane."""

from __future__ import annotations

import json

from operators.rig_partition import partition_of
from sources.kafka.foreign_rigs import ForeignRigs, home_of
from sources.ndjson import Decoder
from sources.opening import FileDecoder
from sources.replay.arrival_check import Arrivals
from sources.replay.recording_reader import RecordingReader
from sources.rows.names import Names
from sources.rows.rows import Arrived
from tests.sources.kafka.scripted import COUNT, partition, rejects_of, values
from tests.support.topic_events import RIGS, event

OWN = next(rig for rig in RIGS if partition_of(rig, COUNT) == 3)
STRANGER = next(rig for rig in RIGS if partition_of(rig, COUNT) != 3)


def _arrived(*lines: bytes, rig: str = OWN) -> Arrived:
    names = Names(rig)
    reader = RecordingReader(
        0, partition(values(*lines)), Arrivals(30.0), None, FileDecoder(Decoder("events"))
    )
    reader.fill(names)
    reader.finish(names)
    return Arrived.join(reader.take_up_to(float("inf"), 0))


def _screen() -> ForeignRigs:
    return ForeignRigs("events", 3, COUNT)


def test_events_of_a_foreign_rig_are_rejects_and_the_others_live() -> None:
    rows = _arrived(event(5, "/a", 1, OWN), event(5, "/a", 2, STRANGER), event(6, "/a", 3, OWN))
    found = _screen().screened(rows)
    (reject,) = rejects_of(found)
    assert (reject.reason, reject.source) == ("foreign_partition", "pad")
    assert reject.where == "events/3@1:0"
    assert json.loads(reject.sample) == {"rig": STRANGER, "source": "pad", "key": "/a"}
    assert found.value[found.name >= 0].tolist() == [1, 3]


def test_an_array_of_a_foreign_rig_counts_each_element() -> None:
    found = _screen().screened(_arrived(event(5, "/a", [1, 2, 3], STRANGER)))
    assert [r.reason for r in rejects_of(found)] == ["foreign_partition"] * 3


def test_host_ticks_of_a_foreign_rig_are_no_events_and_go() -> None:
    tick = json.dumps({"tick": 5.0, "rig": STRANGER}).encode()
    found = _screen().screened(_arrived(event(5, "/a", 1, OWN), tick))
    assert len(found) == 1
    assert not rejects_of(found)


def test_events_without_a_rig_are_foreign_where_the_configured_rig_is() -> None:
    found = _screen().screened(_arrived(event(5, "/a", 1, None), rig=STRANGER))
    assert [r.reason for r in rejects_of(found)] == ["foreign_partition"]


def test_rows_of_own_rigs_pass_as_they_are() -> None:
    rows = _arrived(event(5, "/a", 1, OWN), b"{bad\n")
    assert _screen().screened(rows) is rows


def test_the_home_of_each_partition_lies_in_it() -> None:
    for n in range(COUNT):
        assert partition_of(home_of("events", n, COUNT, "stage"), COUNT) == n
    assert home_of("events", partition_of("stage", COUNT), COUNT, "stage") == "stage"
