"""A replay that several processes share: the same bytes a rig as in one process."""

import json
import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import numpy as np
import pytest
from bytewax.testing import cluster_main

import sources.replay.heads
from configs.document import ConfigError
from configs.load import load
from flows.failure import RunFailedError
from flows.fusion import build
from flows.run import execute
from flows.store import Store, StoreError
from operators.collect import Collect
from operators.engine import route
from ops.__main__ import main
from ops.engine_runs import cluster, command, make_store, written
from ops.results import open as results
from ops.results.folder import rig_folders, run_json
from ops.results.summary import summary
from sinks.files.folder import FolderError
from sinks.files.jsonl import segments_of
from sinks.output import OutputPartition, preflight
from sources.host.shutdown import Shutdown
from sources.replay.partitions import deal

RIGS = ("north", "east", "south", "west", "mid", "hall")
HUNG_S = 300


def rows(rig: str, seconds: float, begin: float = 0.0) -> list[str]:
    """Return the lines of two sources of a rig."""
    lines = []
    for source, hz, lag in (("ure", 20.0, 0.0), ("phone", 31.0, 0.25)):
        for t in np.arange(begin, begin + seconds, 1 / hz).tolist():
            value = np.sin(0.7 * (t - lag)) + np.sin(1.9 * (t - lag) + 1)
            event = {"ts": 1.7e9 + t, "rx": 1.7e9 + t + 0.004, "source": source, "key": "/pulse"}
            lines.append((t, json.dumps({**event, "value": float(value), "rig": rig})))
    return [line for _, line in sorted(lines)]


def recordings(folder, seconds=25.0, files=3):
    """Write the rigs into several recordings; the last one also has two undecodable lines."""
    paths = []
    for number in range(files):
        own = [rows(rig, seconds) for rig in RIGS[number::files]]
        lines = [line for lines in zip(*own, strict=True) for line in lines]
        paths.append(folder / f"{number}.ndjson")
        paths[-1].write_text("\n".join(lines) + "\n")
    with paths[-1].open("a") as file:
        file.write("{broken\n[]\n")
    return paths


def configured(folder, paths, name="two", parts=2, **output):
    """Write the configuration of a run over these recordings; return its path and folder."""
    out = folder / f"out-{name}"
    streams = [{"name": f"s{i}", "type": "file", "path": str(p)} for i, p in enumerate(paths)]
    members = {"ure:/pulse": {"group": "ure"}, "phone:/pulse": {}}
    config = {
        "version": 2,
        "streams": streams,
        "signals": {"pulse": {"members": members}},
        "output": {"dir": str(out), "parts": parts, **output},
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(config))
    return path, out


def digests(out):
    """Return the hash of each file by rig and name."""
    found = {}
    for folder in rig_folders(out):
        for stem in ("fused", "sync", "dead", "markers"):
            data = b"".join(path.read_bytes() for _, path in segments_of(folder, stem))
            if data:
                found[folder.name, stem] = sha256(data).hexdigest()
    return found


def in_processes(path, count, store=None):
    """Run a configuration in so many processes; return their exit codes and standard errors."""
    argv = command(path, store)
    return started(cluster(argv, count) if count > 1 else [argv])


