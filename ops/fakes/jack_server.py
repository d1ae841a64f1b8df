"""A JACK server without hardware, for tests and measurements of MIDI.

`make jack` fetches one; a JACK that the machine has will do as well.
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
    """Return where a program of JACK is, if it can be had."""
    fetched = FETCHED / "bin" / name
    return str(fetched) if fetched.is_file() else shutil.which(name)


def missing(*names: str) -> str | None:
    """Return why there is no JACK; None if its programs are there."""
    return None if all(map(program, names)) else "no JACK on this machine: make jack"


class JackServer:
    """A running server; `environ` is what its clients need."""

    def __init__(self, name: str) -> None:
        self.environ = os.environ | {"JACK_DEFAULT_SERVER": name, "JACK_NO_AUDIO_RESERVATION": "1"}
        if FETCHED.is_dir():
            self.environ |= {
                "LD_LIBRARY_PATH": str(LIBRARIES), "JACK_DRIVER_DIR": str(LIBRARIES / "jack")
            }  # fmt: skip
        options = ("--no-realtime", "-n", name, "-d", "dummy", "-r", "48000", "-p", "256")
        self.server = self.start("jackd", *options)
        self.until("system:capture_1")

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start one of JACK's programs."""
        command = [str(program(name)), *arguments]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, env=self.environ, stdout=quiet, stderr=quiet)

    def run(self, name: str, typed: bytes) -> None:
        """Run one of JACK's programs that reads what is typed."""
        command, quiet = [str(program(name))], subprocess.DEVNULL
        subprocess.run(command, env=self.environ, input=typed, stdout=quiet, check=True)

    def ports(self) -> list[str]:
        """Return the ports that there are."""
        command = [str(program("jack_lsp"))]
        run = subprocess.run(command, env=self.environ, capture_output=True, text=True, check=False)
        return run.stdout.splitlines() if run.returncode == 0 else []

    def until(self, port: str) -> None:
        """Wait for a port."""
        for _ in range(100):
            if port in self.ports():
                return
            time.sleep(0.05)
        raise AssertionError(f"{port} is not there but {self.ports()}")

    @contextmanager
    def player(self, name: str) -> Iterator[str]:
        """Let a sequencer play notes 60 and 63 four times a second; gives its port's name."""
        notes = ("24000", "0", "60", "8000", "12000", "63", "8000")
        process = self.start("jack_midiseq", name, *notes)
        try:
            self.until(f"{name}:out")
            yield f"{name}:out"
        finally:
            end(process)


@contextmanager
def serving(name: str) -> Iterator[JackServer]:
    """Run a server for as long as this lasts, and leave nothing of it behind."""
    server = JackServer(name)
    try:
        yield server
    finally:
        end(server.server)
        for left in Path("/dev/shm").glob(f"jack*{name}*"):  # by a server that was killed
            left.unlink(missing_ok=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a program."""
    process.terminate()
    process.wait(10)
