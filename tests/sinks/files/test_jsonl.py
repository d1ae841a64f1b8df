import errno
from io import FileIO
from pathlib import Path

import pytest

from sinks.files.jsonl import Segments, ShortFileError, segments_of

LINES = b"".join(b'{"n":%d}\n' % n for n in range(200))
FIRST = LINES[: LINES.index(b'{"n":50}')]
REST = LINES[len(FIRST) :]


def begin(folder: Path, limit: int = 100, **more) -> Segments:
    return Segments(folder, "fused", limit=limit, **more)


def names(folder: Path) -> list[str]:
    return [path.name for _, path in segments_of(folder, "fused")]


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for _, path in segments_of(folder, "fused"))


def test_the_file_is_there_before_the_first_line(tmp_path):
    begin(tmp_path)
    assert (tmp_path / "fused.jsonl").read_bytes() == b""


def test_segments_end_with_a_line_and_stay_within_the_limit(tmp_path):
    begin(tmp_path).write(LINES)
    parts = [path.read_bytes() for _, path in segments_of(tmp_path, "fused")]
    assert b"".join(parts) == LINES
    assert all(part.endswith(b"\n") and len(part) <= 100 for part in parts)
    following = [part.index(b"\n") + 1 for part in parts[1:]]
    assert all(len(p) + n > 100 for p, n in zip(parts[:-1], following, strict=True))


def test_a_line_that_fills_a_segment_exactly_stays_in_it(tmp_path):
    segments = begin(tmp_path, limit=10)
    segments.write(b"1234\n5678\n")
    assert names(tmp_path) == ["fused.jsonl"]
    segments.write(b"9\n")
    assert names(tmp_path) == ["fused.jsonl", "fused.000001.jsonl"]


def test_a_line_longer_than_a_segment_has_one_of_its_own(tmp_path):
    begin(tmp_path, limit=10).write(b"a\n" + b"b" * 50 + b"\nc\n")
    parts = [path.read_bytes() for _, path in segments_of(tmp_path, "fused")]
    assert parts == [b"a\n", b"b" * 50 + b"\n", b"c\n"]


@pytest.mark.parametrize("lines_a_write", [1, 7, 200])
def test_segments_do_not_depend_on_how_lines_are_handed_over(tmp_path, lines_a_write):
    (tmp_path / "whole").mkdir()
    begin(tmp_path / "whole").write(LINES)
    (tmp_path / "cut").mkdir()
    segments = begin(tmp_path / "cut")
    lines = LINES.splitlines(keepends=True)
    for i in range(0, len(lines), lines_a_write):
        segments.write(b"".join(lines[i : i + lines_a_write]))
    for _, path in segments_of(tmp_path / "whole", "fused"):
        assert (tmp_path / "cut" / path.name).read_bytes() == path.read_bytes()


def test_each_segment_after_the_first_is_announced_before_it_is_there(tmp_path):
    announced = []

    def announce(path: Path) -> None:
        assert not path.exists()
        announced.append(path.name)

    begin(tmp_path, announce=announce).write(LINES)
    assert announced == names(tmp_path)[1:] != []


@pytest.mark.parametrize("torn", [b"", b'{"n":3}\n', b'{"n":', LINES])
def test_a_resumed_file_is_truncated_to_the_snapshot(tmp_path, torn):
    segments = begin(tmp_path)
    segments.write(FIRST)
    position = segments.snapshot()
    segments.write(REST)
    with segments.path.open("ab") as file:
        file.write(torn)
    again = begin(tmp_path, position=position)
    again.trim()
    assert content(tmp_path) == FIRST
    again.write(REST)
    assert content(tmp_path) == LINES


def test_a_file_shorter_than_the_snapshot_is_refused_and_left_as_it_is(tmp_path):
    segments = begin(tmp_path, limit=10_000)
    segments.write(LINES)
    position = segments.snapshot()
    (tmp_path / "fused.jsonl").write_bytes(LINES[:-1])
    with pytest.raises(ShortFileError, match=r"fused\.jsonl: shorter than the"):
        begin(tmp_path, position=position)
    assert content(tmp_path) == LINES[:-1]


def test_a_missing_file_is_refused(tmp_path):
    position = begin(tmp_path).snapshot()
    (tmp_path / "fused.jsonl").unlink()
    with pytest.raises(ShortFileError):
        begin(tmp_path, position=position)
    assert names(tmp_path) == []


def test_old_segments_go_only_with_a_snapshot(tmp_path):
    segments = begin(tmp_path, keep=2, durable=False)
    segments.write(LINES)
    before = names(tmp_path)
    assert len(before) > 10
    segments.snapshot()
    assert names(tmp_path) == before[-2:]
    assert [path.name for path in segments.paths()] == before[-2:]


def test_segments_of_the_previous_snapshot_are_kept(tmp_path):
    segments = begin(tmp_path, keep=1)
    segments.write(FIRST)
    position = segments.snapshot()
    segments.write(REST)
    segments.snapshot()  # may not have reached the store yet
    again = begin(tmp_path, keep=1, position=position)
    again.trim()
    assert content(tmp_path) == FIRST[-len(content(tmp_path)) :] != b""
    again.write(REST)
    again.snapshot()
    again.snapshot()
    assert len(names(tmp_path)) == 1


def test_a_file_changed_by_another_program_is_named(tmp_path):
    segments = begin(tmp_path)
    segments.write(b"1\n")
    (tmp_path / "fused.jsonl").write_bytes(b"1\n2\n")
    with pytest.raises(OSError, match=r"fused\.jsonl"):
        segments.write(b"3\n")
    assert content(tmp_path) == b"1\n2\n"


def test_a_full_disk_is_named_with_the_path(tmp_path, monkeypatch):
    (tmp_path / "fused.jsonl").touch()
    segments = begin(tmp_path, position=(0, 0))
    monkeypatch.setattr("sinks.files.jsonl.open_file", lambda *_: FileIO("/dev/full", "rb+"))
    with pytest.raises(OSError, match=r"fused\.jsonl") as caught:
        segments.write(b"1\n")
    assert caught.value.errno == errno.ENOSPC
    assert segments.size == 0


def test_an_existing_file_is_never_begun_over(tmp_path):
    (tmp_path / "fused.jsonl").write_bytes(b"not ours\n")
    with pytest.raises(FileExistsError):
        begin(tmp_path)
    assert content(tmp_path) == b"not ours\n"
