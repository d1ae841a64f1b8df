"""Archive of a history in PostgreSQL by `pg_dump -Fc`, its check, and its way back.

The rows are counted in the transaction whose snapshot `pg_dump` takes: counts and archive show one
moment. The check decodes the whole archive and counts its rows. A restore is one transaction: the
replaced tables stay in the schema `<schema>_before`. The password is passed in the environment,
and is in no argument of a process.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from configs.dsn import public_dsn
from configs.files import open_own
from ops.snapshots.faults import SnapshotError, SnapshotFailedError
from ops.snapshots.snapshot_folder import SnapshotFolder, remove
from sinks.history.open_store import opened
from sinks.history.tables import META, PROJECT, SCHEMA, TABLES
from sinks.snapshots.names import SnapshotName

FETCHED = Path(__file__).parents[2] / ".postgres" / "usr" / "lib"
PLACES = (FETCHED, Path("/usr/lib"))
BEFORE = "_before"
_COPY = re.compile(rb'COPY (?:"?\w+"?\.)?"?(\w+)"? \(.*\) FROM stdin;\n')
Counts = dict[str, int]


def program(name: str) -> str:
    """Return the path of a program of PostgreSQL: that of the newest version that is here.

    Raises
    ------
    SnapshotError
        It is not here.
    """
    found = [p for place in PLACES for p in place.glob(f"postgresql/*/bin/{name}")]
    newest = max(found, key=lambda p: int(re.sub(r"\D", "", p.parts[-3]) or 0), default=None)
    path = str(newest) if newest else shutil.which(name)
    if path is None:
        raise SnapshotError(f"{name} is not here: install the client programs of PostgreSQL")
    return path


class Session:
    """A connection beside the programs, and their environment.

    Parameters
    ----------
    dsn : str
    """

    def __init__(self, dsn: str) -> None:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict, make_conninfo

        self.shown = public_dsn(dsn)
        given: dict[str, Any] = dict(conninfo_to_dict(dsn))
        password = given.pop("password", None)
        self.address = make_conninfo("", **given)
        self.environ = dict(os.environ)
        if FETCHED.is_dir():
            libraries = [str(p) for p in FETCHED.glob("*-linux-gnu")]
            earlier = self.environ.get("LD_LIBRARY_PATH", "")
            self.environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [*libraries, earlier]))
        if password is not None:
            self.environ["PGPASSWORD"] = str(password)
        try:
            self.base = psycopg.connect(dsn, autocommit=True)
        except psycopg.Error:
            raise SnapshotFailedError(f"{self.shown}: the server does not answer") from None

    def one(self, sql: str) -> Any:
        """Return the first value of a query."""
        found = self.base.execute(sql.encode()).fetchone()
        return found[0] if found else None

    def run(self, name: str, *arguments: str, **more: Any) -> None:
        """Run a program of PostgreSQL.

        Raises
        ------
        SnapshotFailedError
            It ends with an error; the first line of it is named.
        """
        done = subprocess.run(
            [program(name), *arguments], env=self.environ, stderr=subprocess.PIPE, check=False,
            **more,
        )  # fmt: skip
        if done.returncode:
            text = done.stderr.decode("utf-8", "replace").strip().split("\n")[0]
            if password := self.environ.get("PGPASSWORD"):
                text = text.replace(password, "***")
            raise SnapshotFailedError(f"{self.shown}: {text}")


@contextmanager
def connected(dsn: str) -> Iterator[Session]:
    """Open a session beside the programs."""
    session = Session(dsn)
    with closing(session.base):
        yield session


def copy_of_postgres(dsn: str, draft: Path) -> str | None:
    """Write an archive of a store, and check it; return the problem of the archive.

    Raises
    ------
    HistoryError, AwayError
        The store is missing, foreign or newer; the server is away.
    SnapshotFailedError
        `pg_dump` failed.
    """
    opened(dsn, read_only=True).close()  # refuses a foreign one
    remove(draft)
    os.close(open_own(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    with connected(dsn) as session:
        session.base.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        moment = session.one("SELECT pg_export_snapshot()")
        schema = session.one("SELECT current_schema()")
        counts = {t.name: int(session.one(f"SELECT count(*) FROM {t.name}")) for t in TABLES}
        views = session.base.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'v'"
            " AND relnamespace = current_schema()::regnamespace"
        ).fetchall()
        names = [*counts, *(name for (name,) in views)]
        chosen = [f'--table="{schema}"."{name}"' for name in names]
        session.run(
            "pg_dump", "-Fc", "--no-owner", "--no-privileges", f"--snapshot={moment}", *chosen,
            f"--file={draft}", f"--dbname={session.address}",
        )  # fmt: skip
    found, meta = content_of(draft)
    if problem := problem_of_meta(meta):
        return problem
    return None if found == counts else "other numbers of rows than the store"


def content_of(archive: Path) -> tuple[Counts, dict[str, str]]:
    """Return the rows of each table of an archive, and its `meta`; all of it is decoded.

    Raises
    ------
    SnapshotFailedError
        It is damaged.
    """
    counts: Counts = {}
    meta: dict[str, str] = {}
    table: str | None = None
    environ = os.environ | _libraries()
    with subprocess.Popen(
        [program("pg_restore"), "--file=-", str(archive)], env=environ,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if table is None:
                if found := _COPY.fullmatch(line):
                    table = found[1].decode()
                    counts[table] = 0
            elif line == b"\\.\n":
                table = None
            else:
                counts[table] += 1
                if table == META.name:
                    key, _, value = line.decode("utf-8", "replace").rstrip("\n").partition("\t")
                    meta[key] = value
        error = process.stderr.read().decode("utf-8", "replace").strip()
    if process.returncode:
        raise SnapshotFailedError(f"{archive.name}: damaged: {error[:200]}")
    return counts, meta


def _libraries() -> dict[str, str]:
    found = [str(p) for p in FETCHED.glob("*-linux-gnu")]
    return {"LD_LIBRARY_PATH": os.pathsep.join(found)} if found else {}


def problem_of_meta(meta: dict[str, str]) -> str | None:
    """Return the problem of the `meta` of an archive: of another project, or newer."""
    schema = meta.get("schema", "")
    if meta.get("project") != PROJECT or not schema.isdecimal():
        return "of another project"
    if int(schema) > SCHEMA:
        return f"schema {int(schema)} is newer than {SCHEMA}; install that version"
    return None


def restore_postgres(folder: SnapshotFolder, name: SnapshotName, dsn: str) -> str:
    """Put an archive in the place of a store, in one transaction; return its hash.

    Raises
    ------
    HistoryError
        A follower holds the store.
    SnapshotError
        The snapshot is missing, damaged, foreign or newer.
    SnapshotFailedError
        The server refuses it; nothing has been changed.
    """
    expected = folder.check(name)
    archive = folder.path(name)
    counts, meta = content_of(archive)
    if problem := problem_of_meta(meta):
        raise SnapshotFailedError(f"{name}: {problem}")
    store = opened(dsn)
    try:
        store.hold()
        with connected(dsn) as session:
            _replace(session, archive, counts)
    finally:
        store.close()
    return expected


@contextmanager
def scratch_database(archive: Path, dsn: str) -> Iterator[str]:
    """Restore an archive into a database of its own on the same server; dropped after it.

    Yields
    ------
    str
        Its address.

    Raises
    ------
    SnapshotFailedError
        The user may not create a database, or the archive is damaged.
    """
    import psycopg

    parts = urlsplit(dsn)
    name = f"{parts.path.strip('/')[:40]}_lumen_drill"
    quoted = '"' + name.replace('"', '""') + '"'
    with connected(dsn) as session:
        try:
            session.base.execute(f"DROP DATABASE IF EXISTS {quoted}".encode())  # of a killed drill
            session.base.execute(f"CREATE DATABASE {quoted} TEMPLATE template0".encode())
        except psycopg.Error as error:
            text = error.diag.message_primary or "no database can be created"
            raise SnapshotFailedError(f"{session.shown}: {text}") from None
        try:
            address = urlunsplit(parts._replace(path=f"/{quote(name)}"))
            with connected(address) as scratch:
                scratch.run(
                    *("pg_restore", "--exit-on-error", "--no-owner", "--no-privileges"),
                    *(f"--dbname={scratch.address}", str(archive)),
                )
            yield address
        finally:
            with suppress(psycopg.Error):
                session.base.execute(f"DROP DATABASE IF EXISTS {quoted}".encode())


def _replace(session: Session, archive: Path, counts: Counts) -> None:
    """Move the tables aside and write those of the archive, in one transaction.

    The rows are counted in it: it is undone where the archive was cut on its way.
    """
    schema = str(session.one("SELECT current_schema()")).replace('"', '""')
    first = (
        f'SET client_min_messages = error; DROP SCHEMA IF EXISTS "{schema}{BEFORE}" CASCADE;'
        f' ALTER SCHEMA "{schema}" RENAME TO "{schema}{BEFORE}"; CREATE SCHEMA "{schema}";'
    )
    checks = " ".join(
        f'IF (SELECT count(*) FROM "{schema}"."{table}") <> {count} THEN'
        f" RAISE EXCEPTION 'other numbers of rows in {table}'; END IF;"
        for table, count in counts.items()
    )
    last = f"DO $check$ BEGIN {checks} END $check$"
    with subprocess.Popen(
        [program("pg_restore"), "--no-owner", "--no-privileges", "--file=-", str(archive)],
        env=session.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as script:  # fmt: skip
        try:
            session.run(
                *("psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1"),
                *("-c", first, "-f", "-", "-c", last, f"--dbname={session.address}"),
                stdin=script.stdout,
                stdout=subprocess.DEVNULL,
            )
        finally:
            with suppress(OSError):
                script.kill()
