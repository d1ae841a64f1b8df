"""`lumen drill`: each part in a scratch folder; the run and its files are not touched."""

import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from configs.load import load
from ops.bench.kill_points import configuration
from ops.bench.osc_fuzz import message
from ops.cli.verify import run, write_config
from ops.engine_runs import command
from ops.fakes.ports import free_port
from ops.snapshots import drill as module
from ops.snapshots.drill import copy_for_drill, rehearse_flow
from ops.snapshots.faults import SnapshotFailedError
from ops.snapshots.rehearsal import NO_DEVICE, NOWHERE, stand_in
from ops.snapshots.snapshot_folder import digest_of
from sinks.snapshots.drills import drills, record
from tests.support.json_lines import json_lines
from tests.support.snapshot_scene import SnapshotScene, ticks
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]
LIVE = """version: 2
streams:
  - {{name: osc_1, type: osc, addr: "127.0.0.1:{port}"}}
  - {{name: pad, type: midi, device: "nobody's pad"}}
  - {{name: ure, type: ure, metrics_url: "http://127.0.0.1:{page}/metrics"}}
signals: {{pulse: {{members: {{"osc_1:/v": {{lag_s: 0.0}}, "ure:pulse": {{lag_s: 0.0}}}}}}}}
resample: {{target_hz: 20}}
exporter: {{http_port: {http}}}
output: {{dir: {folder}/out}}
tap: {{dir: {folder}/tap}}
send: [{{name: sound, type: osc, to: "127.0.0.1:{to}", map: {{/p: pulse}}}}]
"""


@pytest.fixture
def scene(tmp_path):
    scene = SnapshotScene(tmp_path)
    scene.add(0, 100)
    return scene


def test_a_drill_leaves_the_store_and_a_line_with_the_time_of_each_part(scene, capsys):
    name = scene.taken()
    scene.add(100, 120)
    before = digest_of(scene.store)
    assert scene.lumen("drill") == 0
    out = capsys.readouterr().out
    assert "restore" in out
    assert "no flow was resumed" in out
    assert (digest_of(scene.store), ticks(scene.store)) == (before, 120)
    line = json_lines(scene.snapshots.root / "audit.jsonl")[-1]
    assert (line["command"], line["name"], line["result"]) == ("drill", name, "ok")
    assert list(line["parts"]) == ["restore", "open", "questions"]
    assert sum(line["parts"].values()) <= line["seconds"] + 0.01
    assert record(drills(scene.snapshots.root)).results == {"ok": 1}
    assert not (scene.snapshots.root / ".drill").exists()


def test_a_second_drill_waits_an_hour(scene, capsys, monkeypatch):
    scene.taken()
    assert scene.lumen("drill") == 0
    assert scene.lumen("drill") == 2
    assert "the last drill ended 0 min ago" in capsys.readouterr().err
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 3700)
    assert scene.lumen("drill", "--every-h", 24) == 2
    assert scene.lumen("drill") == 0
    monkeypatch.setattr(module.time, "time", lambda: now - 7 * 86_400)  # the clock is set back
    assert scene.lumen("drill") == 0
    assert [drill.result for drill in drills(scene.snapshots.root)] == ["ok"] * 3
    assert scene.lumen("drill", "--every-h", 0.5) == 2


def test_one_drill_at_a_time(scene, capsys):
    scene.taken()
    with scene.snapshots.hold(module.LOCK):
        assert scene.lumen("drill") == 2
        assert "process " in capsys.readouterr().err
        assert scene.lumen("snapshot") == 0
    assert drills(scene.snapshots.root) == []


def test_a_damaged_snapshot_fails_the_drill(scene, capsys):
    path = scene.snapshots.root / scene.taken()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert scene.lumen("drill") == 1
    assert "damaged: its SHA-256" in capsys.readouterr().err
    (found,) = drills(scene.snapshots.root)
    assert found.result == "failed"
    assert record([found]).last_s is None


def test_without_a_snapshot_or_a_configuration_it_is_refused(scene, tmp_path, monkeypatch):
    monkeypatch.delenv("LUMEN_CONFIG", raising=False)
    assert scene.lumen("drill") == 2
    scene.taken()
    assert scene.lumen("drill", "--recovery", tmp_path) == 2
    assert drills(scene.snapshots.root) == []


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Return the configuration, folder and recovery store of a replay that was killed."""
    folder = tmp_path_factory.mktemp("killed")
    config = configuration(folder)
    path = write_config(config, folder / "run.yaml", folder / "out")
    argv = command(path, folder / "state", "tests.flow.killed")
    assert run(argv, (-9,), LUMEN_KILL="write 12") == -9
    return path, folder


def contents(folder):
    """Return the hashes of files; SQLite notes its readers in a `-shm` file."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.match("*-shm")]
    return {str(p): digest_of(p) for p in files}


