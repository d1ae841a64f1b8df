"""A PostgreSQL server on 127.0.0.1, for tests and measurements of the history.

`make postgres` fetches one; an installed one is used otherwise. PostgreSQL does not run as root:
there, it runs as `nobody`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Literal

from ops.fakes.ports import free_port

FETCHED = Path(__file__).parents[2] / ".postgres" / "usr"
USER, PASSWORD = "lumen", "pa:ss/w@rd"
"""The password needs escapes in a DSN, so that a message with either form of it is found."""
ESCAPED = "pa%3Ass%2Fw%40rd"
_OTHER = "nobody"
_HUNG_S = 60.0
_STOPS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


def folder() -> Path | None:
    """Return the folder of the newest server's programs, None without one."""
    places = (FETCHED / "lib", Path("/usr/lib"))
    found = [p for place in places for p in place.glob("postgresql/*/bin/initdb")]
    return max(found, key=lambda p: (FETCHED in p.parents, int(p.parts[-3])), default=None)


def missing() -> str | None:
    """Return the reason why no server can run here; None if one can."""
    programs = folder()
    if programs is None:
        return "no PostgreSQL here: run `make postgres`"
    closed = [str(p) for p in programs.parents if not p.stat().st_mode & 0o001]
    if os.geteuid() == 0 and closed:
        return f"no PostgreSQL as root, and user {_OTHER} may not enter {closed[-1]}"
    return None


class PostgresServer:
    """A running server with files of its own.

    Parameters
    ----------
    place : Path
        An empty folder.
    """

    def __init__(self, place: Path) -> None:
        programs = folder()
        assert programs is not None
        self.programs, self.place, self.port = programs.parent, place, free_port()
        self._names = count(1)
        self._server: subprocess.Popen[bytes] | None = None
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            other = pwd.getpwnam(_OTHER)
            self._user = {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}
            os.chown(place, other.pw_uid, other.pw_gid)
        secret = place / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self.run("initdb", "-D", str(self._data), "-U", USER, "-A", "scram-sha-256",
                 f"--pwfile={secret}", "-E", "UTF8", "--locale=C", "--no-sync")  # fmt: skip
        self.start()

    @property
    def _data(self) -> Path:
        return self.place / "data"

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the programs."""
        libraries = FETCHED / "lib" / f"{os.uname().machine}-linux-gnu"
        own = {"LC_ALL": "C", "HOME": str(self.place), "LD_LIBRARY_PATH": str(libraries)}
        return os.environ | own | {"PGPASSWORD": PASSWORD}

    def run(self, name: str, *arguments: str) -> str:
        """Run a program of PostgreSQL; return its output."""
        command = [str(self.programs / name), *arguments]
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command, cwd=self.place, env=self.environ, capture_output=True, text=True,
            check=False, **self._user,
        )  # fmt: skip
        if done.returncode:
            raise AssertionError(f"{name} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        command = [str(self.programs / "postgres"), "-D", str(self._data), "-k", str(self.place),
                   "-h", "127.0.0.1", "-p", str(self.port), "-c", "fsync=off"]  # fmt: skip
        with (self.place / "log").open("ab") as log:
            self._server = subprocess.Popen(
                command, cwd=self.place, env=self.environ, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, **self._user,
            )  # fmt: skip
        end = time.monotonic() + _HUNG_S
        while self._state() != "ready":
            if self._server.poll() is not None or time.monotonic() > end:
                self.stop("immediate")
                raise AssertionError(f"PostgreSQL did not start: {self.log()}")
            time.sleep(0.02)

    def _state(self) -> str:
        """Return the last line of the server's own file of its state."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return ""
        alive = self._server is not None and lines[:1] == [str(self._server.pid)]
        return lines[7].strip() if alive and len(lines) > 7 else ""

    def stop(self, how: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server; `immediate` is a crash: it recovers at the next start."""
        if self._server is not None:
            self._server.send_signal(_STOPS[how])
            self._server.wait(_HUNG_S)
            self._server = None

    def log(self) -> str:
        """Return the server's log."""
        return (self.place / "log").read_text()

    def dsn(self, database: str = "postgres", user: str = f"{USER}:{ESCAPED}") -> str:
        """Return the address of a database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database; return its address."""
        name = f"history_{next(self._names)}"
        self.psql(f"CREATE DATABASE {name}")
        return self.dsn(name)

    def psql(self, sql: str, dsn: str | None = None) -> str:
        """Run SQL as plain `psql` does; return its rows, a line each."""
        options = ("-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1")
        return self.run("psql", *options, "-c", sql, dsn or self.dsn())


@contextmanager
def serving() -> Iterator[PostgresServer]:
    """Run a server within the context, and remove its files afterwards."""
    place = Path(tempfile.mkdtemp(prefix="lumen-pg-"))
    server: PostgresServer | None = None
    try:
        server = PostgresServer(place)
        yield server
    finally:
        if server is not None:
            server.stop("immediate")
        shutil.rmtree(place, ignore_errors=True)
