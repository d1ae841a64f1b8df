"""Rules that hold for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from configs.one_thread import one_thread
from ops.fakes import postgres_server
from tests.support import skips

# As in the commands: numpy is loaded later, and a child process inherits it.
one_thread()

# The same examples in every run: a failure is there for everybody, and not only now and then.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test in a folder with a recording, an empty folder of rules and a tape."""
    (tmp_path / "demo.ndjson").touch()
    (tmp_path / "rules").mkdir()
    (tmp_path / "tape").mkdir()
    (tmp_path / "tape/tape.json").touch()
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_server.PostgresServer]:
    """Run a PostgreSQL server; a test that stops it starts it again."""
    if reason := postgres_server.missing():
        pytest.skip(reason)
    with postgres_server.serving() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def any_dsn(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of a history that does not exist yet, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'history.sqlite'}"
    address: str = request.getfixturevalue("postgres").new_database()
    return address


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line for each kind of skipped test; workers report to the controller."""
    reports = terminalreporter.stats.get("skipped", [])
    for line in skips.lines(report.longrepr[2] for report in reports):
        terminalreporter.write_line(line)
