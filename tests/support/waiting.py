"""The one wait of tests: for a condition, with a ceiling that ends a hung test."""

from __future__ import annotations

import inspect
import subprocess
import time
from collections.abc import Callable

HUNG_S = 60.0
"""Ceiling of each wait (s). It bounds a hung test; no speed is measured by it."""


def until(
    holds: Callable[[], object],
    subject: Callable[[], object] | None = None,
    process: subprocess.Popen | None = None,
    every_s: float = 0.005,
) -> None:
    """Wait until a condition holds.

    Parameters
    ----------
    holds
        The condition, evaluated every `every_s` seconds.
    subject
        Makes the subject of the failure; by default the condition's source line.
    process
        A program that must run meanwhile.

    Raises
    ------
    AssertionError
        The condition does not hold within `HUNG_S`, or the program ended before.
    """
    end = time.monotonic() + HUNG_S
    while not holds():
        ended = None if process is None else process.poll()
        if ended is not None or time.monotonic() > end:
            reason = f"hung for {HUNG_S:g} s" if ended is None else f"the program ended by {ended}"
            raise AssertionError(f"{reason}: {_source(holds) if subject is None else subject()}")
        time.sleep(every_s)


def _source(holds: Callable[[], object]) -> str:
    """Return the source of a condition."""
    return inspect.getsource(holds).strip()
