import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from configs.outputs import TapConfig
from operators.events import Reject
from ops.cli.convert import convert
from sources.opening import head, open_recording, reader_at
from sources.recordings.recording import Mark
from sources.replay.recording_reader import rows_of
from sources.rows.names import Names
from sources.rows.rows import DecodedRows
from sources.tape.reader import Tape, faults, read_manifest, segment_path
from sources.tape.writer import TapeWriter

ROOT = Path(__file__).parents[3]
KINDS = (
    b'{"ts":%d.5,"source":"a","key":"x","value":0.25,"meta":{"rx":%d.75,"seq":4}}\n',
    b'{"ts":%d.5,"source":"a","key":"v","value":[1.0,null,3.0],"meta":{"rx":%d.75}}\n',
    b'{"tick":%d.5,"rig":"studio","step":%d.0}\n',
    b'{"ts":%d.5,"source":"a","key":"m","value":"go %d","meta":{"own_time":false}}\n',
    b'{"lost":{"reason":"osc","source":"a","where":"%d","sample":"","count":%d}}\n',
    b'{"tick":%d.5,"rig":"studio","turned":{"source":"a %d","up":true}}\n',
    b'{"control":"bridge.release","rx":%d.5,"rig":"studio","by":"user %d"}\n',
)
LINES = [KINDS[i % len(KINDS)] % (i + 1, i + 1) for i in range(119)]
WHOLE = b"".join(LINES)


def tap(root, run=None, needed=None, form="parquet"):
    config = TapConfig(dir=str(root), rotate_mb=0.0015, format=form)
    return TapeWriter(config, "studio", "print", run, needed)


def written(root, form="parquet", ended=True, needed=None):
    made = tap(root, form=form, needed=needed)
    for line in LINES:
        made.write(line)
    made.close(ended)
    return made.folder


def rows(tape, names):
    """Return all rows of a tape, and the places of their lines."""
    reader, parts = reader_at(tape.path), []
    while not tape.ended and not tape.idle:
        for piece in tape.read():
            parts += list(rows_of(piece, reader, names))
    tape.close()
    return DecodedRows.join(parts)


def same(a, b):
    for column in ("name", "ts", "rx", "value", "stamped", "seq", "line"):
        np.testing.assert_array_equal(getattr(a, column), getattr(b, column), column)
    for x, y in zip(a.notes, b.notes, strict=True):
        if isinstance(x, Reject) and x.reason == "value":  # the place has the name of the tape
            assert x.where.rpartition(":")[2] == y.where.rpartition(":")[2]
        else:
            assert x == y


def forms(folder):
    return {path.suffix for path in folder.glob("0*")}


def test_a_converted_tape_has_the_rows_and_lines_of_the_plain_one(tmp_path):
    plain, converted = written(tmp_path / "plain", "ndjson"), written(tmp_path / "columns")
    assert forms(converted) == {".parquet"} and len(read_manifest(converted).segments) > 4
    names = Names("studio")
    same(rows(Tape(str(plain)), names), rows(Tape(str(converted)), names))
    assert faults(converted) == []
    assert head(str(converted), len(WHOLE)) == WHOLE
    convert(str(converted), tmp_path / "back.ndjson")
    assert (tmp_path / "back.ndjson").read_bytes() == WHOLE


def test_a_converted_tape_is_resumed_at_any_of_its_lines(tmp_path):
    plain, converted = written(tmp_path / "plain", "ndjson"), written(tmp_path / "columns")
    offset = 0
    for line in LINES:
        names = Names("studio")
        a, b = (rows(Tape(str(x), Mark(offset)), names) for x in (plain, converted))
        same(a, b)
        offset += len(line)
    tape = open_recording(str(converted))
    rows(tape, Names("studio"))
    assert tape.mark(None).offset == len(WHOLE)


def test_segments_that_a_resume_reads_stay_plain(tmp_path):
    made = tap(tmp_path, needed=0)
    half = len(b"".join(LINES[:60]))
    for line in LINES[:60]:
        made.write(line)
    assert forms(made.folder) == {".ndjson"}
    made.sync(half)  # this snapshot may not be stored
    assert forms(made.folder) == {".ndjson"}
    made.sync(half)
    for line in LINES[60:]:
        made.write(line)
    made.close(ended=False)
    behind = [s for s in read_manifest(made.folder).segments if s.begin + (s.size or 0) <= half]
    assert behind
    for segment in read_manifest(made.folder).segments:
        suffix = segment_path(made.folder, segment).suffix
        assert suffix == (".parquet" if segment in behind else ".ndjson")
    names = Names("studio")
    plain = written(tmp_path / "plain", "ndjson")
    same(rows(Tape(str(plain)), names), rows(Tape(str(made.folder)), names))


def test_a_segment_with_lines_of_others_stays_plain(tmp_path, capsys):
    made = tap(tmp_path)
    made.write(b'{"ts": 1, "source": "a", "key": "x", "value": 2}\n')
    made.close(ended=True)
    assert forms(made.folder) == {".ndjson"}
    assert "stays unconverted: its lines are not those" in capsys.readouterr().err
    assert faults(made.folder) == []


KILLED = """
import os, sys
from pathlib import Path
from sources.tape import writer
calls = 0
def killing(real):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == {number}:
            os._exit(9)
        return real(*args, **kwargs)
    return call
for place, name in ((Path, "unlink"), (Path, "replace"), (os, "fsync"), (writer, "sync_folder"),
                    (writer, "digest_of"), (writer, "open_file")):
    setattr(place, name, killing(getattr(place, name)))
folder = Path({folder!r})
for segment in writer.read_manifest(folder).segments[:2]:
    writer._convert(folder / segment.name, segment, writer.PRIVATE)
"""


@pytest.mark.parametrize("number", range(1, 17))
def test_a_kill_at_any_point_leaves_each_segment_readable_once(tmp_path, number):
    folder = written(tmp_path / "columns", "ndjson")
    code = KILLED.format(number=number, folder=str(folder))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode in ((9,) if number <= 12 else (0, 9))

    names = Names("studio")
    plain = written(tmp_path / "plain", "ndjson")
    same(rows(Tape(str(plain)), names), rows(Tape(str(folder)), names))
    assert faults(folder) == []
    # The next run of this tape ends what was begun.
    again = tap(tmp_path / "columns", run=folder.name)
    again.close(ended=True)
    assert {x.suffix for x in folder.glob("0*")} == {".parquet"}
    assert head(str(folder), len(WHOLE)) == WHOLE