def started(commands):
    """Run commands beside one another; return their exit codes and standard errors."""

    def run(argv):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=HUNG_S)
        return done.returncode, done.stderr

    with ThreadPoolExecutor(len(commands)) as pool:
        return list(pool.map(run, commands))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The recordings, and the digests of a run with two parts in one process."""
    folder = tmp_path_factory.mktemp("shared")
    paths = recordings(folder)
    path, out = configured(folder, paths, "alone")
    assert [code for code, _ in in_processes(path, 1)] == [0]
    return paths, digests(out)


@pytest.mark.parametrize(("processes", "workers"), [(1, 2), (2, 1), (3, 1)])
def test_processes_and_workers_give_the_bytes_of_one(tmp_path, shared, processes, workers):
    paths, expected = shared
    path, out = configured(tmp_path, paths)
    argv = command(path) + ["-w", str(workers)] * (workers > 1)
    commands = cluster(argv, processes) if processes > 1 else [argv]
    assert [code for code, _ in started(commands)] == [0] * processes
    assert {rig for rig, stem in expected if stem == "fused"} == set(RIGS)
    assert digests(out) == expected


def test_one_part_differs_in_the_rig_of_undecodable_lines_alone(tmp_path, shared):
    paths, expected = shared
    path, out = configured(tmp_path, paths, parts=1)
    in_processes(path, 1)
    found = digests(out)
    dead = {(rig, stem) for rig, stem in found.keys() | expected.keys() if stem == "dead"}
    assert dead == {("studio", "dead"), ("south", "dead")}
    both = {key: value for key, value in expected.items() if key not in dead}
    assert both == {k: v for k, v in found.items() if k not in dead and k[0] != "studio"}


def test_each_part_has_an_account_and_the_command_adds_them_up(tmp_path, shared, capsys):
    paths, _ = shared
    path, out = configured(tmp_path, paths)
    in_processes(path, 2)
    parts = [run_json(out / f"part-{number}") for number in range(2)]
    assert [part["part"] for part in parts] == [{"number": n, "of": 2} for n in range(2)]
    whole = run_json(out)
    lines = sum(path.read_text().count("\n") for path in paths)
    assert whole["account"]["total"]["received"] == lines
    assert whole["account"]["total"]["rejected"] >= 2
    assert whole["ended"]
    assert whole["balanced"]
    assert whole["rigs"] == sorted(RIGS)
    assert main(["account", str(out)]) == 0
    assert "2 of 2 parts, 6 rigs" in capsys.readouterr().out
    assert sorted(results(out).rigs) == sorted(RIGS)
    listed = "\n".join(summary(out))
    for rig in RIGS:
        assert f"Rig {rig}\n" in listed
        assert f"/{rig}/fused.jsonl" in listed
    assert main(["report", str(out)]) == 0
    assert set(RIGS) <= set(
        re.findall(r"\w+", (tmp_path / "out-two.report/report.html").read_text())
    )
    (out / "part-1" / "run.json").unlink()
    assert main(["account", str(out)]) == 1
    assert main(["account", str(tmp_path)]) == 2


def test_a_rig_is_written_by_the_worker_of_its_stations(tmp_path, shared, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths, _ = shared
    path, _ = configured(tmp_path, paths)
    dataflow = build(load(path), Shutdown(), progress=False)
    workers, parts = {}, {}
    update, write = Collect.update, OutputPartition.write_batch

    def collects(self, batch):
        workers.setdefault(batch.rig, set()).add(threading.get_ident())
        return update(self, batch)

    def writes(self, values):
        for packet in values:
            parts.setdefault(packet.rig, set()).add(threading.get_ident())
        write(self, values)

    monkeypatch.setattr(Collect, "update", collects)
    monkeypatch.setattr(OutputPartition, "write_batch", writes)
    cluster_main(dataflow, [], 0, worker_count_per_proc=2)
    assert workers == parts
    # Rigs of one number are in one worker.
    assert {route(rig) % 2 for rig in RIGS} == {0, 1}
    assert len({(route(rig) % 2, *threads) for rig, threads in workers.items()}) == 2


def test_a_killed_cluster_resumes_to_the_same_bytes(tmp_path, shared):
    paths, expected = shared
    path, out = configured(tmp_path, paths)
    store = make_store(tmp_path / "store")
    size = 0
    for _ in range(3):
        children = [
            subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for argv in cluster(command(path, store), 2)
        ]
        size += 40_000
        try:
            while all(child.poll() is None for child in children) and written(out) < size:
                time.sleep(0.002)
        finally:
            for child in children:
                child.kill()
                child.wait()
    for _ in range(2):  # the second finds a finished run, and writes nothing
        assert [code for code, _ in in_processes(path, 2, store)] == [0, 0]
        assert digests(out) == expected
    assert run_json(out)["balanced"]


def test_a_store_is_refused_with_another_number_of_parts(tmp_path, shared):
    paths, _ = shared
    path, _ = configured(tmp_path, paths)
    store = make_store(tmp_path / "store")
    assert [code for code, _ in in_processes(path, 1, store)] == [0]
    configured(tmp_path, paths, parts=3)
    [(code, message)] = in_processes(path, 1, store)
    assert code == 2
    assert "another configuration" in message


def test_recordings_that_share_a_rig_are_read_by_one_partition(tmp_path, capsys):
    paths = recordings(tmp_path, seconds=3.0)
    with paths[1].open("a") as file:
        file.write(rows("north", 3.0)[0] + "\n")
    path, _ = configured(tmp_path, paths)
    dealt, reason = deal(load(path).config)
    assert [partition.name for partition in dealt] == ["replay"]
    assert reason == f"rig 'north' is in {paths[0]} and in {paths[1]}"
    execute(path, progress=False)
    assert f"lumen: one process reads all recordings: {reason}" in capsys.readouterr().err


def test_a_rig_that_appears_in_two_partitions_later_ends_the_run(tmp_path, monkeypatch):
    paths = recordings(tmp_path, seconds=3.0)
    for path in paths[:2]:
        with path.open("a") as file:
            file.write("\n".join(rows("late", 1.0, begin=3.0)) + "\n")
    monkeypatch.setattr(sources.replay.heads, "_LOOK_AHEAD", 2_000)
    path, _ = configured(tmp_path, paths)
    with pytest.raises(RunFailedError, match="rig 'late' is in recordings of two") as it:
        execute(path, progress=False)
    assert it.value.exit_code == 2
    assert "set output.parts to 1" in str(it.value)


@pytest.mark.parametrize("before", [1, 3])
def test_a_folder_of_another_number_of_parts_is_refused(tmp_path, before):
    paths = recordings(tmp_path, seconds=3.0)
    path, out = configured(tmp_path, paths, parts=before)
    execute(path, progress=False)
    path, _ = configured(tmp_path, paths, parts=2)
    with pytest.raises(FolderError, match=rf"{out}.*output.parts 2 wrote this"):
        preflight(load(path).config)
    path, _ = configured(tmp_path, paths, parts=before)
    execute(path, progress=False)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"mode": "hindsight"}, "output.parts 2 with mode 'hindsight'"),
        ({"speed": 3}, "output.parts 2 with a stream that is live, followed or has a speed"),
        ({"follow": True}, "output.parts 2 with a stream that is live, followed or has a speed"),
        ({"parts": 0}, "parts"),
        ({"parts": 65}, "parts"),
    ],
)
def test_several_parts_need_recordings_at_full_speed(tmp_path, changes, fault):
    path, _ = configured(tmp_path, recordings(tmp_path, seconds=1.0))
    config = json.loads(path.read_text())
    for key, value in changes.items():
        place = {"mode": config, "parts": config["output"]}.get(key, config["streams"][0])
        place[key] = value
    path.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=fault):
        load(path)


def test_the_processes_of_a_cluster_share_a_store_that_others_may_not_use(tmp_path):
    folder = tmp_path / "store"
    first = Store(folder, "a:1;a:2", parts=2)
    assert len(list(folder.glob("part-*.sqlite3"))) == 2
    second = Store(folder, "a:1;a:2", parts=2)
    for others in ("", "b:1;b:2"):
        with pytest.raises(StoreError, match="uses it"):
            Store(folder, others)
    first.release()
    with pytest.raises(StoreError, match="uses it"):
        Store(folder)
    second.release()
    alone = Store(folder)
    with pytest.raises(StoreError, match="uses it"):
        Store(folder, "a:1;a:2")
    alone.release()
