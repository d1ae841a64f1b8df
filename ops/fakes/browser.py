"""Chromium for tests of pages: Debian's, unpacked by `make browser`, or the installed one."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TARGET = "no Chromium here: run `make browser`"
_UNPACKED = Path(__file__).parents[2] / ".browser"
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Flags for a browser without network requests, screen and large shared memory."""


def found() -> str | None:
    """Return the path of the browser, None if there is none."""
    unpacked = _UNPACKED / "usr/lib/chromium/chromium"
    return str(unpacked) if unpacked.exists() else shutil.which("chromium")


@contextmanager
def browser() -> Iterator[Browser]:
    """Run the browser; it ends with the context."""
    from playwright.sync_api import sync_playwright

    program = found()
    if program is None:
        raise SystemExit(TARGET)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=program, args=list(_FLAGS), env=_environment()
        )
        try:
            yield running
        finally:
            running.close()


def until(page: Page, holds: str, given: object = None, seconds: float = 15.0) -> None:
    """Wait until an expression holds in a page.

    The page's security policy forbids `wait_for_function` of the browser.

    Raises
    ------
    TimeoutError
        The expression does not hold in time.
    """
    end = time.monotonic() + seconds
    while not page.evaluate(holds, given):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {holds} {given or ''}")
        page.wait_for_timeout(20)


def _environment() -> dict[str, str | float | bool]:
    """Return the environment with the unpacked libraries and fonts."""
    found: dict[str, str | float | bool] = dict(os.environ)
    libraries = [*_UNPACKED.glob("usr/lib/*-linux-gnu*")]
    libraries += [folder / "pulseaudio" for folder in libraries]
    if libraries:
        found["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, libraries))
        found["XDG_DATA_HOME"] = str(_UNPACKED / "usr/share")
    if (_UNPACKED / "etc/fonts/fonts.conf").exists():
        found["FONTCONFIG_PATH"] = str(_UNPACKED / "etc/fonts")
    return found
