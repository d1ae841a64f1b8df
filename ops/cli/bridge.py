"""`lumen bridge`: the state of the beat clock of a run, and commands to it.

`status` asks the exporter of the run, which has the unmet conditions. Without an answer, the state
is that of the newest line of `bridge.jsonl`, while the run takes commands. `release` and `rollback`
go through the control socket in the output folder of a live run.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from configs.inert import inert
from configs.load import load
from configs.outputs import CONTROL, OutputConfig
from operators.bridge.protocol import RELEASE, ROLLBACK
from operators.errors import ToolError
from operators.types import BridgeCommand
from ops.cli.bridge_lines import bridge_lines, named, since
from ops.cli.state_client import URL, USUAL, NoAnswerError, address, ask
from ops.results.folder import Results, rig_folders
from sources import control

Found = TypeVar("Found")
IN_ROLLBACK = "E4"
COMMANDS: dict[str, BridgeCommand] = {"release": RELEASE, "rollback": ROLLBACK}


class NoBridgeError(ToolError):
    """No run with a bridge, or none of that rig."""


@dataclass
class FileState:
    """The newest line of `bridge.jsonl`, and the time of the newest change."""

    state: str
    ts: float
    since: float | None = None


@dataclass(frozen=True)
class RunAddress:
    """Where a run can be reached; `url` is None without an exporter."""

    folder: Path
    url: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen bridge`."""
    parser.add_argument(
        "action",
        choices=("status", "release", "rollback"),
        help="show the state and the unmet conditions; leave E4; enter E4",
    )
    parser.add_argument(
        "config",
        nargs="?",
        type=Path,
        metavar="CONFIG",
        help=f"configuration of the run; by default the output folder out, and ${URL}, else"
        f" {USUAL}",
    )
    parser.add_argument("--rig", metavar="R", help="one rig; by default each")


def main(args: argparse.Namespace) -> int:
    """Show the state, or send a command; 1 where it changes nothing, 2 without a run."""
    run = _run(args.config)
    if args.action == "status":
        print(*status(run, args.rig), sep="\n")
        return 0
    if not control.listening(run.folder):
        raise NoBridgeError(
            f"no run takes commands in {inert(str(run.folder / CONTROL))}: a live one with a"
            " bridge does"
        )
    if args.action == "release" or args.rig is not None:
        states = _of_rig(recorded(run.folder), args.rig)
        if args.action == "release" and not any(x.state == IN_ROLLBACK for x in states.values()):
            where = ", ".join(f"{rig} is in {named(x.state)}" for rig, x in states.items())
            print(inert(f"nothing to release: {where or 'no state is decided yet'}"))
            return 1
    try:
        control.send(run.folder, COMMANDS[args.action], args.rig)
    except OSError as error:
        reason = error.strerror or str(error)
        raise NoBridgeError(f"the run takes no command: {reason}") from None
    follows = "E1 follows" if args.action == "release" else "E4 follows, until `release`"
    print(f"{args.action} is sent: {follows}; `lumen bridge status` shows the state")
    return 0


def _run(config: Path | None) -> RunAddress:
    if config is None:
        return RunAddress(Path(OutputConfig().dir), address(None))
    loaded = load(config).config
    if loaded.bridge is None:
        raise NoBridgeError(f"{inert(str(config))} has no bridge")
    served = loaded.exporter
    host = served.host if served else ""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    host = f"[{host}]" if ":" in host else host
    url = os.environ.get(URL) or (f"http://{host}:{served.http_port}" if served else None)
    return RunAddress(Path(loaded.output.dir), address(url) if url else None)


def status(run: RunAddress, rig: str | None = None) -> Iterator[str]:
    """Yield the state of the bridge of each rig as lines.

    Parameters
    ----------
    run : RunAddress
    rig : str, optional
        All rigs by default.

    Raises
    ------
    NoBridgeError
        There is no run, it has no bridge, or none of this rig.
    """
    reason = "the run has no exporter"
    if run.url is not None:
        try:
            state = ask(run.url)
        except NoAnswerError as error:
            reason = str(error)
        else:
            bridges = {name: view.bridge for name, view in state.rigs.items() if view.bridge}
            if not bridges:
                raise NoBridgeError(f"the run at {run.url} has no bridge yet, or none at all")
            for name, bridge in _of_rig(bridges, rig).items():
                yield from map(inert, bridge_lines(name, bridge))
            return
    if not control.listening(run.folder):
        raise NoBridgeError(
            f"no run with a bridge: {reason}; no run takes commands in {run.folder}"
        )
    for name, found in _of_rig(recorded(run.folder), rig).items():
        yield inert(f"{name}: {named(found.state)}{since(found.since, found.ts)}")
    yield inert(f"the unmet conditions are not known: {reason}")


def recorded(folder: Path) -> dict[str, FileState]:
    """Return the newest state of each rig in the result files of a run."""
    found: dict[str, FileState] = {}
    for place in rig_folders(folder):
        for line in Results(place).bridge():
            rig, state = line.rig or "", line.state or "E0"
            before = found[rig].since if rig in found else None
            found[rig] = FileState(state, line.ts, line.ts if line.why else before)
    return found


def _of_rig(found: dict[str, Found], rig: str | None) -> dict[str, Found]:
    """Return the entries of one rig, or of all."""
    if rig is None:
        return found
    if found and rig not in found:
        raise NoBridgeError(inert(f"there is no rig '{rig}', there is {', '.join(found)}"))
    return {name: entry for name, entry in found.items() if name == rig}
