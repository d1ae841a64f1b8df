import errno
import json
import os
import subprocess
import sys
from io import FileIO
from pathlib import Path

import numpy as np
import pytest

from configs.files import open_file
from configs.inputs import FileStream
from configs.outputs import ExporterConfig, OutputConfig
from configs.schema import Config
from configs.signals import MemberConfig, SignalConfig
from operators.lines import DeadLine, MarkerLine
from operators.records import Ends, Fused, FusedSignal, Packet
from operators.snapshot import StateRefusedError
from sinks.exporter.server import Server
from sinks.files.folder import Folder, FolderError, rig_folder
from sinks.files.jsonl import ShortFileError, segments_of
from sinks.output import Output, preflight


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def config(out: Path, **output) -> Config:
    recording = out.parent / "recording.ndjson"
    recording.write_bytes(b"{}\n")
    return Config(
        version=2,
        streams=[FileStream(name="demo", path=str(recording))],
        signals={"pulse": SignalConfig(members={"a:x": MemberConfig()})},
        output=OutputConfig(dir=str(out), **output),
    )


def begin(out: Path, state=None, rigs=("r",), keep=True, fingerprint="f", consumers=(), **output):
    sink = Output(config(out, **output), rigs, None, fingerprint, keep, consumers)
    return sink.build_part("out", "out", state)


def packet(first: int, k: int = 3, rig: str = "r", end: bool = False, **more) -> Packet:
    """k ticks of one signal at 1 Hz, and as many events as ticks, all used."""
    ts, whole = np.arange(first, first + k, dtype=float), np.zeros(k, np.int64)
    signal = FusedSignal(
        "pulse", ("a:x",), ts / 3, ts / 7, ts / 9, whole, whole + 1, np.ones((k, 1))
    )
    five = np.ones((k, 5))
    fused = Fused(
        ts, ts + 1, whole, whole + 1, (signal,), five, five, five, np.empty((k, 0)), (), ts / 9,
        ts / 11,
    )  # fmt: skip
    marker = MarkerLine(ts=float(first), source_ts=0.0, rig=rig, channel="a:m", value="x")
    ends = tuple(Ends("a", "a:x", end_, ts) for end_ in ("received", "used"))
    return Packet(
        rig, first + k, end, ts, fused=fused, markers=(marker,), **({"ends": ends} | more)
    )


def account(out: Path) -> dict:
    return json.loads((out / "run.json").read_bytes())


