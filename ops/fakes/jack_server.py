"""A JACK server without hardware, for tests and measurements of MIDI.

`make jack` fetches one; an installed JACK is used otherwise.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FETCHED = Path(__file__).parent.parent.parent / ".jack" / "usr"
LIBRARIES = FETCHED / "lib" / f"{os.uname().machine}-linux-gnu"


def program(name: str) -> str | None:
    """Return the path of a JACK program, None if it is missing."""
    fetched = FETCHED / "bin" / name
    return str(fetched) if fetched.is_file() else shutil.which(name)


def missing(*names: str) -> str | None:
    """Return the reason why JACK cannot run; None if its programs exist."""
    return None if all(map(program, names)) else "no JACK here: run `make jack`"


class JackServer:
    """A running server; `environ` is the environment of its clients."""

    def __init__(self, name: str) -> None:
        self.environ = os.environ | {"JACK_DEFAULT_SERVER": name, "JACK_NO_AUDIO_RESERVATION": "1"}
        if FETCHED.is_dir():
            self.environ |= {
                "LD_LIBRARY_PATH": str(LIBRARIES),
                "JACK_DRIVER_DIR": str(LIBRARIES / "jack"),
            }
        options = ("--no-realtime", "-n", name, "-d", "dummy", "-r", "48000", "-p", "256")
        self.server = self.start("jackd", *options)
        self.until("system:capture_1")

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a JACK program."""
        command = [str(program(name)), *arguments]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, env=self.environ, stdout=quiet, stderr=quiet)

    def run(self, name: str, text: bytes) -> None:
        """Run a JACK program with standard input."""
        command, quiet = [str(program(name))], subprocess.DEVNULL
        subprocess.run(command, env=self.environ, input=text, stdout=quiet, check=True)

    def ports(self) -> list[str]:
        """Return the names of the ports."""
        command = [str(program("jack_lsp"))]
        run = subprocess.run(command, env=self.environ, capture_output=True, text=True, check=False)
        return run.stdout.splitlines() if run.returncode == 0 else []

    def until(self, port: str) -> None:
        """Wait for a port."""
        for _ in range(100):
            if port in self.ports():
                return
            time.sleep(0.05)
        raise AssertionError(f"{port} is not among {self.ports()}")

    @contextmanager
    def player(self, name: str) -> Iterator[str]:
        """Run a sequencer that plays notes 60 and 63 four times a second; yield its port."""
        notes = ("24000", "0", "60", "8000", "12000", "63", "8000")
        process = self.start("jack_midiseq", name, *notes)
        try:
            self.until(f"{name}:out")
            yield f"{name}:out"
        finally:
            end(process)


@contextmanager
def serving(name: str) -> Iterator[JackServer]:
    """Run a server within the context, and remove its files afterwards."""
    server = JackServer(name)
    try:
        yield server
    finally:
        end(server.server)
        for left in Path("/dev/shm").glob(f"jack*{name}*"):  # left by a killed server
            left.unlink(missing_ok=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a program."""
    process.terminate()
    process.wait(10)
