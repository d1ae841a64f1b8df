"""Blocks of a tape: whole lines of one rig, cut alike from every earlier cut."""

from __future__ import annotations

import json
import random

import pytest

from ops.edge.blocks import MAX_BYTES, MAX_LINES, BlockCutter, BlockGroup


def line(t: float, rig: str | None = None, **more: object) -> bytes:
    named = {"rig": rig} if rig else {}
    event = {"ts": t, "source": "a", "key": "/x", "value": 1.0, **named, **more}
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def groups(lines: list[bytes], at: int = 0, parts: int = 1, seed: int = 0) -> list[BlockGroup]:
    """Cut lines that come in some parts."""
    cutter, found, chance = BlockCutter("home"), [], random.Random(seed)
    ends = sorted({len(lines), *(chance.randint(0, len(lines)) for _ in range(parts - 1))})
    for first, last in zip([0, *ends], ends, strict=False):
        data = b"".join(lines[first:last])
        found += cutter.cut(data, at)
        at += len(data)
    rest = cutter.rest()
    return [*found, rest] if rest else found


@pytest.fixture
def tape() -> list[bytes]:
    chance = random.Random(3)
    lines, t = [], 1_700_000_000.0
    for _ in range(2000):
        t += chance.expovariate(chance.choice((50, 2000)))
        kind = chance.random()
        if kind < 0.05:
            lines.append(b'{"lost":{"reason":"schema","source":"a","where":"","sample":""}}\n')
        elif kind < 0.1:
            lines.append(f'{{"tick":{t},"rig":"home"}}\n'.encode())
        else:
            lines.append(line(t, chance.choice((None, "b", "c")), meta={"rx": t + 0.01}))
    return lines


def test_cuts_do_not_depend_on_the_parts_that_are_read(tape: list[bytes]) -> None:
    whole = groups(tape)
    assert len(whole) > 30
    for seed in range(20):
        assert groups(tape, parts=40, seed=seed) == whole


def test_a_reader_that_begins_at_any_cut_cuts_alike(tape: list[bytes]) -> None:
    whole, first, at = groups(tape), 0, 0
    for number, group in enumerate(whole):
        assert groups(tape[first:], at) == whole[number:]
        first, at = first + group.lines, group.end
    assert at == sum(map(len, tape))


def test_blocks_have_one_rig_in_the_order_of_their_places(tape: list[bytes]) -> None:
    whole = groups(tape)
    places = [block.place for group in whole for block in group.blocks]
    assert places == sorted(set(places))
    for group in whole:
        assert sum(block.lines for block in group.blocks) == group.lines <= MAX_LINES
        for block in group.blocks:
            found = [json.loads(each) for each in block.value.splitlines()]
            assert len(found) == block.lines
            assert {each["rig"] for each in found} == {block.rig}


def test_a_named_line_stays_as_it_is_and_the_others_get_the_name_at_their_end() -> None:
    (group,) = groups([line(1.0, "b"), line(1.0), line(1.0, value="rig"), b'no json, "rig"\n'])
    own, home = group.blocks
    assert own.value == line(1.0, "b")
    first, second, third = home.value.splitlines(keepends=True)
    assert first == line(1.0)[:-2] + b',"rig":"home"}\n'
    assert json.loads(second) == {**json.loads(line(1.0, value="rig")), "rig": "home"}
    assert third == b'no json, "rig"\n'


def test_a_group_ends_with_its_fifth_of_a_second_its_lines_or_its_bytes() -> None:
    assert [g.lines for g in groups([line(1.0), line(1.19), line(1.2), line(1.41)])] == [2, 1, 1]
    assert [g.lines for g in groups([line(1.0)] * 130)] == [MAX_LINES, MAX_LINES, 2]
    long = line(1.0, value="x" * (MAX_BYTES // 2))
    assert [g.lines for g in groups([long, line(1.0), long])] == [2, 1]
    assert [g.lines for g in groups([line(1.0), line(1.0, value="x" * MAX_BYTES), line(1.0)])] == [
        1, 1, 1,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "\n", "{", "}", '{"ts":1e999}', '{"rx":--}', "\xff", "[" * 9999]
)
def test_no_line_raises(text: str) -> None:
    lines = [text.encode("latin-1") + b"\n"]
    assert groups(lines)[0].end == len(lines[0])