def texts(folder: Path) -> dict[str, bytes]:
    found = sorted(folder.rglob("*.jsonl"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_one_rig_writes_into_the_folder_itself(out):
    part = begin(out)
    part.write_batch([packet(0), packet(3, end=True)])
    part.close()
    assert set(texts(out)) == {"fused.jsonl", "sync.jsonl", "dead.jsonl", "markers.jsonl"}
    ticks = [json.loads(line)["ts"] for line in (out / "fused.jsonl").read_text().splitlines()]
    assert ticks == [0, 1, 2, 3, 4, 5]


def test_several_rigs_have_a_folder_each(out):
    part = begin(out, rigs=("a", "b"))
    part.write_batch([packet(0, rig="a"), packet(0, rig="b"), packet(3, rig="a")])
    assert len((out / "a" / "fused.jsonl").read_bytes().splitlines()) == 6
    assert len((out / "b" / "fused.jsonl").read_bytes().splitlines()) == 3
    assert not (out / "fused.jsonl").exists()


def test_a_later_rig_has_a_folder_of_its_own(out):
    part = begin(out)
    part.write_batch([packet(0), packet(0, rig="late")])
    assert (out / "fused.jsonl").read_bytes().count(b'"rig":"r"') == 3
    assert (out / "late" / "fused.jsonl").read_bytes().count(b'"rig":"late"') == 3


def test_long_and_short_packets_keep_their_order(out):
    part = begin(out)
    part.write_batch([packet(0), packet(3, k=2000), packet(2003), packet(2006, k=2000, end=True)])
    part.close()
    ticks = [json.loads(line)["ts"] for line in (out / "fused.jsonl").read_text().splitlines()]
    assert ticks == list(range(4006))


def test_many_rigs_need_few_descriptors(out):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    part = begin(out, rigs=("a", "b"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        for tick in range(3):
            part.write_batch([packet(tick, rig=f"rig_{i}", end=tick == 2) for i in range(120)])
            part.snapshot()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    part.close()
    assert len(list(out.glob("rig_*/fused.jsonl"))) == 120
    assert account(out)["ended"]


@pytest.mark.parametrize(
    "rig", ["", ".", "..", "../up", "/etc", "a/b", "fused.jsonl", "run.json", "é" * 300, "a\0b"]
)
def test_no_name_of_a_rig_leads_out_of_the_folder(out, rig):
    part = begin(out)
    part.write_batch([packet(0, rig=rig)])
    assert len(list(out.glob("*/fused.jsonl"))) == 1
    assert {path.name for path in out.parent.iterdir()} == {"out", "recording.ndjson"}


def test_rigs_never_share_a_folder():
    names = ["", "%", ".", "%2E", "a/b", "a%2Fb", "x" * 300, "x" * 301, "A b", "a.b", "ä",
             "taken-later", "taken%2Dlater"]  # fmt: skip
    assert len({rig_folder(name) for name in names}) == len(names)
    assert rig_folder("studio-1.left") == "studio-1.left"
    assert rig_folder("taken-later") != "taken-later"


def test_a_resumed_run_has_the_same_bytes_and_account(out, tmp_path):
    packets = [packet(3 * i, end=i == 9) for i in range(10)]
    whole = begin(tmp_path / "whole", rotate_mb=0.001)
    whole.write_batch(packets)
    whole.close()
    part = begin(out, rotate_mb=0.001)
    part.write_batch(packets[:4])
    state = part.snapshot()
    part.write_batch([*packets[4:6], packet(0, rig="later")])  # lost with the process
    with segments_of(out, "fused")[-1][1].open("ab") as file:
        file.write(b'{"ts":')
    part.files.folder.release()
    again = begin(out, state, rotate_mb=0.001)
    again.write_batch(packets[4:])
    again.close()
    assert texts(out) == texts(tmp_path / "whole")
    assert len(texts(out)) > 6
    assert account(out)["account"] == account(tmp_path / "whole")["account"]
    assert account(out)["events"] == 18
    assert account(out)["rigs"] == ["r"]


def test_a_rig_keeps_its_place_when_the_recording_has_grown(out):
    part = begin(out, rigs=("r",))
    part.write_batch([packet(0)])
    state = part.snapshot()
    part.files.folder.release()
    again = begin(out, state, rigs=("r", "s"))
    again.write_batch([packet(3)])
    assert len((out / "fused.jsonl").read_bytes().splitlines()) == 6


def test_a_short_file_is_refused_and_nothing_is_changed(out):
    part = begin(out)
    part.write_batch([packet(0)])
    state = part.snapshot()
    part.write_batch([packet(3)])
    part.files.folder.release()
    (out / "markers.jsonl").write_bytes(b"")
    before = texts(out)
    with pytest.raises(ShortFileError, match=r"markers\.jsonl"):
        begin(out, state)
    assert texts(out) == before


def test_a_snapshot_under_another_configuration_is_refused(out):
    part = begin(out)
    state = part.snapshot()
    part.files.folder.release()
    with pytest.raises(StateRefusedError, match="another configuration"):
        begin(out, state, fingerprint="other")


def test_without_recovery_no_state_is_made(out):
    assert begin(out, keep=False).snapshot() == b""


@pytest.mark.parametrize("killed", [False, True])
def test_a_run_replaces_the_one_before_it(out, killed):
    part = begin(out, rigs=("a", "b"), rotate_mb=0.001)
    part.write_batch([packet(0, k=20, rig="a")])
    part.files.folder.release() if killed else part.close()
    assert len(texts(out)) > 8
    preflight(config(out))
    begin(out).close()
    assert set(texts(out).values()) == {b""}
    assert not (out / "a").exists()


@pytest.mark.parametrize("stranger", ["notes.txt", "fused.jsonl", "sub/notes.txt", ".hidden"])
def test_a_folder_with_other_files_is_refused_in_one_line(out, stranger):
    (out / stranger).parent.mkdir(parents=True)
    (out / stranger).write_text("mine")
    with pytest.raises(FolderError) as caught:
        preflight(config(out))
    assert caught.value.exit_code == 2
    (line,) = caught.value.lines()
    assert "\n" not in line
    assert stranger.split("/")[0] in line
    with pytest.raises(FolderError):
        begin(out)
    assert (out / stranger).read_text() == "mine"


def test_a_file_beside_those_of_an_earlier_run_is_refused(out):
    begin(out).close()
    (out / "fused.backup.jsonl").touch()
    with pytest.raises(FolderError, match=r"fused\.backup\.jsonl: no run wrote this"):
        Folder(out).check()


def test_no_list_of_files_makes_a_run_remove_what_no_run_writes(out):
    begin(out).close()
    victim = out.parent / "fused.jsonl"
    victim.write_text("mine")
    run = account(out)
    run["files"] |= {"../fused.jsonl": 1, "/etc/passwd": 1, "../recording.ndjson": 1}
    (out / "run.json").write_text(json.dumps(run))
    with (out / ".lumen.lock").open("a") as file:
        file.write("file ../fused.jsonl\nfile ..\nfile .\n")
    begin(out).close()
    assert victim.read_text() == "mine"


def test_an_output_folder_that_is_a_file_is_refused(out):
    out.write_text("a file")
    with pytest.raises(FolderError, match="is not a folder"):
        Folder(out).check()


def test_the_preflight_makes_nothing(out):
    preflight(config(out))
    assert not out.exists()


def test_a_second_run_gets_the_holder_of_the_folder(out, capsys):
    part = begin(out)
    part.write_batch([packet(0)])
    before = texts(out)
    code = (
        "import sys; from pathlib import Path; from sinks.files.folder import Folder\n"
        "try: Folder(Path(sys.argv[1])).check()\n"
        "except Exception as error: print(error)"
    )
    text = subprocess.run(
        [sys.executable, "-c", code, str(out)], capture_output=True, text=True, timeout=20,
        check=True,
    ).stdout  # fmt: skip
    assert f"process {os.getpid()} is writing there" in text
    with pytest.raises(FolderError, match="is writing there"):
        begin(out)
    assert texts(out) == before


def test_the_folder_is_free_after_the_run(out):
    begin(out).close()
    Folder(out).check()


def test_every_event_is_in_the_account_under_its_source(out):
    def ends(source: str, n: int, end: str = "used") -> tuple[Ends, ...]:
        return tuple(Ends(source, f"{source}:x", e, np.zeros(n)) for e in ("received", end))

    many = tuple(e for i in range(300) for e in ends(f"s{i:03}", 1))
    part = begin(out)
    part.write_batch([packet(0, ends=ends("", 2, "rejected") + many)])
    part.write_batch([packet(3, ends=ends("s000", 4, "late"), end=True)])
    part.close()
    run = account(out)
    by_source = run["account"]["by_source"]
    assert run["balanced"]
    assert run["ended"]
    assert run["account"]["total"] == {
        "received": 306, "used": 300, "ignored": 0, "late": 4, "duplicate": 0, "outliers": 0,
        "rejected": 2, "dropped": 0,
    }  # fmt: skip
    assert len(by_source) == 257
    assert by_source["?"]["rejected"] == 2
    assert by_source["*"]["received"] == 45
    assert by_source["s000"] | {"used": 1, "late": 4} == by_source["s000"]


def test_an_unbalanced_account_is_written_and_reported(out, capsys):
    part = begin(out)
    part.write_batch([packet(0, ends=(Ends("a", "a:x", "received", np.zeros(3)),), end=True)])
    part.close()
    assert account(out)["balanced"] is False
    assert "does not balance" in capsys.readouterr().err


def test_run_json_has_the_origin_of_the_numbers(out):
    part = begin(out)
    part.write_batch([packet(0, end=True)])
    part.close()
    run = account(out)
    assert all(run["versions"].values())
    assert run["recordings"][0]["bytes"] == 3
    # of the three bytes "{}" and a newline
    assert run["recordings"][0]["sha256"].startswith("ca3d163bab055381827226140568f3be")
    assert run["files"]["fused.jsonl"] == (out / "fused.jsonl").stat().st_size
    assert run["block_s"] == "density"
    assert run["wall_s"] > 0
    assert run["peak_mib"] > 10


def test_a_stopped_run_has_not_ended(out):
    part = begin(out)
    part.write_batch([packet(0)])
    part.close()
    assert account(out)["ended"] is False
    assert account(out)["recordings"][0]["sha256"] is None


def on_a_full_disk(path: Path, monkeypatch) -> None:
    def opened(other, *more):
        return FileIO("/dev/full", "rb+") if other == path else open_file(other, *more)

    monkeypatch.setattr("sinks.files.jsonl.open_file", opened)


DEAD = DeadLine(
    ts=1.0, rig="r", stage="receive", reason="json", source="a", where="f:0", count=2, sample="{"
)


def test_a_full_disk_stops_the_run_and_names_the_file(out, monkeypatch):
    part = begin(out)
    on_a_full_disk(out / "fused.jsonl", monkeypatch)
    with pytest.raises(OSError, match=r"fused\.jsonl") as caught:
        part.write_batch([packet(0)])
    assert caught.value.errno == errno.ENOSPC


def test_dead_letters_that_cannot_be_written_are_counted_and_the_run_goes_on(
    out, capsys, monkeypatch
):
    part = begin(out)
    on_a_full_disk(out / "dead.jsonl", monkeypatch)
    for i in range(3):
        part.write_batch([packet(3 * i, dead=(DEAD, DEAD), end=i == 2)])
    part.close()
    assert len((out / "fused.jsonl").read_bytes().splitlines()) == 9
    assert account(out)["dead_lines_lost"] == 6
    assert capsys.readouterr().err.count("dead letters are being lost") == 1


class BrokenState:
    version = 0

    def update(self, packets):
        raise KeyError("gauge")


class BrokenExporter(Server):
    def __init__(self):
        super().__init__(ExporterConfig(), BrokenState(), str)

    def start(self, rig=None):
        pass


class Recorder:
    """A consumer that notes each call."""

    missed = 0

    def __init__(self, name: str, calls: list[str], fails: bool = False) -> None:
        self.name, self.calls, self.fails = name, calls, fails

    def start(self, rig=None):
        self.calls.append(f"{self.name} start {rig}")
        if self.fails:
            raise OSError("no port")

    def consume(self, packets):
        self.calls.append(f"{self.name} {len(packets)}")

    def abort(self):
        self.calls.append(f"{self.name} abort")

    def stop(self):
        self.calls.append(f"{self.name} stop")


def test_consumers_start_in_order_and_take_packets_in_reverse(out):
    calls: list[str] = []
    part = begin(out, consumers=(Recorder("page", calls), Recorder("send", calls)))
    part.write_batch([packet(0), packet(3)])
    part.abort()
    part.close()
    assert calls == [
        "page start r", "send start r", "send 2", "page 2", "page abort", "send abort",
        "send stop", "page stop",
    ]  # fmt: skip


def test_a_consumer_that_cannot_start_releases_the_folder(out):
    with pytest.raises(OSError, match="no port"):
        begin(out, consumers=(Recorder("page", [], fails=True),))
    Folder(out).check()


def test_a_failing_exporter_is_counted_and_ends_no_run(out, capsys):
    part = begin(out, consumers=[BrokenExporter()])
    for i in range(3):
        part.write_batch([packet(3 * i, end=i == 2)])
    part.close()
    assert len((out / "fused.jsonl").read_bytes().splitlines()) == 9
    assert account(out)["batches_not_shown"] == 3
    assert capsys.readouterr().err.count("the page is not kept up: KeyError: 'gauge'") == 1


def test_an_old_segment_that_cannot_be_removed_stays_and_ends_no_run(out, capsys, monkeypatch):
    sink = Output(config(out, rotate_mb=0.001, keep=1), ("r",), None, "f", True)
    part = sink.build_part("out", "out", None)
    real = Path.unlink

    def unlink(path, missing_ok=False):
        if path.name.startswith("fused"):
            raise PermissionError(13, "Permission denied", str(path))
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    for i in range(9):
        part.write_batch([packet(3 * i, end=i == 8)])
        part.snapshot()
    part.close()
    assert len(segments_of(out, "fused")) > 3
    assert capsys.readouterr().err.count("old segments stay: ") == 1
