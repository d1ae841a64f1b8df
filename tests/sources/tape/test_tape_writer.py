import json
import subprocess
import sys
from pathlib import Path

import pytest

from configs.inputs import FileStream
from configs.outputs import TapConfig
from configs.schema import Config
from configs.signals import MemberConfig, SignalConfig
from operators.collect import CollectConfig
from sources.opening import head, open_recording
from sources.recordings.recording import Mark
from sources.tape.reader import Tape, faults, read_manifest
from sources.tape.writer import TapError, TapeWriter, unfinished

ROOT = Path(__file__).parents[3]


def tap(root, run=None, needed=None, **config):
    return TapeWriter(TapConfig(dir=str(root), **config), "studio", "print", run, needed)


def line(i):
    return b'{"tick":%d.25}\n' % i


def written(root, n=100, **config):
    """Write a tape of so many lines, and return its folder."""
    made = tap(root, **config)
    for i in range(n):
        made.write(line(i))
    made.close(ended=True)
    return made.folder


def read(tape, limit=None):
    """Return all that a tape holds from where it is, piece by piece checked against its place."""
    parts, offset = [], tape.mark(None).offset
    while not tape.ended and not tape.idle:
        for piece in tape.read():
            assert piece.fault is None
            assert piece.offset == offset
            offset += len(piece.data)
            parts.append(piece.data)
    tape.close()
    return b"".join(parts)


WHOLE = b"".join(map(line, range(100)))


@pytest.mark.parametrize("zstd", [False, True])
@pytest.mark.parametrize("rotate_mb", [1.0, 0.0003])
def test_a_tape_reads_as_one_recording_however_it_is_cut_and_packed(tmp_path, zstd, rotate_mb):
    folder = written(tmp_path / "tap", rotate_mb=rotate_mb, zstd=zstd)

    assert read(open_recording(str(folder))) == WHOLE
    segments = read_manifest(folder).segments
    assert len(segments) == (1 if rotate_mb == 1.0 else 5)
    assert sum(s.lines for s in segments) == 100
    assert {p.suffix for p in folder.glob("0*")} == {".zst" if zstd else ".ndjson"}
    assert head(str(folder), 30) == WHOLE[:30]


@pytest.mark.parametrize("zstd", [False, True])
def test_a_tape_is_gone_on_with_at_any_of_its_lines(tmp_path, zstd):
    folder = written(tmp_path, rotate_mb=0.0003, zstd=zstd)

    for i in range(0, 100, 7):
        offset = len(b"".join(map(line, range(i))))
        assert read(Tape(str(folder), Mark(offset))) == WHOLE[offset:]


def test_a_changed_or_missing_segment_is_named(tmp_path):
    folder = written(tmp_path, rotate_mb=0.0003)
    assert faults(folder) == []

    (folder / "000001.ndjson").write_bytes(b"x" + (folder / "000001.ndjson").read_bytes()[1:])
    (folder / "000003.ndjson").unlink()
    changed, missing = faults(folder)
    assert "000001.ndjson: not as it was written" in changed
    assert "000003.ndjson: not there" in missing
    with pytest.raises(FileNotFoundError, match=r"000003\.ndjson"):
        Tape(str(folder))


def test_a_torn_line_of_a_killed_writer_is_cut_off(tmp_path):
    made = tap(tmp_path)
    made.write(line(1) + line(2))
    made.sync(0)
    made._lock.release()  # as a killed process does
    with (made.folder / "000000.ndjson").open("ab") as file:
        file.write(b'{"tick":3.')

    again = tap(tmp_path, run=made.run)
    assert again.offset == len(line(1) + line(2))
    again.write(line(3))
    again.close(ended=True)
    assert read(Tape(str(made.folder))) == line(1) + line(2) + line(3)
    assert faults(made.folder) == []


def test_a_run_that_was_stopped_goes_on_in_a_segment_of_its_own(tmp_path):
    first = tap(tmp_path)
    first.write(line(1))
    first.close(ended=False)
    second = tap(tmp_path, run=first.run)
    second.write(line(2))
    second.close(ended=True)

    assert read(Tape(str(first.folder))) == line(1) + line(2)
    assert [s.lines for s in read_manifest(first.folder).segments] == [1, 1]


def test_each_run_has_a_folder_of_its_own(tmp_path):
    folders = {written(tmp_path, 1) for _ in range(3)}
    assert len(folders) == 3


