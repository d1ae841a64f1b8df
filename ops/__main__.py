"""The `lumen` command; also `python -m ops`. A subcommand is a module, loaded when called."""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from collections.abc import Sequence

from configs.inert import guard
from configs.one_thread import one_thread
from operators.errors import LumenError

GROUPS = {
    "run": {
        "run": "run a configuration",
        "replay": "replay bare recordings with a derived configuration",
        "record": "write the live streams of a configuration to a tape only",
        "store": "keep the history of runs in a database",
        "serve": "serve the history of a configuration over HTTP, without a flow",
    },
    "look": {
        "watch": "show a running flow in the terminal, once a second",
        "bridge": "show the state of the beat clock, release it or roll it back",
        "account": "add up the account of a run over its parts, and check it",
        "report": "write a page with figures and a Methods paragraph about a run",
    },
    "set up": {
        "listen": "list the senders that reach this machine and write a configuration",
        "probe": "measure the time of a scrape, or the offset of the beat clock",
        "doctor": "check this machine for a live run",
        "convert": "write a recording as .ndjson, .parquet, .arrow or .csv",
        "check": "check a configuration and show its latency",
        "tune": "find settings that hold on the other half of a recording",
    },
    "keep": {
        "snapshot": "take a checked copy of the history, or of a recovery store at rest",
        "restore": "put a snapshot in the place of the store",
        "prune": "delete old snapshots",
        "drill": "rehearse a restore in a scratch folder, and time it",
    },
    "prove": {
        "demo": "replay a three-minute studio recording and show numbers beside truth",
        "simulate": "write a seeded recording with known truth, or play devices",
        "selftest": "inject offset, skew, lag and dropouts; show estimates beside truth",
        "rules": "test rules on series of values or on a recording",
        "verify": "show that a replay gives equal bytes in every way of running it",
        "gate": "answer GO, NO-GO or UNKNOWN from the numbers of a Prometheus",
        "shadow": "compare a candidate with the running flow, tick by tick",
        "chaos": "disturb a recording or a live stream by one known fault",
    },
}
"""Commands and their help lines, by group."""
COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()}
ALIASES = {"smoke": ("watch", "--once", "--judge")}
"""Former commands that still run; no help text lists them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the command's name; those of the process by default.

    Returns
    -------
    int
        Exit code: 0 success, 1 negative result, 2 wrong call or configuration.
    """
    one_thread()
    guard()
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="lumen",
        description="Several streams, several clocks, one signal with its uncertainty.",
        epilog=_listing(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="one of those below")
    if not arguments:
        parser.print_help()
        return 0
    chosen = parser.parse_args(arguments[:1])
    if chosen.version:
        print(f"lumen {_version()}")
        return 0
    name, *defaults = ALIASES.get(chosen.command, (chosen.command,))
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" (did you mean '{close[0]}'?)" if close else ""
        parser.error(f"unknown command '{name}'{hint}; `lumen` lists the commands")
    module = importlib.import_module(f"ops.cli.{name}")
    subparser = argparse.ArgumentParser(prog=f"lumen {name}", description=COMMANDS[name])
    module.add_arguments(subparser)
    args = subparser.parse_args([*defaults, *arguments[1:]])
    try:
        code: int = module.main(args)
    except LumenError as error:
        print(*error.lines(), sep="\n", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    return code


def _listing() -> str:
    """Return the commands in their groups, a line each."""
    lines = []
    for group, commands in GROUPS.items():
        lines += [f"{group}:", *(f"  {name:10}{text}" for name, text in commands.items()), ""]
    return "\n".join([*lines, "`lumen COMMAND --help` lists the arguments of a command."])


def _version() -> str:
    """Return the installed version."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lumen-fusion")
    except PackageNotFoundError:
        return "(not installed: no version)"


if __name__ == "__main__":
    sys.exit(main())