def test_a_flow_resumes_on_a_copy_and_ends_after_a_tick(killed, scene):
    path, folder = killed
    before = contents(folder / "out") | contents(folder / "state")
    scene.taken()
    assert scene.lumen("drill", path, "--recovery", folder / "state") == 0
    assert contents(folder / "out") | contents(folder / "state") == before
    line = json_lines(scene.snapshots.root / "audit.jsonl")[-1]
    assert list(line["parts"]) == ["restore", "open", "questions", "flow"]
    assert not (scene.snapshots.root / ".drill").exists()


def test_the_tick_is_one_that_the_run_had_not_released(killed, tmp_path, monkeypatch):
    path, folder = killed
    kept = []
    ticked = module.has_ticked

    def seen(out):
        found = ticked(out)
        if found:
            kept.append({p.relative_to(out): p.read_bytes() for p in out.rglob("fused.jsonl")})
        return found

    monkeypatch.setattr(module, "has_ticked", seen)
    rehearse_flow(path, folder / "state", tmp_path)
    new = {name: data.lstrip(b"\0") for name, data in kept[-1].items()}
    assert any(new.values())
    for name, data in new.items():
        written = (folder / "out" / name).read_bytes()
        assert kept[-1][name][: -len(data) or None].strip(b"\0") == b""
        assert len(kept[-1][name]) > len(data) > 0 or not data or not written


def test_a_flow_that_is_refused_fails_with_its_line(killed, tmp_path):
    _, folder = killed
    config = load(folder / "both.yaml").config
    other = write_config(config, tmp_path / "other.yaml", tmp_path / "elsewhere")
    with pytest.raises(SnapshotFailedError, match=r"ended by 2: .* of another configuration"):
        rehearse_flow(other, folder / "state", tmp_path)


def test_a_flow_without_a_tick_fails(killed, tmp_path, monkeypatch):
    path, folder = killed
    monkeypatch.setattr(module, "has_ticked", lambda out: False)
    with pytest.raises(SnapshotFailedError, match=r"no tick within 0 s|ended by"):
        rehearse_flow(path, folder / "state", tmp_path, tick_s=0.0)


def test_a_missing_recovery_store_fails(tmp_path):
    with pytest.raises(Exception, match="there is no recovery store"):
        copy_for_drill(tmp_path / "state", tmp_path / "copy")


@pytest.fixture
def live(tmp_path):
    """Return the path of a live configuration with every kind of stream and destination."""
    path = tmp_path / "live.yaml"
    ports = {name: free_port() for name in ("port", "page", "http", "to")}
    path.write_text(LIVE.format(folder=tmp_path, **ports))
    return path


def test_a_stand_in_has_no_port_device_page_or_receiver(live, tmp_path):
    config = stand_in(load(live).config, tmp_path / "copy")
    osc, pad, ure = config.streams
    assert (osc.addr, pad.device) == (NOWHERE, NO_DEVICE)
    assert ":9/" in ure.metrics_url
    assert (config.exporter, config.tap, config.send, config.store) == (None, None, [], None)
    assert config.output.dir == str(tmp_path / "copy")
    assert config.plan() == load(live).config.plan()


def test_a_live_run_goes_on_while_its_copy_ticks(live, tmp_path):
    state, port = tmp_path / "state", int(load(live).config.streams[0].addr.rpartition(":")[2])
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def ticks_after(count):
        sender.sendto(message("/v", "f", struct.pack(">f", time.time() % 1)), ("127.0.0.1", port))
        return len(json_lines(fused)) > count

    live_run = subprocess.Popen(
        [sys.executable, "-m", "ops", "run", live, "--recover", state, "--snapshot-s", "0.2"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        fused = tmp_path / "out" / "fused.jsonl"
        until(lambda: ticks_after(40), process=live_run, every_s=0.02)
        (tmp_path / "drill").mkdir()
        rehearse_flow(live, state, tmp_path / "drill")
        reached = len(json_lines(fused))
        until(lambda: ticks_after(reached), process=live_run, every_s=0.02)
    finally:
        sender.close()
        live_run.send_signal(signal.SIGTERM)
        code = live_run.wait(60)
    assert code == 0
    assert not (tmp_path / "drill" / "out" / "tap").exists()
    assert list((tmp_path / "tap").iterdir())