def test_only_the_newest_segments_are_kept_and_none_that_is_needed_is_dropped(tmp_path):
    old = written(tmp_path, rotate_mb=0.0003, keep=2)
    assert len(list(old.glob("0*.ndjson"))) == 2
    made = tap(tmp_path, needed=0, rotate_mb=0.0003, keep=2)
    places = []
    for i in range(100):
        places.append(made.offset)
        made.write(line(i))
    assert list(old.glob("0*.ndjson")) == []
    made.sync(places[50])
    assert len(list(made.folder.glob("0*.ndjson"))) == 5, "the first snapshot may not be stored"
    made.sync(places[99])
    made.close(ended=True)

    assert read(Tape(str(made.folder), Mark(places[50]))) == WHOLE[places[50] :]
    assert not (made.folder / "000000.ndjson").exists()


def test_a_second_run_is_refused_with_the_process_that_records(tmp_path):
    code = (
        "import sys; from configs.outputs import TapConfig\n"
        "from sources.tape.writer import TapeWriter\n"
        "tap = TapeWriter(TapConfig(dir=sys.argv[1]), 'studio', 'print', None)\n"
        "print('recording', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert other.stdout.readline() == "recording\n"
        with pytest.raises(TapError, match=f"process {other.pid} is recording there"):
            tap(tmp_path)
    finally:
        other.communicate("", timeout=10)
    written(tmp_path, 1)


def test_a_run_killed_before_its_first_snapshots_is_found_again(tmp_path):
    config = TapConfig(dir=str(tmp_path))
    assert unfinished(config, "print") is None
    written(tmp_path, 1)
    assert unfinished(config, "print") is None, "that one came to its end"

    made = tap(tmp_path)
    made.write(line(1))
    made._lock.release()
    assert unfinished(config, "print") == made.run
    assert unfinished(config, "another configuration") is None


def test_a_run_that_had_its_snapshots_is_gone_on_with_from_these_only(tmp_path):
    made = tap(tmp_path)
    for _ in range(3):
        made.sync(0)
    made._lock.release()
    assert unfinished(TapConfig(dir=str(tmp_path)), "print") is None


def test_a_tape_that_cannot_be_written_is_named(tmp_path):
    made = tap(tmp_path)
    full = open("/dev/full", "wb", buffering=0)  # noqa: SIM115, PTH123
    made._file, own = full.fileno(), made._file
    with pytest.raises(OSError, match=r"cannot write: No space left.*000000\.ndjson"):
        made.write(line(1))
    made._file = own
    full.close()
    made.close(ended=False)


def test_a_manifest_of_another_version_is_refused(tmp_path):
    folder = written(tmp_path, 1)
    manifest = json.loads((folder / "tape.json").read_text())
    (folder / "tape.json").write_text(json.dumps(manifest | {"version": 9}))
    with pytest.raises(ValueError, match="of version 9, not 1"):
        Tape(str(folder))


def test_the_blocks_of_a_run_lie_on_its_tape_and_replays_use_them(tmp_path):
    made = TapeWriter(TapConfig(dir=str(tmp_path)), "studio", "print", block_s=0.02)
    made.write(line(1))
    made.close(ended=True)
    assert read_manifest(made.folder).block_s == 0.02
    assert replay_of(made.folder).block_s() == 0.02
    assert replay_of(made.folder, speed=50.0).block_s() == 0.02
    chosen = replay_of(made.folder, collect=CollectConfig(block_s="density"))
    assert chosen.block_s() == "density"


def test_a_tape_of_an_earlier_version_is_replayed_by_density(tmp_path):
    folder = written(tmp_path)
    assert read_manifest(folder).block_s is None
    assert replay_of(folder).block_s() == "density"


@pytest.mark.parametrize("given", ["0", "-1", "1e9", '"auto"', "[1]"])
def test_impossible_blocks_on_a_tape_are_refused_and_never_used(tmp_path, given):
    folder = written(tmp_path)
    manifest = folder / "tape.json"
    manifest.write_text(manifest.read_text().replace('"block_s": null', f'"block_s": {given}'))
    assert replay_of(folder).block_s() == "density"
    with pytest.raises(ValueError, match="block_s"):
        read_manifest(folder)


def replay_of(folder, speed=0.0, **more):
    return Config(
        version=2,
        streams=[FileStream(name="tape", path=str(folder), speed=speed)],
        signals={"pulse": SignalConfig(members={"a:x": MemberConfig(lag_s=0.0)})},
        **more,
    )
