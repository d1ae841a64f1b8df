"""The watch of the gates: a verdict each 15 s, and a command for each trigger.

A trigger is crossed when its alert begins to fire, or fires at the first look. Its command runs
once per crossing, at most once in ten minutes. An alert is over only when a look has shown it so:
a Prometheus that is away ends none.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from ops.gate.bounds import REDUCED_SHARE
from ops.gate.gates import ACTIONS, Action
from ops.gate.judgement import Verdict
from ops.gate.queries import InstantSample, QueryError, vector
from ops.shadow.shadow import SHARE

EVERY_S = 15.0
REST_S = 600.0
"""Least time between two commands of one action (s)."""
FIRING = f'ALERTS{{alertstate="firing", action=~"{"|".join(ACTIONS)}"}}'


def firing(url: str, now: Callable[[], float]) -> dict[Action, InstantSample]:
    """Return an alert that fires for each action of which one does.

    Raises
    ------
    QueryError
        There is no usable answer.
    """
    found: dict[Action, InstantSample] = {}
    for sample in vector(url, FIRING, now):
        for action in ACTIONS:
            if sample.metric.get("action") == action:
                found.setdefault(action, sample)
    return found


class Crossings:
    """The triggers that are crossed now.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._crossed: frozenset[Action] = frozenset()
        self._ran: dict[Action, float] = {}

    def update(self, firing: Mapping[Action, InstantSample]) -> list[Action]:
        """Return the actions whose command is to run after a look."""
        new = [action for action in ACTIONS if action in firing and action not in self._crossed]
        self._crossed = frozenset(firing)
        now = self._clock()
        due = [a for a in new if now - self._ran.get(a, float("-inf")) >= REST_S]
        self._ran |= dict.fromkeys(due, now)
        return due


class TwoRounds:
    """The verdict of the watch: GO needs two rounds running."""

    def __init__(self) -> None:
        self._before: Verdict = "UNKNOWN"

    def update(self, verdict: Verdict) -> Verdict:
        """Return the verdict after a round."""
        settled: Verdict = verdict
        if verdict == "GO" and self._before != "GO":
            settled = "UNKNOWN"
        self._before = verdict
        return settled


class Commands:
    """Runs the commands of actions, without waiting for them.

    Parameters
    ----------
    texts : mapping
        Command line by action; it is not given to a shell.
    shadow : Path or None
        Folder of a shadow whose share a stop of promotions reduces.
    """

    def __init__(self, texts: Mapping[Action, str], shadow: Path | None = None) -> None:
        self._argv = {action: shlex.split(text) for action, text in texts.items()}
        self._shadow = shadow
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self, action: Action, sample: InstantSample) -> str:
        """Run the command of an action; return a line about it."""
        self.ended()
        labels = " ".join(f"{k}={v}" for k, v in sorted(sample.metric.items()) if k != "__name__")
        text = f"{action}: {labels}"
        if action == "promotion_stop" and self._shadow is not None:
            text += f"; {self._reduce(self._shadow)}"
        argv = self._argv.get(action)
        if argv is None:
            return text
        stated = {
            "ACTION": action,
            "ALERT": sample.metric.get("alertname", ""),
            "RIG": sample.metric.get("rig", ""),
            "SHARE": f"{REDUCED_SHARE:g}" if action == "promotion_stop" else "",
        }
        environment = {f"LUMEN_{name}": value for name, value in stated.items()}
        try:
            child = subprocess.Popen(argv, env=os.environ | environment, start_new_session=True)
        except OSError as error:
            return f"{text}; {argv[0]}: {error.strerror}"
        self._running.append(child)
        return f"{text}; {argv[0]} runs as process {child.pid}"

    def ended(self) -> bool:
        """Whether all commands have ended."""
        self._running = [child for child in self._running if child.poll() is None]
        return not self._running

    def _reduce(self, folder: Path) -> str:
        """Reduce the share of shadowed rigs; return a phrase about it."""
        made = folder / f".{SHARE}.new"
        try:
            made.write_text(f"{REDUCED_SHARE:g}\n", "ascii")
            made.replace(folder / SHARE)
        except OSError as error:
            return f"{folder}: {error.strerror}"
        return f"share {REDUCED_SHARE:g} in {folder}"


def look(url: str, now: Callable[[], float], crossings: Crossings, commands: Commands) -> list[str]:
    """Look at the triggers once, and run the commands that are due; return lines about them."""
    try:
        found = firing(url, now)
    except QueryError as error:
        return [f"triggers unknown: {error}"]
    return [commands.run(action, found[action]) for action in crossings.update(found)]
