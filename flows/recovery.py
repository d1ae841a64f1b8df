"""Recovery of a run: whether it has a recovery store, and the store's folder.

`lumen run` states both. The engine's own command, `python -m bytewax.run`, keeps its options to
itself, so that they are read from the environment and from the arguments of the process.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Recovery(NamedTuple):
    """Recovery of a run.

    Attributes
    ----------
    on : bool
        The run has a store: a stop is a pause, not the end of the data.
    store : Path or None
        Folder of the store, where it is known.
    """

    on: bool
    store: Path | None


def of_command() -> Recovery:
    """Return the recovery of `python -m bytewax.run`, by its environment and arguments."""
    variable = os.environ.get("BYTEWAX_RECOVERY_DIRECTORY")
    on = bool(variable) or _in_arguments([*sys.argv, *sys.orig_argv])
    return Recovery(on, (_folder() if on else None) or (Path(variable) if variable else None))


def _in_arguments(arguments: list[str]) -> bool:
    is_engine = any("bytewax" in argument for argument in arguments)
    return is_engine and any(map(_names_recovery, arguments))


def _names_recovery(argument: str) -> bool:
    if argument.startswith("--"):
        return len(argument) > 3 and "--recovery-directory".startswith(argument.partition("=")[0])
    return argument.startswith("-r")


def _folder() -> Path | None:
    """Return the folder in the arguments of the process."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-r", "--recovery-directory", type=Path)
    for option in ("-s", "--snapshot-interval"), ("-b", "--backup-interval"):
        parser.add_argument(*option)
    found: Path | None = None
    with suppress(argparse.ArgumentError):
        found = parser.parse_known_args(sys.argv[1:])[0].recovery_directory
    return found
