"""How a run that cannot go on ends: three lines with the path and the remedy, no traceback.

An error of a disk or a file names its path. What is no such error is a bug: its traceback goes
into a file in the output folder, together with what the engine wrote of it, and the terminal gets
the name of that file. The engine writes past Python, to the descriptor of standard error: while
a run is watched that is led through a thread, which passes on all but reports of a panic.
"""

from __future__ import annotations

import atexit
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import TextIO

from configs.document import one_line, public_text
from configs.files import Access, write_whole
from flows.store import StoreError
from operators.snapshot import StateRefusedError
from operators.station import StationError
from sinks.files.folder import TRACEBACK, FolderError
from sinks.files.jsonl import ShortFileError
from sources import shutdown as stop
from sources import stderr as aside
from sources.recordings.recording import UnusableError
from sources.tape.writer import TapError

REFUSALS = (
    StateRefusedError, ShortFileError, FolderError, TapError, StoreError, UnusableError,
)  # fmt: skip
_STDERR = 2
_MOST = 1 << 18
_MAX_LENGTH = 400
_PANIC = b"' panicked at "
_AGAIN = "then start the same command again"
_STORE_CODES = {
    "DiskFull": "no space left on the disk",
    "SystemIoFailure": "an error of the disk: it may be full",
    "ReadOnly": "nothing may be written there",
    "DatabaseBusy": "another process has it open",
    "DatabaseLocked": "another process has it open",
}


class FailureWatch:
    """Standard error's descriptor led through a thread, until `close`.

    Attributes
    ----------
    panic : bytes
        What the engine wrote of a panic.
    """

    def __init__(self) -> None:
        self.panic = b""
        self._kept: int | None = None
        self._stream: TextIO = sys.stderr
        self._own: TextIO | None = None
        with suppress(OSError):
            self._begin()

    def _begin(self) -> None:
        self._kept = os.dup(_STDERR)
        source, into = os.pipe()
        os.dup2(into, _STDERR)
        os.close(into)
        stop.set_terminal(self._kept)
        self._thread = threading.Thread(
            target=self._pass_on, args=(source, self._kept), name="engine", daemon=True
        )
        self._thread.start()
        # Python's own messages take the short way: whoever reads them is not waited for here.
        if held := aside.current():
            held.redirect(self._kept)
        elif isinstance(self._stream, TextIOWrapper) and self._stream.fileno() == _STDERR:
            self._stream.flush()
            self._own = sys.stderr = open(  # noqa: SIM115
                self._kept, "w", 1, self._stream.encoding, "backslashreplace", closefd=False
            )

    def _pass_on(self, source: int, to: int) -> None:
        """Pass on what comes, line by line; from a report of a panic on, keep it."""
        held = b""
        with suppress(OSError):
            while data := os.read(source, 1 << 16):
                held += data
                lines, newline, held = held.rpartition(b"\n")
                if self.panic or _PANIC in lines:
                    at = 0 if self.panic else max(lines.find(b"thread '"), 0)
                    passed, panic = lines[:at], lines[at:] + newline
                    self.panic = (self.panic + panic)[:_MOST] or b"?"
                else:
                    passed = lines + newline
                if len(held) > _MOST:
                    passed, held = passed + held, b""
                with suppress(OSError):
                    os.write(to, passed)
            if held and not self.panic:
                os.write(to, held)
        os.close(source)

    def close(self) -> None:
        """Let standard error be what it was."""
        if self._kept is None:
            return
        os.dup2(self._kept, _STDERR)
        if held := aside.current():
            held.redirect(_STDERR)
        self._thread.join(1.0)
        stop.set_terminal(_STDERR)
        replaced = self._own is not None and sys.stderr is not self._own
        if self._own is not None and not replaced:
            sys.stderr = self._stream
        if not (replaced or self._thread.is_alive()):  # else there is one who still writes to it
            os.close(self._kept)
        self._kept = None


