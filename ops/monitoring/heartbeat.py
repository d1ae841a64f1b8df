"""`lumen heartbeat`: a sign of life that a node exporter shows, through its textfile folder.

Two series for each realm: how many beats there were, and when the newest was. Readers see one
beat or the next, never a part of one; several writers may beat for one realm.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import sys
import time
from pathlib import Path

from sources import shutdown as stop

SEQ, TS = "duri_textfile_heartbeat_seq", "duri_textfile_heartbeat_ts"
REALM = "metric_realm"
MAX_S = 60.0
"""Between two beats: the rules take two minutes without one for a standstill."""
_PAGE = f"""# HELP {SEQ} Beats so far.
# TYPE {SEQ} gauge
{SEQ}{{{REALM}="%(realm)s"}} %(seq)d
# HELP {TS} When the newest beat was, s since 1970.
# TYPE {TS} gauge
{TS}{{{REALM}="%(realm)s"}} %(ts).3f
"""
_SEQ = re.compile(rf"^{SEQ}\{{.*\}} (\d{{1,15}})$", re.MULTILINE)


def beat(folder: Path, realm: str) -> int:
    """Beat once; return which beat it was.

    A first beat, or one over a file that is damaged, is number 1.

    Raises
    ------
    OSError
        The folder is not there, cannot be written to, or is full; the beat before stays.
    """
    page, made = folder / f"heartbeat_{realm}.prom", folder / f".heartbeat_{realm}.new"
    # Beside the page, which is replaced: whoever waited for its lock would hold an old file's.
    with (folder / f".heartbeat_{realm}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        seq = _newest(page) + 1
        with made.open("w", encoding="ascii") as file:
            file.write(_PAGE % {"realm": realm, "seq": seq, "ts": time.time()})
            file.flush()
            os.fsync(file.fileno())  # else a crash could leave the new name with nothing in it
            os.fchmod(file.fileno(), 0o644)
        made.replace(page)
    return seq


def _newest(page: Path) -> int:
    try:
        found = _SEQ.search(page.read_text("ascii", errors="replace"))
    except FileNotFoundError:
        return 0
    return int(found[1]) if found else 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `lumen heartbeat` takes."""
    parser.add_argument(
        "--dir", type=Path, required=True, metavar="DIR",
        help="the node exporter's --collector.textfile.directory",
    )  # fmt: skip
    parser.add_argument("--realm", type=realm_name, default="prod", help="default %(default)s")
    parser.add_argument(
        "--every", type=_seconds, metavar="S",
        help=f"beat on until Ctrl-C, with so many seconds between, at most {MAX_S:g};"
        " once by default",
    )  # fmt: skip


def realm_name(text: str) -> str:
    """Return the name of a realm, refused as an argument where it is none."""
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


def main(args: argparse.Namespace) -> int:
    """Beat once, or on and on; 1 if the last beat failed."""
    if args.every is None:
        return int(_told(args.dir, args.realm, None) is not None)
    failed: str | None = None
    stop.install()
    try:
        due = time.monotonic()
        while True:
            failed = _told(args.dir, args.realm, failed)
            due = max(due + args.every, time.monotonic())
            if stop.event().wait(due - time.monotonic()):
                return int(failed is not None)
    finally:
        stop.reset()


def _told(folder: Path, realm: str, before: str | None) -> str | None:
    """Beat; return why it failed, said on standard error unless the one before failed likewise."""
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
