"""Actions of `lumen store` on any store: make it, copy it, export it, ask it."""

from __future__ import annotations

import argparse
import os
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Any, get_args

import msgspec

from configs.dsn import public_dsn
from configs.inert import inert
from configs.load import load
from operators.errors import ToolError
from ops.store.export import Form, export
from ops.store.moment import moment, shown
from ops.text.table import table
from sinks.history.migration import migrate
from sinks.history.open_store import opened
from sinks.history.questions import Question, ask, questions

ACTIONS = {
    "init": "make the tables of an empty store, or bring them to this version",
    "migrate": "copy a store to an empty one of either kind; a copy that was ended goes on",
    "export": "write a file for each view, rig and day",
    "ask": "answer a shipped question; without NAME, list them",
}
DEFAULT = "sqlite:history/history.sqlite"
_STORE = "a DSN, or a configuration with `store`; default: $LUMEN_STORE_DSN, else " + DEFAULT
_TEXTS = ("rig", "other_rig", "version")
_TIMES = {"from": "since", "to": "until"}


class StoreCallError(ToolError):
    """Arguments of `lumen store` that do not fit."""


def add_arguments(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the actions and their arguments."""
    made = {
        name: actions.add_parser(name, help=text, description=text)
        for name, text in ACTIONS.items()
    }
    for action in made.values():
        action.add_argument("--store", metavar="STORE", help=_STORE)
    made["migrate"].add_argument(
        "--to", metavar="STORE", help="the empty store; default: $LUMEN_STORE_DSN"
    )
    made["export"].add_argument("folder", type=Path, metavar="FOLDER", help="is made if missing")
    made["export"].add_argument("--format", choices=get_args(Form), default="parquet")
    made["ask"].add_argument("name", nargs="?", metavar="NAME", help="name of the question")
    made["ask"].add_argument("--json", action="store_true", help="print a JSON object a row")
    for name in ("export", "ask"):
        for option, dest in _TIMES.items():
            made[name].add_argument(
                f"--{option}", dest=dest, type=moment, metavar="T", help="UTC: 2026-11-21T12:00"
            )
    for name in _TEXTS:
        made["ask"].add_argument(f"--{name.replace('_', '-')}", metavar=name.upper())


def main(args: argparse.Namespace) -> int:
    """Run one action."""
    if args.action == "migrate":
        return _migrate(args)
    if args.action == "init":
        dsn = dsn_of(args.store)
        opened(dsn).close()
        print(f"{inert(public_dsn(dsn))} is ready")
        return 0
    if args.since is not None and args.until is not None and args.since > args.until:
        raise StoreCallError(f"--from {shown(args.since)} is after --to {shown(args.until)}")
    return _export(args) if args.action == "export" else _ask(args)


def dsn_of(given: str | None) -> str:
    """Return the DSN of an argument: itself, that of a configuration, or the default.

    Raises
    ------
    StoreCallError
        The configuration has no store.
    ConfigError
        It is not valid.
    """
    if given is None:
        return os.environ.get("LUMEN_STORE_DSN") or DEFAULT
    if given.startswith(("sqlite:", "postgres:", "postgresql:")):
        return given
    store = load(given).config.store
    if store is None:
        raise StoreCallError(f"{inert(given)}: 'store' is missing")
    return store.dsn


def _migrate(args: argparse.Namespace) -> int:
    if args.to is None and not os.environ.get("LUMEN_STORE_DSN"):
        raise StoreCallError("the target is missing: give --to, or set $LUMEN_STORE_DSN")
    source = dsn_of(args.store) if args.store else DEFAULT
    target = dsn_of(args.to)
    opened(source, read_only=True).close()  # no store is made where there is none
    with closing(opened(source)) as old, closing(opened(target, unfinished=True)) as new:
        counts = migrate(old, new, lambda name, rows: print(f"{name:10}{rows:>12,}", flush=True))
    print(f"{sum(counts.values()):,} rows, counts equal: {inert(public_dsn(target))}")
    return 0


def _export(args: argparse.Namespace) -> int:
    since = -inf if args.since is None else args.since
    until = inf if args.until is None else args.until
    files = 0

    def written(path: Path, rows: int) -> None:
        nonlocal files
        files += 1

    with closing(opened(dsn_of(args.store), read_only=True)) as store:
        counts = export(store, args.folder, args.format, since, until, written)
    rows = [(name, f"{count:,}") for name, count in counts.items() if count]
    print(table(("rows of", "count"), rows) if rows else "No row.")
    print(f"\n{files} files in {inert(str(args.folder))}")
    return 0


def _ask(args: argparse.Namespace) -> int:
    if args.name is None:
        print(table(("name", "question"), [(q.name, q.title) for q in questions().values()]))
        return 0
    values = {name: value for name in _TEXTS if (value := getattr(args, name)) is not None}
    times = {option: getattr(args, dest) for option, dest in _TIMES.items()}
    values |= {name: at for name, at in times.items() if at is not None}
    with closing(opened(dsn_of(args.store), read_only=True)) as store:
        question, rows = ask(store, args.name, values)
    if args.json:
        for row in rows:
            print(msgspec.json.encode(dict(zip(question.columns, row, strict=True))).decode())
        return 0
    print(answer(question, rows))
    return 0


def answer(question: Question, rows: list[Any]) -> str:
    """Return question and answer as a table."""
    cells = [
        [_cell(name, value) for name, value in zip(question.columns, row, strict=True)]
        for row in rows
    ]
    lines = table(question.columns, cells) if cells else "No row."
    return f"{question.title}\n\n{lines}"


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if column.endswith("_ts"):
        return shown(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
