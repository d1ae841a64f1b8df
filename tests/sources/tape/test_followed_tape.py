"""A growing tape: its lines come once each and in order, through new and packed segments."""

from __future__ import annotations

import pytest

from configs.outputs import TapConfig
from sources.opening import open_recording
from sources.recordings.recording import Mark
from sources.tape.followed import FollowedTape
from sources.tape.writer import TapeWriter


def line(i):
    return b'{"tick":%d.25}\n' % i


def tap(root, **config):
    return TapeWriter(TapConfig(dir=str(root), **config), "studio", "print", None, None)


def taken(tape):
    """Return the lines up to the newest one, each piece checked against its place."""
    parts, offset = [], tape.mark(None).offset
    while True:
        pieces = tape.read()
        if not pieces and (tape.idle or tape.ended):
            return b"".join(parts)
        for piece in pieces:
            assert piece.fault is None and piece.offset == offset
            offset += len(piece.data)
            parts.append(piece.data)


@pytest.mark.parametrize("zstd", [False, True])
@pytest.mark.parametrize("rotate_mb", [1.0, 0.0001])
@pytest.mark.parametrize("step", [1, 3, 40])
def test_lines_come_once_each_however_the_tape_is_cut(tmp_path, zstd, rotate_mb, step):
    writer = tap(tmp_path, rotate_mb=rotate_mb, zstd=zstd)
    tape = open_recording(str(writer.folder), follow=True)
    assert isinstance(tape, FollowedTape)
    found = b""
    for i in range(120):
        writer.write(line(i))
        if i % 7 == 0:
            writer.sync(writer.offset)
        if i % step == 0:
            found += taken(tape)
            assert found == b"".join(map(line, range(i + 1)))
            assert not tape.ended
    writer.close(ended=True)
    found += taken(tape)
    assert found == b"".join(map(line, range(120)))
    assert tape.ended
    tape.close()


def test_a_tape_whose_run_may_resume_has_no_end(tmp_path):
    writer = tap(tmp_path)
    writer.write(line(0))
    tape = FollowedTape(str(writer.folder))
    writer.close(ended=False)
    assert taken(tape) == line(0)
    assert tape.idle and not tape.ended
    assert tape.finish() == [] and tape.ended


@pytest.mark.parametrize("rotate_mb", [1.0, 0.0001])
def test_it_goes_on_from_any_line(tmp_path, rotate_mb):
    writer = tap(tmp_path, rotate_mb=rotate_mb)
    places = [0]
    for i in range(30):
        writer.write(line(i))
        places.append(places[-1] + len(line(i)))
    for i in (0, 1, 13, 29, 30):
        tape = FollowedTape(str(writer.folder), Mark(places[i]))
        assert taken(tape) == b"".join(map(line, range(i, 30)))
        assert tape.mark(None).offset == places[-1]
        tape.close()
    writer.close(ended=True)


def test_a_tape_without_its_beginning_is_refused(tmp_path):
    writer = tap(tmp_path, rotate_mb=0.0001)
    for i in range(30):
        writer.write(line(i))
    (writer.folder / "000000.ndjson").unlink()
    with pytest.raises(FileNotFoundError, match="segment not found"):
        FollowedTape(str(writer.folder))
    writer.close(ended=True)
