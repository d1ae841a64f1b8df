"""Rows of several rigs in one recording."""

import json
from contextlib import suppress

import pytest

from sources.replay import rigs_of
from sources.replay.replay import ReplayPartition
from tests.sources.replay.replayed import config, event, part, replay, write


def test_rows_of_several_rigs_go_to_their_rigs(tmp_path):
    lines = [event(0), event(1, rig="hall"), "{", event(2, "now", rig="hall"), '{"tick":3}']
    path = write(tmp_path / "f", [*lines, '{"tick":3.5,"rig":"hall"}', event(4)])
    (first, *_rest) = [part(config(path)).next_batch()]
    batches = dict(first)
    assert list(batches) == ["studio", "hall"]
    assert batches["studio"].rx.tolist() == [0, 3, 4]
    assert batches["studio"].name.tolist()[1] == -1
    assert [(r.row, r.reason) for r in batches["studio"].rejects] == [(1, "json")]
    assert batches["hall"].rx.tolist() == [1, 2, 3.5]
    assert [(m.row, m.text) for m in batches["hall"].markers] == [(1, "now")]
    assert batches["hall"].rejects == ()
    assert all(b.end for b in batches.values())


@pytest.mark.parametrize("lines", [1, 2, 100])
def test_events_of_too_many_rigs_are_rejects_of_the_first(tmp_path, lines):
    named = [event(i, rig=r) for i, r in enumerate(["p", "q", "p", "r", "studio", "q"])]
    path = write(tmp_path / "f", [*named, '{"tick":7,"rig":"q"}'])
    seen = replay(config(path, max_rigs=1, batch_lines=lines), resume_every=2)
    assert seen.arrivals("p") == [0, 2]
    assert seen.arrivals() == [4]
    assert sorted(seen.ended) == ["p", "studio"]
    offsets = [sum(len(x) + 1 for x in named[:i]) for i in (1, 3, 5)]
    assert [(s[0], s[1], s[2], s[3]) for s in seen.rejects["studio"]] == [
        (0, "too_many_rigs", "a", f"{path}:{offsets[0]}"),
        (0, "too_many_rigs", "a", f"{path}:{offsets[1]}"),
        (1, "too_many_rigs", "a", f"{path}:{offsets[2]}"),
    ]


@pytest.mark.parametrize("lines", [1, 2, 3, 100])
@pytest.mark.parametrize("resume_every", [None, 1, 3])
def test_a_command_is_for_a_rig_with_an_event_before_it_or_the_configured_one(
    tmp_path, lines, resume_every
):
    def command(rx, rig=None, by="ann"):
        named = {} if rig is None else {"rig": rig}
        return json.dumps({"control": "bridge.release", "rx": rx, "by": by} | named)

    given = [
        command(1),
        command(2, "hall", "too early"),
        event(3, rig="hall"),
        command(4, "hall", "bo"),
        command(5, "nowhere"),
        command(6, "studio"),
        command(6, "studio"),
        event(7, rig="third"),
        command(8, "third"),
    ]
    path = write(tmp_path / "f", given)
    seen = replay(config(path, max_rigs=1, batch_lines=lines), resume_every)
    assert seen.controls["studio"] == [(0, "bridge.release", "ann")] + [
        (row, "bridge.release", "ann") for row in (1, 2)
    ]
    assert seen.controls["hall"] == [(1, "bridge.release", "bo")]
    assert seen.arrivals() == [1, 6, 6]
    assert [s[1:3] for s in seen.rejects["studio"]] == [
        ("control", "bridge commands"),
        ("control", "bridge commands"),
        ("too_many_rigs", "a"),
        ("control", "bridge commands"),
    ]
    assert b'"by":"too early"' in seen.rejects["studio"][0][4]


@pytest.mark.parametrize("lines", [1, 7, 100])
def test_the_configured_rig_counts_only_with_events(tmp_path, lines):
    rigs = [f"rig_{i}" for i in range(8)]
    events = [event(i, rig=r) for i, r in enumerate(rigs * 2)]
    path = write(tmp_path / "f", ["{", *events])
    seen = replay(config(path, max_rigs=8, batch_lines=lines), resume_every=3)
    assert sorted(seen.ended) == [*rigs, "studio"]
    assert [s[1] for s in seen.rejects["studio"]] == ["json"]
    first = write(tmp_path / "g", [event(0), *events])
    seen = replay(config(first, max_rigs=8, batch_lines=lines), resume_every=3)
    assert sorted(seen.ended) == [*rigs[:7], "studio"]
    assert [s[1] for s in seen.rejects["studio"]] == ["too_many_rigs"] * 2


def test_the_names_of_a_rig_do_not_depend_on_its_neighbours(tmp_path):
    def names(*others):
        mine = [event(i, source=s, rig="p") for i, s in enumerate("bab")]
        batches = []
        path = write(tmp_path / "f", [*others, *mine])
        part = ReplayPartition(config(path))
        with suppress(StopIteration):
            while True:
                batches += [b for rig, b in part.next_batch() if rig == "p"]
        part.close()
        return [(b.names, b.name.tolist()) for b in batches if len(b.name)]

    alone = names()
    assert alone == [((("b", "x"), ("a", "x")), [0, 1, 0])]
    assert names(event(0, source="a"), event(0, source="a", rig="q"), "{") == alone


def test_the_rigs_of_a_run_are_known_before_it(tmp_path):
    one = write(tmp_path / "1", [event(0, rig="hall"), "{", event(1), event(2, rig="yard")])
    two = write(tmp_path / "2", [event(0, rig="tent")])
    assert rigs_of(config(one, two)) == ("hall", "studio", "yard", "tent")
    assert rigs_of(config(one, max_rigs=2)) == ("hall", "studio")
    assert rigs_of(config(two)) == ("tent",)
    assert rigs_of(config(write(tmp_path / "3", []))) == ("studio",)


def test_the_rig_of_the_configuration_ends_without_any_event(tmp_path):
    ((rig, batch),) = part(config(write(tmp_path / "f", []))).next_batch()
    assert (rig, len(batch.name), batch.end) == ("studio", 0, True)
