"""The arrival check of a partition: one for each rig, for any cut, resume, and other rig."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import dataclass
from typing import cast

import msgspec
import numpy as np
import pytest

from configs.schema import Config
from operators.rig_partition import partition_of
from operators.topic_place import offset_of, place_of
from operators.topic_place import shown as place_shown
from sources.kafka.client import TopicClient
from sources.kafka.foreign_rigs import ForeignRigs
from sources.kafka.partition_recording import PartitionRecording
from sources.kafka.topic_replay import TopicPartition
from sources.ndjson import Decoder
from sources.opening import FileDecoder
from sources.recordings.recording import Mark, TopicMark
from sources.replay.arrival_check import Arrivals
from sources.replay.replay import stored_state
from sources.replay.replay_input import ReplayInput
from tests.sources.kafka.scripted import COUNT, ScriptedClient, ScriptedMessage, values
from tests.support.topic_events import event

OWN = [f"rig{n}" for n in range(400) if partition_of(f"rig{n}", COUNT) == 3]
HOME, ONE, TWO, THREE = OWN[:4]
BEGIN = 1_730_000_000.0


class _Portions(ScriptedClient):
    """Hands out so many messages in a call."""

    portion = 1_000_000

    def messages(self) -> list[ScriptedMessage]:
        """Return the next messages."""
        found = super().messages()[: self.portion]
        self._at = found[-1].place + 1 if found else self._at
        return found


@dataclass
class _Topic:
    """Messages, and how they are read."""

    messages: list[ScriptedMessage]
    portion: int = 1_000_000
    batch_lines: int = 10_000
    follow: bool = False
    max_rigs: int = 64

    def opened(self, state: bytes | None = None) -> TopicPartition:
        """Return the partition at a state."""
        stream = {"name": "t", "type": "kafka", "brokers": ["h:1"], "topic": "events"}
        config = {"version": 2, "rig": HOME, "streams": [stream], "max_rigs": self.max_rigs}
        config["signals"] = {"pulse": {"members": {"pad:/a": {}}}}
        each = ReplayInput(
            "events/3", self.follow, 0.0, self.batch_lines, self._recording, place_shown
        )
        foreign = ForeignRigs("events", 3, COUNT)
        return TopicPartition(
            msgspec.convert(config, Config), state, None, each, foreign, number=3, home=HOME
        )

    def _recording(self, mark: Mark | None) -> tuple[PartitionRecording, FileDecoder]:
        client = _Portions(self.messages)
        client.portion = self.portion
        mark = mark or Mark(place_of(0), topic=TopicMark(COUNT))
        end, follow = len(self.messages), self.follow
        found = PartitionRecording(cast(TopicClient, client), 3, mark, 0, end, follow=follow)
        return found, FileDecoder(Decoder("events"))

    def rows(self, resume_every: int = 0) -> dict[str, list[tuple[object, ...]]]:
        """Return the rows of each rig, with a resume after every so many batches."""
        found: dict[str, list[tuple[object, ...]]] = defaultdict(list)
        source, batches = self.opened(), 0
        while True:
            try:
                items = source.next_batch()
            except StopIteration:
                return dict(found)
            for rig, b in items:
                names = [b.names[n] if n >= 0 else None for n in b.name.tolist()]
                columns = (b.line, b.wild, b.rx, np.nan_to_num(b.value, nan=-1.0), b.seq)
                texts = {m.row: m.text for m in b.markers}
                text = [texts.get(i) for i in range(len(names))]
                found[rig] += zip(names, *(c.tolist() for c in columns), text, strict=True)
                found[f"{rig} rejects"] += [(r.reason, r.where) for r in b.rejects]
            batches += 1
            if resume_every and batches % resume_every == 0:
                source = self.opened(source.snapshot())


def _odd_lines(rng: random.Random, rig: str) -> list[bytes]:
    """Return lines of a rig with stamps that leap, arrays, markers, ticks, and bad lines."""
    lines = []
    for i in range(rng.randrange(1, 40)):
        rx = BEGIN + rng.choice([0, 0, 0, 1, 90, 200, -90, 1e9]) + i / 10
        kind = rng.randrange(8) if i else 0  # ticks before the first event of a rig are dropped
        value = {1: [1, 2, 3], 2: "go", 3: [1, None, 3]}.get(kind, i)
        line = event(BEGIN + i, "/a", value, rig, rx=rx)
        if kind == 4:
            line = json.dumps({"tick": rx, "rig": rig}).encode() + b"\n"
        lines.append(b"{bad\n" if kind == 5 else line)
    return lines


def _interleaved(rng: random.Random, parts: list[list[bytes]]) -> list[bytes]:
    """Return blocks of the parts by chance, each part in its order."""
    left, blocks = [list(part) for part in parts], []
    while left := [part for part in left if part]:
        part, n = rng.choice(left), rng.randrange(1, 5)
        blocks.append(b"".join(part[:n]))
        del part[:n]
    return blocks


@pytest.mark.parametrize("seed", range(40))
def test_rows_of_a_rig_do_not_depend_on_cuts_resumes_or_other_rigs(seed: int) -> None:
    rng = random.Random(seed)
    parts = [_odd_lines(rng, rig) for rig in (ONE, TWO, THREE)]
    messages = values(*_interleaved(rng, parts))
    whole = _Topic(messages).rows()
    for portion, batch_lines, resume_every in ((1, 1, 1), (2, 3, 2), (3, 1, 5), (50, 2, 1)):
        assert _Topic(messages, portion, batch_lines).rows(resume_every) == whole
    for rig, lines in zip((ONE, TWO, THREE), parts, strict=True):
        alone = _Topic(values(b"".join(lines))).rows().get(rig, [])
        assert [row[:1] + row[2:] for row in whole.get(rig, [])] == [r[:1] + r[2:] for r in alone]


@pytest.mark.parametrize("seed", range(10))
def test_verdicts_on_a_rig_are_those_on_a_file_of_it(seed: int) -> None:
    rng = random.Random(seed)
    parts = [_odd_lines(rng, rig) for rig in (ONE, TWO, THREE)]
    found = _Topic(values(*_interleaved(rng, parts)), 2, 3).rows(2)
    for rig in (ONE, TWO, THREE):
        rows = found.get(rig, [])
        rx, line = (np.array([row[k] for row in rows]) for k in (3, 1))
        judged = Arrivals(30.0, 1e4).judge(rx, line, end=True)
        assert [row[2] for row in rows] == judged.wild.tolist()


def test_a_backlog_in_small_blocks_among_live_ones_has_no_wild_stamp() -> None:
    blocks = []
    for i in range(100):
        for rig, at in ((ONE, BEGIN + i / 10), (TWO, BEGIN + 300 + i / 10)):
            lines = [event(at + k, "/a", k, rig, rx=at + k / 100) for k in range(2)]
            blocks.append(b"".join(lines))
    found = _Topic(values(*blocks)).rows()
    assert [len(found[rig]) for rig in (ONE, TWO)] == [200, 200]
    assert not any(row[2] for rig in (ONE, TWO) for row in found[rig])


def test_a_held_line_holds_no_other_rig_and_no_offset_and_is_in_the_state() -> None:
    lone = event(BEGIN, "/a", "go", ONE, rx=BEGIN)
    others = [event(BEGIN + i, "/a", i, TWO, rx=BEGIN + i) for i in range(5)]
    topic = _Topic(values(lone, *others), follow=True)
    source = topic.opened()
    assert [(rig, len(b.rx)) for rig, b in source.next_batch()] == [(TWO, 5)]
    state = source.snapshot()
    (feed,) = stored_state(state).feeds
    assert offset_of(feed.mark.offset) == 6
    topic.messages.append(ScriptedMessage(6, event(BEGIN + 1, "/a", 7, ONE, rx=BEGIN + 1)))
    ((rig, batch),) = topic.opened(state).next_batch()
    assert (rig, batch.rx.tolist()) == (ONE, [BEGIN, BEGIN + 1])
    assert [m.text for m in batch.markers] == ["go"]


def test_the_state_has_the_checks_of_so_many_rigs_and_of_no_foreign_one() -> None:
    strangers = [f"rig{n}" for n in range(200) if partition_of(f"rig{n}", COUNT) != 3]
    rigs = [*strangers[:40], *OWN[:40]]
    lines = [event(BEGIN, "/a", 1, rig, rx=BEGIN) for rig in rigs for _ in range(2)]
    source = _Topic(values(*lines), follow=True, max_rigs=5).opened()
    source.next_batch()
    (feed,) = stored_state(source.snapshot()).feeds
    assert feed.rigs is not None
    assert [each.rig for each in feed.rigs.rigs] == OWN[:7]
