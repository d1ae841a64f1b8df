"""The tail of a run's folder: whole lines once each, through segments, cuts and new rigs."""

from __future__ import annotations

import pytest

from ops.shadow import line_tail
from ops.shadow.line_tail import LineTail, ReplacedError, RunTail
from sinks.files.jsonl import Segments


def taken(tail):
    out = []
    while tail.fill():
        out += [tail.lines.popleft() for _ in range(len(tail.lines))]
    return out


def text(k):
    return b'{"ts":%d}' % k


@pytest.mark.parametrize("block", [7, 64, 1 << 18])
@pytest.mark.parametrize("step", [1, 5, 100])
def test_lines_come_once_each_through_segments(tmp_path, monkeypatch, block, step):
    monkeypatch.setattr(line_tail, "BLOCK", block)
    files = Segments(tmp_path, "fused", limit=60)
    tail, found = LineTail(tmp_path), []
    for k in range(200):
        files.write(text(k) + b"\n")
        if k % step == 0:
            found += taken(tail)
            assert found == [text(i) for i in range(k + 1)]
    found += taken(tail)
    assert found == [text(k) for k in range(200)]


def test_a_torn_line_waits_for_its_rest(tmp_path):
    path = tmp_path / "fused.jsonl"
    path.write_bytes(b'{"ts":0}\n{"ts"')
    tail = LineTail(tmp_path)
    assert taken(tail) == [text(0)]
    with path.open("ab") as file:
        file.write(b":1}\n")
    assert taken(tail) == [text(1)]


def test_a_resumed_run_repeats_no_line(tmp_path):
    path = tmp_path / "fused.jsonl"
    whole = b"".join(text(k) + b"\n" for k in range(9))
    path.write_bytes(whole[:50])
    tail = LineTail(tmp_path)
    before = taken(tail)
    with path.open("r+b") as file:
        file.truncate(20)
    assert taken(tail) == []
    with path.open("r+b") as file:
        file.seek(0)
        file.write(whole)
    assert before + taken(tail) == [text(k) for k in range(9)]


def test_a_run_that_begins_anew_is_an_error(tmp_path):
    path = tmp_path / "fused.jsonl"
    path.write_bytes(text(0) + b"\n")
    tail = LineTail(tmp_path)
    assert taken(tail) == [text(0)]
    path.rename(tmp_path / "old")
    with pytest.raises(ReplacedError, match="it is gone"):
        tail.fill()
    path.write_bytes(text(5) + b"\n")
    with pytest.raises(ReplacedError, match="another run"):
        tail.fill()


def test_rigs_appear_and_the_end_is_that_of_run_json(tmp_path):
    run = RunTail(tmp_path / "out")
    assert run.tails() == [] and not run.ended()
    for rig in ("a", "b"):
        folder = tmp_path / "out" / rig
        folder.mkdir(parents=True)
        (folder / "fused.jsonl").write_bytes(text(0) + b"\n")
        assert [taken(tail) for tail in run.tails()][-1] == [text(0)]
    (tmp_path / "out" / "run.json").write_text('{"ended": false}')
    assert not run.ended()
    (tmp_path / "out" / "run.json").write_text('{"ended": true}')
    assert run.ended() and len(run.tails()) == 2
