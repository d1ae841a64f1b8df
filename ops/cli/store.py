"""`lumen store`: the history of runs in a database."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from configs.load import load
from sinks.history.back_end import AwayError, HistoryError
from sinks.history.follower import Follower, FollowSettings, follow
from sinks.history.following import settings_of
from sinks.history.rebuild import rebuild


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions of `lumen store` and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("follow", "take the files of a run into the store, until Ctrl-C"),
        ("rebuild", "make the store anew from the files; the former one is kept beside it"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file with `store`")


def main(args: argparse.Namespace) -> int:
    """Run one action."""
    settings = _settings(args.config)
    if args.action == "follow":
        return _follow(settings)
    rows = rebuild(settings)
    print(*(f"{name:10}{count:>12,}" for name, count in sorted(rows.items())), sep="\n")
    return 0


def _settings(path: Path) -> FollowSettings:
    config = load(path).config
    if config.store is None:
        remedy = 'add `store: {dsn: "sqlite:history/history.sqlite"}`'
        raise HistoryError(f"{path}: 'store' is missing; {remedy}")
    return settings_of(config, config.store)


def _follow(settings: FollowSettings) -> int:
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    first = Follower(settings)
    try:
        first.open()
    except AwayError as error:
        print(*error.lines(), sep="\n", file=sys.stderr)
    finally:
        first.close()
    follow(settings, ended.wait)
    return 0
