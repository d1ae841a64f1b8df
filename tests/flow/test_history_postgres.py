"""Runs with a history in PostgreSQL: complete, exact through crashes, without its password."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from configs.load import load
from configs.outputs import StoreConfig
from flows.run import execute
from operators.errors import LumenError
from ops.bench.history_kills import differences
from ops.bench.kill_points import configuration
from ops.cli.verify import digests, write_config
from ops.fakes.postgres_server import ESCAPED, PASSWORD, PostgresServer
from ops.results.folder import run_json
from sinks.history.back_end import AwayError
from sinks.history.follower import Follower, FollowSettings
from sinks.history.migration import migrate
from sinks.history.open_store import opened
from tests.support.history_run import HistoryRun

ROOT = Path(__file__).parents[2]
IMPATIENT = """
import sys
from pathlib import Path
from sinks.files import result_following as following
start = following.ChildProcess
following.ChildProcess = lambda module, *a, **k: start("tests.flow.impatient", *a, **k)
from flows.run import execute
execute(Path(sys.argv[1]), progress=False)
"""


@pytest.fixture
def dsn(postgres: PostgresServer) -> Iterator[str]:
    yield postgres.new_database()
    with suppress(AssertionError):
        postgres.stop("immediate")
        postgres.start()


@pytest.fixture
def path(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of a small recording of two rigs; its password is in the environment."""
    monkeypatch.setenv("LUMEN_STORE_DSN", dsn)
    config = configuration(tmp_path, rotate_mb=0.02)
    store = StoreConfig(dsn="postgresql://placeholder")
    written = write_config(config, tmp_path / "run.yaml", tmp_path / "out", store)
    text = written.read_text()
    assert text.count("postgresql://placeholder") == 1
    written.write_text(text.replace("postgresql://placeholder", "${LUMEN_STORE_DSN}"))
    return written


def _copy(dsn: str, to: Path) -> Path:
    """Copy the store to SQLite, whose rows are compared with the files."""
    with closing(opened(dsn)) as old, closing(opened(f"sqlite:{to}", unfinished=True)) as new:
        migrate(old, new)
    return to


def _run(path: Path, code: str = IMPATIENT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip


def test_a_run_leaves_a_complete_store_and_its_password_nowhere(
    path: Path, dsn: str, tmp_path: Path
) -> None:
    done = _run(path, IMPATIENT.replace("tests.flow.impatient", "sinks.history.follow_process"))
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    assert differences(out, _copy(dsn, tmp_path / "copy.sqlite")) == []
    written = b"".join(p.read_bytes() for p in out.rglob("*") if p.is_file())
    shown = written + (done.stdout + done.stderr).encode()
    assert not any(secret.encode() in shown for secret in (PASSWORD, ESCAPED))
    plain = write_config(load(path).config, tmp_path / "plain.yaml", tmp_path / "plain")
    same = execute(plain, progress=False)
    assert digests(same) == digests(out)


def test_a_server_that_is_away_ends_no_run_and_the_next_takes_the_rest_in(
    path: Path, dsn: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    execute(path, progress=False)
    postgres.stop("immediate")
    done = _run(path)
    postgres.start()
    assert done.returncode == 0, done.stderr
    assert "refused" in done.stderr
    assert not any(secret in done.stderr for secret in (PASSWORD, ESCAPED))
    second = run_json(tmp_path / "out")["run_id"]
    ticks = sum(len(f.read_bytes().splitlines()) for f in (tmp_path / "out").rglob("fused*.jsonl"))
    out = execute(path, progress=False)
    copy = _copy(dsn, tmp_path / "copy.sqlite")
    assert differences(out, copy) == []
    with closing(opened(f"sqlite:{copy}", read_only=True)) as store:
        counts = dict(store.rows("SELECT run, count(*) FROM ticks GROUP BY run", limit_s=60.0))
    assert len(counts) == 3
    assert counts[second] == ticks


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (ESCAPED, "wr0ng-one", "password authentication failed"),
        ("/history_", "/gone_", "does not exist"),
        ("postgresql://", "postgresql://x@", "expected sqlite:PATH or postgresql://USER"),
    ],
)
def test_a_wrong_address_is_refused_before_the_start(
    path: Path, dsn: str, old: str, new: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUMEN_STORE_DSN", dsn.replace(old, new))
    with pytest.raises(LumenError) as caught:
        execute(path, progress=False)
    (line,) = caught.value.lines()
    assert problem in line
    assert caught.value.exit_code == 2
    assert not any(secret in line for secret in (PASSWORD, ESCAPED, "wr0ng-one"))


def test_crashes_of_the_server_lose_and_double_no_line(
    dsn: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    run = HistoryRun(tmp_path / "out", limit=20_000)
    follower = Follower(FollowSettings(dsn, (str(run.root),)))
    away = 0
    for block in range(12):
        run.ticks(block * 200, (block + 1) * 200)
        if block % 3 == 1:
            postgres.stop("immediate")
        try:
            while follower.step():
                pass
        except AwayError as error:
            follower.failed(error)
            away += 1
        if block % 3 == 2:
            postgres.start()
    while follower.step():
        pass
    follower.close()
    assert away == 8
    with closing(opened(dsn, read_only=True)) as store:
        (row,) = store.rows(
            "SELECT count(*), count(DISTINCT ts), min(ts), max(ts) FROM tick", limit_s=60.0
        )
        assert row == (2_400, 2_400, 1000.0, 1000.0 + 0.5 * 2_399)
        assert list(
            store.rows("SELECT sum(ticks), sum(value_count) FROM minute", limit_s=60.0)
        ) == [(2_400, 2_400)]
        assert list(store.rows("SELECT lines FROM place", limit_s=60.0)) == [(2_400,)]


def test_a_crash_within_a_transaction_of_the_follower(
    dsn: str, tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = HistoryRun(tmp_path / "out")
    run.ticks(0, 500)
    follower = Follower(FollowSettings(dsn, (str(run.root),)))
    store = follower.open()
    write, calls = store.write, []

    def crashing(table, rows):  # type: ignore[no-untyped-def]
        calls.append(table.name)
        if len(calls) == 3:
            postgres.stop("immediate")
        write(table, rows)

    monkeypatch.setattr(store, "write", crashing)
    with pytest.raises(AwayError) as caught:
        follower.step()
    follower.failed(caught.value)
    postgres.start()
    while follower.step():
        pass
    follower.close()
    with closing(opened(dsn, read_only=True)) as reader:
        assert list(reader.rows("SELECT count(*) FROM signal", limit_s=60.0)) == [(500,)]
        assert list(reader.rows("SELECT sum(ticks) FROM minute", limit_s=60.0)) == [(500,)]