def report(
    error: BaseException, folder: Path, access: Access, store: Path | None, panic: bytes = b""
) -> int:
    """Print three lines on an error that ended a run; return the exit code.

    Parameters
    ----------
    error : BaseException
    folder : Path
        `output.dir`, where the traceback of a bug goes.
    access : Access
        Rights of that file.
    store : Path, optional
        The recovery store.
    panic : bytes
        What the engine wrote of it.
    """
    from sinks.exporter.server import HttpPortError  # nothing to one who has no page, until now

    kinds = (*REFUSALS, HttpPortError)
    refusal = next((e for e in _chain(error) if isinstance(e, kinds)), None)
    disk = next((e for e in _chain(error) if isinstance(e, OSError) and e.filename), None)
    bug = next((e for e in _chain(error) if _is_station(e)), error)
    if type(bug).__name__ == "BytewaxRuntimeError":
        bug = bug.__cause__ or bug
    what = f"{type(bug).__name__}: {bug}"
    again = "it goes on from its last snapshot" if store else "it begins anew"
    ended = "  The run ends here; what was written before is in " + (
        f"{folder}, and what a snapshot vouches for is whole." if store else f"{folder}."
    )
    if refusal is not None:
        problem, _, remedy = str(refusal).replace("\n  ", "; ").partition("; ")
        _print(problem, *([f"  {remedy}"] if remedy else []))
        return 2
    if isinstance(error, FileNotFoundError) and error.filename is None:
        _print(str(error), "  Put the file in its place, and start again.")
        return 2
    if "SqliteFailure" in str(error) and store is not None:
        known = (text for code, text in _STORE_CODES.items() if code in str(error))
        _print(f"{store}: the recovery store: {next(known, str(error))}", ended,
               f"  Make room there, {_AGAIN}: {again}.")  # fmt: skip
        return 1
    if disk is not None and not _is_station(bug):
        _print(f"{disk.filename}: {disk.strerror}", ended,
               f"  Make room or see to the rights there, {_AGAIN}: {again}.")  # fmt: skip
        return 1
    _print(f"a bug: {what}", ended, f"  The traceback is in {_kept(error, folder, access, panic)};"
           " please report it with that file.")  # fmt: skip
    return 1


def _is_station(error: BaseException) -> bool:
    """Whether a station raised: stations have no files."""
    return isinstance(error, StationError)


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    for _ in range(16):
        if found is None:
            return
        yield found
        found = found.__cause__


def _print(first: str, *more: str) -> None:
    lines = [f"lumen: {first}", *more]
    print(*(one_line(public_text(line))[:_MAX_LENGTH] for line in lines), sep="\n", file=sys.stderr)


def _kept(error: BaseException, folder: Path, access: Access, panic: bytes) -> Path | str:
    """Write a traceback into the folder, or where temporary files are; return its path."""
    text = "".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace")
    for place in (folder, Path(tempfile.gettempdir())):
        path = place / (TRACEBACK if place == folder else f"lumen-{os.getpid()}-{TRACEBACK}")
        with suppress(OSError):
            place.mkdir(mode=access.folder, parents=True, exist_ok=True)
            write_whole(path, text[-_MOST:] + b"\n" + panic, access)
            return path
    return "no file: none could be written"


@contextmanager
def watched(folder: Path, access: Access, store: Path | None) -> Iterator[None]:
    """Watch a run in this process.

    Raises
    ------
    SystemExit
        An error ended it, and has been reported.
    """
    watch = FailureWatch()
    try:
        yield
    except (SystemExit, KeyboardInterrupt, GeneratorExit):
        watch.close()
        raise
    except BaseException as error:  # a panic of the engine is no Exception
        watch.close()
        raise SystemExit(report(error, folder, access, store, watch.panic)) from error
    finally:
        watch.close()


def watch_command(folder: Path, access: Access, store: Path | None) -> None:
    """Watch this process to its end, where the engine's own command runs it."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is None or spec.name != "bytewax.run":
        return
    watch = FailureWatch()

    def answer(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        watch.close()
        if isinstance(error, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            report(error, folder, access, store, watch.panic)

    sys.excepthook = answer
    atexit.register(watch.close)
