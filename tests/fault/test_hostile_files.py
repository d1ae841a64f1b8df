"""What data name is never a path, and a thing of another run never ends one."""

import json
import os
import stat
from pathlib import Path

import msgspec
import pytest

from configs.document import parse, public_text, public_url
from configs.files import ACCESS, LinkError, open_own, read_own, write_whole
from configs.inert import literal, quoted
from configs.load import load
from configs.outputs import TapConfig
from ops.bench.hostile_files import attack
from ops.bench.kill_points import configuration
from ops.cli.guess.config import derive
from ops.cli.verify import write_config
from sinks.files.folder import LOCK, RUN, Folder, FolderError
from sources.recordings.recording import UnusableError
from sources.replay import RecordingsError, preflight
from sources.tape.reader import MANIFEST, Manifest, Tape, read_manifest
from sources.tape.writer import TapError, TapeWriter


def tap(root, run=None, **config):
    return TapeWriter(TapConfig(dir=str(root), **config), "studio", "print", run)


def taped(root, n=10, **config):
    """Write a tape and return its folder."""
    made = tap(root, **config)
    for i in range(n):
        made.write(b'{"tick":%d.5}\n' % i)
    made.close(ended=True)
    return made.folder


def rewritten(folder, **segment):
    """Change what a tape writes of its first segment."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["segments"][0] |= segment
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_mutants_of_files_touch_nothing_outside_and_end_no_run(tmp_path):
    found = attack(tmp_path, 120, 7)
    assert found.touched == []
    assert found.panics == []
    assert min(found.tried.values()) == 15
    assert found.refused["tape.json"] >= 10
    assert found.refused["folder of a rig"] == 15


def test_a_manifest_that_is_believed_would_be_seen(tmp_path, monkeypatch):
    def believed(folder):
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)

    monkeypatch.setattr("sources.tape.reader.read_manifest", believed)
    monkeypatch.setattr("sources.tape.writer.read_manifest", believed)
    found = attack(tmp_path, 160, 7)
    assert found.touched or found.panics


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../victim.txt"}, {"name": "/etc/passwd"}, {"name": "000001.ndjson"},
        {"name": "000000.ndjson\n"}, {"name": "000000.xdf"}, {"begin": -1}, {"size": 2**63},
        {"size": None}, {"begin": 2**62, "size": 0},
    ],
    ids=str,
)  # fmt: skip
def test_a_tape_with_a_foreign_name_is_refused_with_its_name(tmp_path, change):
    (tmp_path / "victim.txt").write_text("secret")
    folder = taped(tmp_path / "tap", rotate_mb=0.00005)
    rewritten(folder, **change)
    with pytest.raises(UnusableError, match=r"tape\.json"):
        read_manifest(folder)
    with pytest.raises(UnusableError, match=r"tape\.json"):
        Tape(str(folder))
    with pytest.raises(RecordingsError) as caught:
        derive([folder], tmp_path / "out")
    assert f"lumen: {folder / MANIFEST}: " in caught.value.lines()[0]


def test_a_replay_of_such_a_tape_is_refused_before_it_starts(tmp_path):
    folder = taped(tmp_path / "tap")
    config = configuration(tmp_path)
    stream = msgspec.structs.replace(config.streams[0], path=str(folder))
    preflight(msgspec.structs.replace(config, streams=[stream]))
    rewritten(folder, name="../x")
    with pytest.raises(RecordingsError) as caught:
        preflight(msgspec.structs.replace(config, streams=[stream]))
    assert caught.value.exit_code == 2
    assert len(caught.value.lines()) == 1


def test_a_segment_that_is_a_link_is_not_read(tmp_path):
    folder = taped(tmp_path / "tap")
    (tmp_path / "secret").write_text("secret\n")
    (folder / "000000.ndjson").unlink()
    (folder / "000000.ndjson").symlink_to(tmp_path / "secret")
    with pytest.raises(LinkError, match="a link, not a file"):
        Tape(str(folder))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version":1,"rig":1,"config":"x"}', "[" * 99999])
def test_a_damaged_tape_of_another_run_is_left_named_once_and_ends_no_run(tmp_path, capsys, text):
    old = taped(tmp_path, rotate_mb=0.00002)
    (old / MANIFEST).write_text(text)
    segments = sorted(p.name for p in old.iterdir())
    made = tap(tmp_path, rotate_mb=0.00002, keep=1)
    for i in range(10):
        made.write(b'{"tick":%d.5}\n' % i)
    made.sync(made.offset)
    made.close(ended=True)
    assert sorted(p.name for p in old.iterdir()) == segments
    assert made.unkept == 1
    assert capsys.readouterr().err.count(f"tap.keep leaves this as it is: {old / MANIFEST}") == 1


def test_retention_follows_no_link_to_another_folder(tmp_path):
    elsewhere = taped(tmp_path / "elsewhere", rotate_mb=0.00002)
    (tmp_path / "tap").mkdir()
    (tmp_path / "tap" / "20200101T000000Z").symlink_to(elsewhere)
    before = sorted(p.name for p in elsewhere.iterdir())
    taped(tmp_path / "tap", rotate_mb=0.00002, keep=1)
    assert sorted(p.name for p in elsewhere.iterdir()) == before


@pytest.mark.parametrize("run", ["../elsewhere", "/tmp", "..", "", "20200101T000000Z\n"])
def test_a_store_cannot_lead_a_tape_elsewhere(tmp_path, run):
    with pytest.raises(ValueError, match="is no tape of this run"):
        tap(tmp_path / "tap", run=run)


@pytest.mark.parametrize(
    "name",
    [
        "../fused.jsonl",
        "link/fused.jsonl",
        "./fused.jsonl",
        "a\0b/fused.jsonl",
        "x" * 300 + "/fused.jsonl",
    ],
)
def test_a_run_removes_no_file_outside_of_its_folder(tmp_path, name):
    (tmp_path / "fused.jsonl").write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / LOCK).write_text(f"file {name}\n")
    (out / RUN).write_text(json.dumps({"files": {name: 4}}))
    if name.startswith("link"):
        (out / "link").symlink_to(tmp_path)
    folder = Folder(out)
    try:
        folder.take(fresh=True)
    except FolderError:
        assert name.startswith("link")
    folder.release()
    assert (tmp_path / "fused.jsonl").read_text() == "mine"


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_lock_that_is_no_file_is_refused_by_its_name(tmp_path, kind):
    for root, take in ((tmp_path / "out", lambda p: Folder(p).check()), (tmp_path / "tap", tap)):
        root.mkdir()
        lock = root / LOCK
        if kind == "pipe":
            os.mkfifo(lock)
        elif kind == "folder":
            lock.mkdir()
        else:
            lock.symlink_to(tmp_path / "victim")
        with pytest.raises((FolderError, TapError), match=r"\.lumen\.lock: (a link|not a plain)"):
            take(root)
    assert not (tmp_path / "victim").exists()


def test_a_file_is_opened_as_itself_or_not_at_all(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_CREAT):
        with pytest.raises(LinkError):
            open_own(tmp_path / "link", flags)
    assert not (tmp_path / "target").exists()
    (tmp_path / "large").write_bytes(b"12345")
    assert read_own(tmp_path / "large", 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_own(tmp_path / "large", 4)
    (tmp_path / "whole.tmp").symlink_to(tmp_path / "target")
    write_whole(tmp_path / "whole", b"x")
    assert (tmp_path / "whole").read_bytes() == b"x"
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("mode", ACCESS)
def test_results_and_tapes_are_made_for_whom_output_mode_names(tmp_path, mode):
    before = os.umask(0)
    try:
        access = ACCESS[mode]
        folder = Folder(tmp_path / "out", access)
        folder.take(fresh=True)
        folder.release()
        made = TapeWriter(TapConfig(dir=str(tmp_path / "tap"), zstd=True), "r", "p", access=access)
        made.write(b"{}\n")
        made.close(ended=True)
    finally:
        os.umask(before)
    for path in (tmp_path / "out", *(tmp_path / "out").rglob("*"), tmp_path / "tap",
                 *(tmp_path / "tap").rglob("*")):  # fmt: skip
        expected = access.folder if path.is_dir() else access.file
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_a_run_makes_its_results_private(tmp_path):
    from flows.run import execute

    config = write_config(configuration(tmp_path), tmp_path / "run.yaml", tmp_path / "results")
    out = execute(config, progress=False)
    files = [p for p in out.rglob("*") if p.is_file()]
    assert len(files) > 8
    assert {stat.S_IMODE(p.stat().st_mode) for p in files} == {0o600}
    assert {stat.S_IMODE(p.stat().st_mode) for p in (out, out / "a", out / "b")} == {0o700}


HOSTILE = ["${SECRET}", "$${SECRET}", "a${SECRET}b${X}", "${", "$$", "${a${SECRET}}", "}${SECRET}"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_quoted_text_is_read_back_as_it_is_and_never_replaced(text):
    environ = {"SECRET": "s3cret", "X": "s3cret"}
    document = parse(f"value: {quoted(text)}\n{quoted(text)}: 1\n", "c.yaml", environ)
    assert document.faults == []
    assert document.data == {"value": text, text: 1}
    assert "s3cret" not in str(document.data)
    assert literal("plain") == "plain"


def test_a_variable_that_a_person_wrote_is_still_replaced():
    assert parse("value: '${A}, $${A}'", "c.yaml", {"A": "1"}).data == {"value": "1, ${A}"}
    (fault,) = parse("${A}: 1", "c.yaml", {"A": "1"}).faults
    assert "in a key" in fault.message


def test_a_recording_cannot_read_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET", "s3cret")
    lines = [
        json.dumps({"ts": i / 10, "source": source, "key": "${AWS_SECRET}", "value": float(i)})
        for i in range(100)
        for source in ("${AWS_SECRET}", "b")
    ]
    recording = tmp_path / "${AWS_SECRET}.ndjson"
    recording.write_text("\n".join(lines) + "\n")
    path = derive([recording], tmp_path / "out")
    config = load(path).config
    assert "s3cret" not in str(config)
    assert config.streams[0].path == str(recording)
    assert "${AWS_SECRET}:${AWS_SECRET}" in str(config.signals)
    again = load(write_config(config, tmp_path / "again.yaml", tmp_path / "again")).config
    assert again.signals == config.signals
    assert again.streams[0].path == str(recording)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host:9100/metrics", "http://host:9100/metrics"),
        ("https://u:p@host/m?token=secret#x", "https://host/m"),
        ("http://host?token=secret", "http://host"),
        ("http://[::1]:80/a@b?c", "http://[::1]:80/a@b"),
    ],
)
def test_a_url_is_shown_without_user_and_query(url, shown):
    assert public_url(url) == shown
    text = public_text(f"metrics_url: '{url}', name: x")
    assert "secret" not in text
    assert "u:p" not in text
    assert text.endswith("', name: x")


def test_the_query_of_a_url_is_nowhere_in_what_a_run_leaves(tmp_path, capfd):
    from configs.inputs import UreStream
    from sources.inbox import Inbox, stamp
    from sources.ure import UreScraper

    stream = UreScraper(UreStream(name="ure", metrics_url="http://127.0.0.1:9/m?token=s3cret"))
    inbox = Inbox("ure", host=stamp)
    stream._inbox = inbox
    stream._pull()
    output = [*inbox.take_log(), *stream.facts(), *map(str, inbox.take())]
    assert any("http://127.0.0.1:9/m" in x for x in output)
    assert not any("s3cret" in x for x in output)


def test_the_configuration_in_run_json_has_no_query(tmp_path):
    text = "# https://u:p@host/m?token=s3cret\n"
    path = Path(tmp_path / "run.yaml")
    path = write_config(configuration(tmp_path), path, tmp_path / "results")
    path.write_text(text + path.read_text())
    from flows.run import execute

    run = json.loads((execute(path, progress=False) / RUN).read_text())
    assert "s3cret" not in json.dumps(run)
    assert run["config"]["text"].startswith("# https://***@host/m?***")
