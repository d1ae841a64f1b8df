"""Runs with a history: complete at the end, exact through kills, never an end of the run."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from configs.load import load
from configs.outputs import StoreConfig
from flows.run import execute
from operators.errors import LumenError
from ops.bench.history_kills import differences, follower_kills, one_run
from ops.bench.kill_points import configuration
from ops.cli.verify import digests, write_config
from ops.results.folder import run_json
from sinks.files.progress import LATER, taken_of
from tests.support.waiting import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration of a small recording of two rigs, with a store."""
    config = configuration(tmp_path, rotate_mb=0.02)
    store = StoreConfig(dsn=f"sqlite:{tmp_path}/history/h.sqlite")
    return write_config(config, tmp_path / "run.yaml", tmp_path / "out", store)


def store_of(path: Path) -> Path:
    return path.parent / "history" / "h.sqlite"


def test_a_run_leaves_a_complete_store_and_the_same_bytes(path: Path, tmp_path: Path) -> None:
    out = execute(path, progress=False)
    assert differences(out, store_of(path)) == []
    plain = write_config(load(path).config, tmp_path / "plain.yaml", tmp_path / "plain")
    same = execute(plain, progress=False)
    assert digests(same) == digests(out)
    taken = taken_of(out)
    assert taken is not None
    assert (taken.up, taken.lost, taken.run) == (True, 0, run_json(out)["run_id"])


def test_the_history_is_no_part_of_the_fingerprint(path: Path, tmp_path: Path) -> None:
    write_config(load(path).config, tmp_path / "without.yaml", tmp_path / "out")
    assert load(tmp_path / "without.yaml").config.store is None
    assert load(tmp_path / "without.yaml").fingerprint == load(path).fingerprint


def test_each_run_in_a_folder_is_kept_and_none_twice(path: Path) -> None:
    for count in (1, 2):
        out = execute(path, progress=False)
        assert differences(out, store_of(path)) == []
        with sqlite3.connect(store_of(path)) as base:
            (runs,) = base.execute("SELECT count(*) FROM run").fetchone()
        base.close()
        assert runs == count
    assert not (out / LATER).exists()


def test_with_recovery_the_store_is_complete_too(path: Path, tmp_path: Path) -> None:
    out = execute(path, tmp_path / "recovery", 0.05, progress=False)
    assert differences(out, store_of(path)) == []


@pytest.mark.parametrize("point", ["snapshot 3", "torn 12", "end 1"])
def test_a_killed_run_and_killed_followers_lose_nothing(tmp_path: Path, point: str) -> None:
    config = configuration(tmp_path, rotate_mb=0.02)
    (tmp_path / "try").mkdir()
    died, _, wrong = one_run(config, tmp_path / "try", point, random.Random(point))
    assert died == 2
    assert wrong == []


def test_a_follower_killed_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ops.bench import history_kills as h;"
        " h._TICKS = 4_000; killed, _, wrong = h.follower_kills(Path(sys.argv[1]), 25, 3);"
        " sys.exit(0 if killed >= 25 and not wrong else f'{killed} {wrong}')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert callable(follower_kills)


def test_a_locked_store_ends_no_run_and_the_next_run_takes_the_rest_in(
    path: Path, tmp_path: Path
) -> None:
    execute(path, progress=False)
    base = sqlite3.connect(store_of(path), isolation_level=None)
    base.execute("BEGIN EXCLUSIVE")
    out = execute_impatiently(path)
    second = run_json(out)["run_id"]
    base.execute("ROLLBACK")
    base.close()
    execute(path, progress=False)
    assert not (out / LATER).exists()
    with sqlite3.connect(store_of(path)) as base:
        rows = base.execute(
            "SELECT count(*) FROM tick WHERE run = (SELECT id FROM name WHERE text = ?)", [second]
        ).fetchone()
    base.close()
    ticks = sum(len(file.read_bytes().splitlines()) for file in out.rglob("fused*.jsonl"))
    assert rows == (ticks,)


def execute_impatiently(path: Path) -> Path:
    """Run with a follower that does not wait for a database that is away."""
    code = (
        "import sys; from pathlib import Path; from sinks.files import result_following as f;"
        " start = f.ChildProcess;"
        " f.ChildProcess = lambda module, *a, **k: start('tests.flow.impatient', *a, **k);"
        " from flows.run import execute; execute(Path(sys.argv[1]), progress=False)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"locked" in done.stderr
    return Path(load(path).config.output.dir)


def test_a_store_that_is_none_is_refused_before_the_start(path: Path) -> None:
    text = "some text\n" * 100
    store_of(path).parent.mkdir()
    store_of(path).write_text(text)
    with pytest.raises(LumenError, match="damaged") as caught:
        execute(path, progress=False)
    assert caught.value.exit_code == 2
    assert store_of(path).read_text() == text


@pytest.mark.parametrize("pragma", ["", "PRAGMA journal_mode = WAL"])
def test_a_store_whose_maker_was_killed_is_made(path: Path, pragma: str) -> None:
    store_of(path).parent.mkdir()
    store_of(path).touch()
    with sqlite3.connect(store_of(path)) as base:
        base.execute(pragma)
    base.close()
    assert differences(execute(path, progress=False), store_of(path)) == []


def test_the_command_follows_until_it_is_asked_to_end(path: Path, tmp_path: Path) -> None:
    out = execute(path, progress=False)
    store_of(path).unlink()
    process = subprocess.Popen([sys.executable, "-m", "ops", "store", "follow", str(path)])
    until(lambda: (t := taken_of(out)) is not None and t.pid == process.pid and t.up)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert differences(out, store_of(path)) == []
    done = subprocess.run(
        [sys.executable, "-m", "ops", "store", "rebuild", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert differences(out, store_of(path)) == []
    assert "tick" in done.stdout


def test_the_parts_of_an_output_have_one_store(path: Path, tmp_path: Path) -> None:
    config = load(path).config
    parts = msgspec.structs.replace(config.output, parts=2)
    config = msgspec.structs.replace(config, output=parts)
    both = write_config(config, tmp_path / "parts.yaml", tmp_path / "out", config.store)
    out = execute(both, progress=False)
    wrong = [text for part in sorted(out.iterdir()) for text in differences(part, store_of(path))]
    assert wrong == []
    with sqlite3.connect(store_of(path)) as base:
        rigs = base.execute("SELECT count(DISTINCT rig) FROM tick").fetchone()
    base.close()
    assert rigs == (2,)


def test_a_configuration_without_a_store_has_nothing_to_follow(tmp_path: Path) -> None:
    configuration(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "ops", "store", "follow", str(tmp_path / "both.yaml")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "'store' is missing" in done.stderr
