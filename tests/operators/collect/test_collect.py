"""Collect: packets end at edges of arrival; duplicates, ignored and wild rows end here."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from operators.collect import BlockRule, Collect, collect
from operators.events import Batch, CommandRow, Marker, Reject, StreamStatus
from operators.records import Control, Packet
from operators.settings.channels import ChannelConfig
from operators.types import BRIDGE_COMMANDS
from tests.support.signals import START, cut, feed, plan

PLAN = plan(
    ("osc_1:/pulse", "osc_1:/array"), channels={"osc_1:/array": ChannelConfig(reduce="sum")}
)


def rows(*events: dict[str, Any], **given: Any) -> Batch:
    """Return a last batch of events; an event overrides `osc_1 /pulse` at its index."""
    names: list[tuple[str, str]] = []
    columns: dict[str, list[Any]] = {
        n: [] for n in ("name", "ts", "rx", "wild", "value", "seq", "line")
    }
    for i, e in enumerate(events):
        name = (e.get("source", "osc_1"), e.get("key", "/pulse"))
        if name not in names:
            names.append(name)
        default = {
            "ts": float(i),
            "rx": e.get("ts", float(i)),
            "wild": False,
            "value": 0.0,
            "seq": -1,
            "line": i,
        }
        for key, value in default.items():
            columns[key].append(e.get(key, value))
        columns["name"].append(-1 if e.get("tick") else names.index(name))
    kinds = {"name": np.int32, "wild": bool, "seq": np.int64, "line": np.int64}
    table = {k: np.array(v, kinds.get(k, float)) for k, v in columns.items()}
    batch = Batch(
        "studio",
        tuple(names),
        table["name"],
        START + table["ts"],
        START + table["rx"],
        table["name"] >= 0,
        table["wild"],
        table["value"],
        table["seq"],
        table["line"],
        end=True,
    )
    return replace(batch, **given)


def collected(batch: Batch, block_s: BlockRule = 1.0) -> list[Packet]:
    return feed(Collect(PLAN, block_s), [batch])


def ends(packets: list[Packet]) -> Counter[str]:
    return Counter({e: n for e, n in _ends(packets).items() if e != "received"})


def _ends(packets: list[Packet]) -> Counter[str]:
    out: Counter[str] = Counter()
    for e in (e for p in packets for e in p.ends):
        out[e.end] += len(e.watermark)
    return out


def values(packets: list[Packet]) -> list[list[float]]:
    return [[v for b in p.blocks for v in b.value.tolist()] for p in packets]


# -- edges --------------------------------------------------------------------------------------


def test_a_packet_holds_the_rows_of_one_window_of_arrival() -> None:
    batch = rows(*({"rx": rx, "value": v} for v, rx in enumerate((0.0, 0.9, 1.0, 1.9, 2.5))))
    packets = collected(batch)
    assert values(packets) == [[0, 1], [2, 3], [4]]
    assert [p.watermark - START for p in packets] == pytest.approx([0.9, 1.9, 2.5])
    assert [p.end for p in packets] == [False, False, True]


def test_edges_are_those_of_the_epoch_not_of_the_first_row() -> None:
    packets = collected(rows({"rx": 0.95}, {"rx": 1.05}, {"rx": 1.9}))
    assert [len(v) for v in values(packets)] == [1, 2]


def test_a_row_that_arrives_out_of_order_stays_where_it_came() -> None:
    batch = rows({"rx": 0.5, "value": 1.0}, {"rx": 1.5, "value": 2.0}, {"rx": 0.6, "value": 3.0})
    packets = collected(batch)
    assert values(packets) == [[1.0], [2.0, 3.0]]
    assert (packets[1].blocks[0].watermark - START).tolist() == pytest.approx([0.5, 1.5])
    assert packets[1].watermark - START == pytest.approx(1.5)


def test_ticks_of_the_host_clock_move_the_edge_and_are_no_events() -> None:
    packets = collected(rows({"rx": 0.2}, {"rx": 3.0, "tick": True}))
    assert _ends(packets) == {"received": 1}
    assert (packets[-1].arrivals - START).tolist() == pytest.approx([3.0])


def test_a_stream_that_turns_is_reported_with_the_arrival_of_its_tick() -> None:
    core = Collect(PLAN, 1.0)
    turned = (StreamStatus(1, "midi_1", False), StreamStatus(2, "midi_1", True))
    batch = rows({"rx": 0.2}, {"rx": 0.9, "tick": True}, {"rx": 1.1, "tick": True}, turned=turned)
    packets = feed(core, [batch])
    assert [p.turned for p in packets] == [
        (("midi_1", pytest.approx(START + 0.9), False),),
        (("midi_1", pytest.approx(START + 1.1), True),),
    ]


def test_a_command_is_known_at_the_arrival_of_its_tick_and_is_no_event() -> None:
    commands = (CommandRow(1, "bridge.release", "ann"), CommandRow(3, "bridge.rollback", "bo"))
    events = [{"rx": 0.2}, {"rx": 0.9, "tick": True}, {"rx": 0.95}, {"rx": 0.7, "tick": True}]
    packets = collected(rows(*events, {"rx": 1.1}, controls=commands))

    assert [p.controls for p in packets] == [
        (
            Control(pytest.approx(START + 0.9), "bridge.release", "ann"),
            # It arrived late: the rig's newest arrival was later.
            Control(pytest.approx(START + 0.95), "bridge.rollback", "bo"),
        ),
        (),
    ]
    assert _ends(packets) == {"received": 3}


@pytest.mark.parametrize("block_s", [0.05, 1.0, "density"])
def test_commands_are_the_same_in_any_cutting_and_after_any_resume(block_s: BlockRule) -> None:
    events = [{"rx": i * 0.21, "value": float(i), "tick": i % 4 == 1} for i in range(40)]
    commands = tuple(
        CommandRow(i, BRIDGE_COMMANDS[i % 8 == 1], f"user {i}") for i in range(1, 40, 4)
    )
    whole = rows(*events, controls=commands)

    expected = [c for p in collected(whole, block_s) for c in p.controls]
    assert [c.by for c in expected] == [c.by for c in commands]
    for places in ([5], range(1, 40), range(3, 40, 7)):
        core, found = Collect(PLAN, block_s), []
        for piece in cut(whole, places):
            core = Collect.from_snapshot(core.snapshot(), PLAN, block_s)
            found += [c for p in core.update(piece) for c in p.controls]
        assert found == expected


def test_in_narrow_blocks_a_tick_of_the_host_clock_ends_its_own_at_once() -> None:
    core = Collect(PLAN, 0.05)
    batch = rows({"rx": 0.21}, {"rx": 0.22, "tick": True}, end=False)
    (packet,) = core.update(batch)
    assert (packet.watermark - START, len(packet.blocks)) == (pytest.approx(0.22), 1)


def test_narrow_blocks_are_the_same_however_rows_and_rejects_between_ticks_are_cut() -> None:
    events = [{"rx": i * 0.03, "value": float(i), "tick": i % 4 == 1} for i in range(40)]
    bad = [Reject(row, "json", "osc_1", f"f:{row}", b"{") for row in range(0, 41, 3)]
    whole = rows(*events, rejects=tuple(bad))

    def piece(a: int, b: int) -> Batch:
        columns = ("name", "ts", "rx", "stamped", "wild", "value", "seq", "line")
        inside = tuple(
            msgspec.structs.replace(r, row=r.row - a)
            for r in bad
            if a <= r.row < b or (b == 40 == r.row)
        )
        return replace(
            whole, rejects=inside, end=b == 40, **{c: getattr(whole, c)[a:b] for c in columns}
        )

    def content(packets: list[Packet]) -> list[Any]:
        return [
            (
                p.watermark,
                p.arrivals.tolist(),
                [(b.channel, b.value.tolist()) for b in p.blocks],
                [letter.where for letter in p.letters],
            )
            for p in packets
        ]

    expected = content(feed(Collect(PLAN, 0.1), [whole]))
    assert len(expected) > 10
    for step in (1, 2, 3, 7):
        pieces = [piece(a, min(a + step, 40)) for a in range(0, 40, step)]
        assert content(feed(Collect(PLAN, 0.1), pieces)) == expected


def test_blocks_no_wider_than_a_tick_end_just_behind_the_moments_when_ticks_are_due() -> None:
    core = Collect(PLAN, 1 / PLAN.tick_hz)
    due = PLAN.base_delay_s % (1 / PLAN.tick_hz)
    first = core.update(rows({"rx": 10 + due - 0.01}, {"rx": 10 + due + 0.0005}, end=False))
    (packet,) = core.update(rows({"rx": 10 + due + 0.002}, end=False))
    assert first == []
    assert packet.watermark - START == pytest.approx(10 + due + 0.0005)


def test_arrivals_are_listed_once_and_in_order() -> None:
    packets = collected(rows({"rx": 0.1}, {"rx": 0.3}, {"rx": 0.2}, {"rx": 0.3}))
    assert (packets[0].arrivals - START).tolist() == pytest.approx([0.1, 0.3])


def test_too_many_rows_cut_a_packet_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "MAX_ROWS", 10)
    packets = collected(rows(*({"rx": i / 100} for i in range(25))))
    assert [len(v) for v in values(packets)] == [10, 10, 5]


def test_too_many_rejects_cut_a_packet_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "MAX_ROWS", 3)
    bad = tuple(Reject(0, "json", "osc_1", f"f:{i}", b"{") for i in range(7))
    packets = collected(rows({"rx": 0.5}, rejects=bad))
    assert [sum(d.count for d in p.letters) for p in packets] == [3, 3, 1]


def test_rejects_alone_make_a_packet() -> None:
    nothing = replace(cut(rows({}), [0])[0], end=True)
    bad = Reject(0, "torn", "osc_1", "f:7", b"\xff" * 300)
    (packet,) = collected(replace(nothing, rejects=(bad,)))
    (letter,) = packet.letters
    assert (letter.stage, letter.reason, letter.where, letter.count) == (
        "receive",
        "torn",
        "f:7",
        1,
    )
    assert len(letter.sample) == 256
    assert ends([packet]) == {"rejected": 1}


# -- ignored and wild -----------------------------------------------------------------------------


def test_unused_channels_are_ignored() -> None:
    packets = collected(rows({}, {"key": "/other"}, {"source": "who", "key": "/pulse"}))
    assert ends(packets) == {"ignored": 2}
    assert sum(map(len, values(packets))) == 1


def test_elements_go_with_the_array_that_is_reduced() -> None:
    batch = rows(
        {"key": "/array[0]", "value": 1.0, "rx": 0.0, "line": 7},
        {"key": "/array[1]", "value": 2.0, "rx": 0.0, "line": 7},
        {"key": "/pulse[0]", "rx": 0.0},
    )
    (packet,) = collected(batch)
    (block,) = packet.blocks
    assert (block.channel, block.value.tolist(), block.line.tolist()) == (
        "osc_1:/array",
        [1.0, 2.0],
        [7, 7],
    )
    assert ends([packet]) == {"ignored": 1}


def test_an_arrival_beyond_belief_moves_no_edge() -> None:
    packets = collected(rows({"rx": 0.1}, {"rx": 1e9, "wild": True}, {"rx": 0.3}))
    assert len(packets) == 1
    assert packets[0].watermark - START == pytest.approx(0.3)
    assert ends(packets) == {"rejected": 1}
    (letter,) = packets[0].letters
    assert (letter.stage, letter.reason, letter.source) == ("collect", "wild_stamp", "osc_1")


def test_a_marker_is_an_event_of_its_own() -> None:
    batch = rows({"value": np.nan}, {}, markers=(Marker(0, "verse"),))
    packets = collected(batch, block_s=10.0)
    assert [b.text for b in packets[0].blocks] == [(), ("verse",)]
    assert _ends(packets) == {"received": 2}


# -- duplicates -----------------------------------------------------------------------------------

TWICE = {"ts": 1.0, "rx": 1.0, "value": 5.0}


@pytest.mark.parametrize(
    ("again", "duplicates"),
    [
        ({}, 1),
        ({"rx": 1.4}, 1),
        ({"rx": 1.6}, 0),
        ({"value": 6.0}, 0),
        ({"ts": 1.1}, 0),
        ({"key": "/array[0]"}, 0),
        ({"line": 1}, 0),
    ],
    ids=["same", "within", "too late", "other value", "other time", "other channel", "same array"],
)
def test_a_duplicate_has_the_same_values_within_max_disorder(
    again: dict[str, Any], duplicates: int
) -> None:
    first = TWICE | {"line": 1}
    packets = collected(rows(first, TWICE | {"line": 2} | again), block_s=100.0)
    assert ends(packets)["duplicate"] == duplicates


@pytest.mark.parametrize(
    ("one", "other", "duplicates"), [(7, 7, 1), (7, 8, 0), (-1, 8, 1), (7, -1, 1), (-1, -1, 1)]
)
def test_numbers_of_the_sender_separate_rows_where_both_have_one(
    one: int, other: int, duplicates: int
) -> None:
    packets = collected(rows(TWICE | {"seq": one}, TWICE | {"seq": other}))
    assert ends(packets)["duplicate"] == duplicates


def test_the_first_stays_and_all_copies_go_across_packets() -> None:
    batch = rows(*(TWICE | {"rx": rx} for rx in (0.9, 1.1, 1.2, 1.35)))
    packets = collected(batch)
    assert values(packets) == [[5.0], []]
    assert ends(packets) == {"duplicate": 3}


def test_a_copy_is_measured_against_the_row_that_stayed() -> None:
    packets = collected(rows(*(TWICE | {"rx": rx} for rx in (1.0, 1.4, 1.8))), block_s=100.0)
    assert ends(packets) == {"duplicate": 1}


def test_elements_of_two_arrays_with_the_same_values_are_duplicates() -> None:
    array = [{"key": f"/array[{i}]", "ts": 1.0, "rx": 1.0, "value": 2.0} for i in (0, 1)]
    batch = rows(*(e | {"line": line} for line in (1, 2) for e in array))
    assert ends(collected(batch)) == {"duplicate": 2}
