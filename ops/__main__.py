"""The `lumen` command; also `python -m ops`. A subcommand is a module, loaded when called."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from configs.inert import guard
from operators.errors import LumenError

COMMANDS = {
    "run": "run a configuration",
    "replay": "replay bare recordings, with a configuration worked out from them",
    "check": "check a configuration, and say what latency it will have",
    "listen": "show what speaks to this machine, and write a configuration for it",
    "doctor": "look at what a live run needs of this machine",
    "record": "write the live streams of a configuration to a tape, and nothing else",
    "simulate": "make a seeded recording whose truth is known, or play devices",
    "watch": "show a running flow in the terminal, anew each second",
    "smoke": "judge a running flow, or the shipped replay, by three budgets",
    "report": "write what a run came to as one page with pictures, and a Methods paragraph",
    "selftest": "inject known offset, skew, lag and dropouts; show them estimated beside true",
    "verify": "show that a replay gives the same bytes however it is run",
    "heartbeat": "beat into a node exporter's textfile folder, as a sign of life",
    "demo": "replay three minutes of a studio and show every number beside its truth",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the command's name; those of the process by default.

    Returns
    -------
    int
        Exit code: 0 done, 1 not as it should be, 2 wrongly called or configured.
    """
    guard()
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="lumen",
        description="Several streams, several clocks, one signal with its uncertainty.",
        epilog="commands:\n"
        + "".join(f"  {name:10}{what}\n" for name, what in COMMANDS.items())
        + "\nlumen COMMAND --help says what a command takes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND")
    command = parser.parse_args(words[:1]).command
    room = {"heartbeat": "ops.monitoring.heartbeat"}
    module = importlib.import_module(room.get(command, f"ops.cli.{command}"))
    own = argparse.ArgumentParser(prog=f"lumen {command}", description=COMMANDS[command])
    module.add_arguments(own)
    args = own.parse_args(words[1:])
    try:
        code: int = module.main(args)
    except LumenError as error:
        print(*error.lines(), sep="\n", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    return code


if __name__ == "__main__":
    sys.exit(main())
