"""A sign of life in the textfile folder of a node exporter.

    python -m ops.monitoring.heartbeat --dir DIR [--realm REALM] [--every S]

Each realm has two series: the number of beats, and the time of the newest. A beat replaces its
file atomically; several writers may beat for one realm.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from configs.inert import guard
from sources.host.signal_shutdown import SignalShutdown

if sys.platform != "win32":
    import fcntl

SEQ, TS = "duri_textfile_heartbeat_seq", "duri_textfile_heartbeat_ts"
REALM = "metric_realm"
MAX_S = 60.0
"""Longest interval (s) of beats: the rules report a stall after two minutes without one."""
_PAGE = f"""# HELP {SEQ} Beats so far.
# TYPE {SEQ} gauge
{SEQ}{{{REALM}="%(realm)s"}} %(seq)d
# HELP {TS} Time of the newest beat, s since 1970.
# TYPE {TS} gauge
{TS}{{{REALM}="%(realm)s"}} %(ts).3f
"""
_SEQ = re.compile(rf"^{SEQ}\{{.*\}} (\d{{1,15}})$", re.MULTILINE)


def beat(folder: Path, realm: str) -> int:
    """Beat once; return the number of the beat.

    The first beat is number 1, as is the first one after a damaged file.

    Raises
    ------
    OSError
        The folder is missing, not writable or full; the beat before remains.
    """
    page, made = folder / f"heartbeat_{realm}.prom", folder / f".heartbeat_{realm}.new"
    # The lock is a file of its own: the page is replaced, so its lock would be that of an old file.
    with (folder / f".heartbeat_{realm}.lock").open("a") as lock:
        if sys.platform != "win32":
            fcntl.flock(lock, fcntl.LOCK_EX)
        seq = _newest(page) + 1
        with made.open("w", encoding="ascii") as file:
            file.write(_PAGE % {"realm": realm, "seq": seq, "ts": time.time()})
            file.flush()
            os.fsync(
                file.fileno()
            )  # otherwise a crash could leave an empty file under the new name
        made.chmod(0o644)
        made.replace(page)
    return seq


def _newest(page: Path) -> int:
    try:
        found = _SEQ.search(page.read_text("ascii", errors="replace"))
    except FileNotFoundError:
        return 0
    return int(found[1]) if found else 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="the node exporter's --collector.textfile.directory",
    )
    parser.add_argument("--realm", type=realm_name, default="prod", help="default %(default)s")
    parser.add_argument(
        "--every",
        type=_seconds,
        metavar="S",
        help=f"beat until Ctrl-C every S seconds, at most {MAX_S:g}; by default beat once",
    )


def realm_name(text: str) -> str:
    """Return the name of a realm; an invalid one is an argument error."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 64 letters, digits, _ or -")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= MAX_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0.1 to {MAX_S:g}")
    return seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Beat once, or periodically; return 1 if the last beat failed."""
    guard()
    parser = argparse.ArgumentParser(
        prog="python -m ops.monitoring.heartbeat",
        description="Write heartbeats into the textfile folder of a node exporter.",
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    if args.every is None:
        return int(_reported(args.dir, args.realm, None) is not None)
    failed: str | None = None
    with SignalShutdown() as shutdown:
        shutdown.start()
        due = time.monotonic()
        while True:
            failed = _reported(args.dir, args.realm, failed)
            due = max(due + args.every, time.monotonic())
            if shutdown.event.wait(due - time.monotonic()):
                return int(failed is not None)


def _reported(folder: Path, realm: str, before: str | None) -> str | None:
    """Beat; return the reason of a failure, which is printed unless it repeats the one before."""
    try:
        beat(folder, realm)
    except OSError as error:
        failed = f"no heartbeat in {folder}: {error.strerror}"
        if failed != before:
            print(
                f"lumen: {failed}: it has to be a folder that this user can write to",
                file=sys.stderr,
            )
        return failed
    return None


if __name__ == "__main__":
    sys.exit(main())
