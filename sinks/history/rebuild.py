"""Makes a SQLite store anew from the result files, and keeps the former one beside it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from sinks.history.back_end import HistoryError
from sinks.history.follower import Follower, FollowSettings
from sinks.history.sqlite_store import LOG_ENDINGS, held

MAKING = ".making"
BEFORE = ".before"


def rebuild(settings: FollowSettings) -> dict[str, int]:
    """Make the store anew from the files of the output folders, as far as they are kept.

    The store is made aside and renamed last: a kill leaves the former one, or both.

    Returns
    -------
    dict
        Rows by table.

    Raises
    ------
    HistoryError
        A follower holds the store, or it is no SQLite file.
    AwayError
        The disk fails.
    """
    if not settings.dsn.startswith("sqlite:"):
        raise HistoryError("a store is made anew in an empty database: name one in store.dsn")
    path = Path(settings.dsn.removeprefix("sqlite:"))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = held(path)
    try:
        making = path.with_name(path.name + MAKING)
        for ending in ("", ".lock", *LOG_ENDINGS):
            making.with_name(making.name + ending).unlink(missing_ok=True)
        follower = Follower(replace(settings, dsn=f"sqlite:{making}"), forgets=False)
        try:
            while follower.step():
                pass
            rows = dict(follower.rows)
        finally:
            follower.close()
        for ending in (*LOG_ENDINGS, ""):
            with suppress(FileNotFoundError):
                old = path.with_name(path.name + ending)
                old.replace(path.with_name(f"{path.name}{BEFORE}{ending}"))
        making.replace(path)
        making.with_name(making.name + ".lock").unlink(missing_ok=True)
    finally:
        os.close(lock)
    return rows
