"""The report of a failed run: three lines with path and remedy, no traceback.

An error of a disk or a file names its path. Any other error is a bug: its traceback and the panic
report of the engine are written to a file in the output folder, and the terminal shows the name
of that file. The engine bypasses Python and writes to the descriptor of standard error. While a
run is watched, a thread reads that descriptor and forwards all but panic reports.
"""

from __future__ import annotations

import atexit
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import TextIO

from configs.document import ConfigError, one_line, public_text
from configs.files import Access, write_whole
from flows.first_pass import FirstPassError, FirstPassStoppedError
from flows.lifeline import Lifeline
from flows.meeting import ClusterError, ClusterStoppedError, OtherRunError
from operators.collect import SharedRigError
from operators.errors import InUseError, LumenError
from operators.snapshot import StateRefusedError
from operators.station import StationError
from sinks.files.folder import TRACEBACK
from sinks.files.jsonl import ShortFileError
from sources.host import stderr as aside
from sources.host.signal_shutdown import SignalShutdown
from sources.kafka.faults import TopicError, TopicStoppedError
from sources.recordings.recording import UnusableError
from sources.replay import RecordingsError

REFUSALS = (
    InUseError,
    SharedRigError,
    StateRefusedError,
    ShortFileError,
    UnusableError,
    TopicError,
)
START_REFUSALS = (
    ConfigError,
    InUseError,
    RecordingsError,
    FirstPassError,
    FirstPassStoppedError,
    ClusterError,
    ClusterStoppedError,
    OtherRunError,
    TopicError,
    TopicStoppedError,
)
"""Errors raised before the engine starts: `watched` passes them on, lines and exit code alike."""
_STDERR = 2
_MAX_KEPT = 1 << 18
"""Kept bytes of a traceback, of a panic, of a line without an end."""
_MAX_LENGTH = 400
_PANIC = b"' panicked at "
_NEWS_S = 2.0
"""The engine may panic before the loss of another process is known here."""
_RESTART = "then start the same command again"
_STORE_CODES = {
    "DiskFull": "no space left on the disk",
    "SystemIoFailure": "an error of the disk: it may be full",
    "ReadOnly": "nothing may be written there",
    "DatabaseBusy": "another process has it open",
    "DatabaseLocked": "another process has it open",
}


class FailureWatch:
    """The descriptor of standard error, forwarded by a thread until `close`.

    Parameters
    ----------
    shutdown : SignalShutdown
        Of the run: its answers to signals bypass the thread.

    Attributes
    ----------
    panic : bytes
        Output of the engine about its panic.
    """

    def __init__(self, shutdown: SignalShutdown) -> None:
        self.panic = b""
        self._shutdown = shutdown
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
        self._shutdown.set_terminal(self._kept)
        self._thread = threading.Thread(
            target=self._pass_on, args=(source, self._kept), name="engine", daemon=True
        )
        self._thread.start()
        # Messages of Python bypass the thread: a slow reader must not delay them.
        if held := aside.current():
            held.redirect(self._kept)
        elif isinstance(self._stream, TextIOWrapper) and self._stream.fileno() == _STDERR:
            self._stream.flush()
            self._own = sys.stderr = open(  # noqa: SIM115
                self._kept, "w", 1, self._stream.encoding, "backslashreplace", closefd=False
            )

    def _pass_on(self, source: int, to: int) -> None:
        """Forward each line; from the first line of a panic report on, keep the text."""
        held = b""
        with suppress(OSError):
            while data := os.read(source, 1 << 16):
                held += data
                lines, newline, held = held.rpartition(b"\n")
                if self.panic or _PANIC in lines:
                    at = 0 if self.panic else max(lines.find(b"thread '"), 0)
                    passed, panic = lines[:at], lines[at:] + newline
                    self.panic = (self.panic + panic)[:_MAX_KEPT] or b"?"
                else:
                    passed = lines + newline
                if len(held) > _MAX_KEPT:
                    passed, held = passed + held, b""
                with suppress(OSError):
                    os.write(to, passed)
            if held and not self.panic:
                os.write(to, held)
        os.close(source)

    def close(self) -> None:
        """Restore standard error."""
        if self._kept is None:
            return
        os.dup2(self._kept, _STDERR)
        if held := aside.current():
            held.redirect(_STDERR)
        self._thread.join(1.0)
        self._shutdown.set_terminal(_STDERR)
        replaced = self._own is not None and sys.stderr is not self._own
        if self._own is not None and not replaced:
            sys.stderr = self._stream
        if not (replaced or self._thread.is_alive()):  # else it is still in use
            os.close(self._kept)
        self._kept = None


class RunFailedError(LumenError):
    """The error that ended a run, as lines for standard error.

    Parameters
    ----------
    lines : sequence of str
        Problem, state of the results, remedy.
    exit_code : int
        2: a refusal. 1: a failure.
    """

    def __init__(self, lines: Sequence[str], exit_code: int) -> None:
        self._lines = tuple(lines)
        self.exit_code = exit_code
        super().__init__("\n".join(lines))

    def lines(self) -> list[str]:
        """Return the lines, complete with the prefix."""
        return list(self._lines)


def report(
    error: BaseException,
    folder: Path,
    access: Access,
    store: Path | None,
    panic: bytes = b"",
    lost: str = "",
) -> RunFailedError:
    """Return an error that ended a run as up to three lines and the exit code.

    Parameters
    ----------
    error : BaseException
    folder : Path
        `output.dir`: the traceback of a bug is written there.
    access : Access
        Rights of that file.
    store : Path, optional
        The recovery store.
    panic : bytes
        Output of the engine about its panic.
    lost : str
        The loss of another process of the cluster.
    """
    refusal = next((e for e in _chain(error) if isinstance(e, REFUSALS)), None)
    disk = next((e for e in _chain(error) if isinstance(e, OSError) and e.filename), None)
    bug = next((e for e in _chain(error) if _is_station(e)), error)
    if type(bug).__name__ == "BytewaxRuntimeError":
        bug = bug.__cause__ or bug
    resume = "it resumes from its last snapshot" if store else "it starts from the beginning"
    ended = f"  The run ends here; its results so far are in {folder}" + (
        ", complete up to the last snapshot." if store else "."
    )
    if refusal is not None:
        problem, _, remedy = str(refusal).replace("\n  ", "; ").partition("; ")
        return _failure(2, problem, *([f"  {remedy}"] if remedy else []))
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return _failure(2, str(error), "  Put the file in its place, and start again.")
    if "SqliteFailure" in str(error) and store is not None:
        reasons = (text for code, text in _STORE_CODES.items() if code in str(error))
        problem = f"{store}: the recovery store: {next(reasons, str(error))}"
        return _failure(1, problem, ended, f"  Make room there, {_RESTART}: {resume}.")
    if disk is not None and not _is_station(bug):
        remedy = f"  Make room or see to the rights there, {_RESTART}: {resume}."
        return _failure(1, f"{disk.filename}: {disk.strerror}", ended, remedy)
    if lost and not _is_station(bug):
        remedy = f"  All processes of a cluster end together. Start them all again: {resume}."
        return _failure(1, lost, ended, remedy)
    traceback_file = _kept(error, folder, access, panic)
    remedy = f"  The traceback is in {traceback_file}; please report it with that file."
    return _failure(1, f"a bug: {type(bug).__name__}: {bug}", ended, remedy)


def _is_station(error: BaseException) -> bool:
    """Whether a station raised the error: stations open no files."""
    return isinstance(error, StationError)


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    for _ in range(16):
        if found is None:
            return
        yield found
        found = found.__cause__


def _failure(exit_code: int, first: str, *more: str) -> RunFailedError:
    lines = [f"lumen: {first}", *more]
    return RunFailedError([one_line(public_text(line))[:_MAX_LENGTH] for line in lines], exit_code)


def _kept(error: BaseException, folder: Path, access: Access, panic: bytes) -> Path | str:
    """Write a traceback into the folder, or a temporary one; return its path."""
    text = "".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace")
    for place in (folder, Path(tempfile.gettempdir())):
        path = place / (TRACEBACK if place == folder else f"lumen-{os.getpid()}-{TRACEBACK}")
        with suppress(OSError):
            place.mkdir(mode=access.folder, parents=True, exist_ok=True)
            write_whole(path, text[-_MAX_KEPT:] + b"\n" + panic, access)
            return path
    return "no file: none could be written"


@contextmanager
def watched(
    folder: Path, access: Access, store: Path | None, shutdown: SignalShutdown
) -> Iterator[None]:
    """Watch a run in this process.

    Raises
    ------
    RunFailedError
        An error ended the run.
    LumenError
        The start was refused.
    """
    watch = FailureWatch(shutdown)
    try:
        yield
    except (SystemExit, KeyboardInterrupt, GeneratorExit, *START_REFUSALS):
        watch.close()
        raise
    except BaseException as error:  # a panic of the engine is no Exception
        watch.close()
        raise report(error, folder, access, store, watch.panic) from error
    finally:
        watch.close()


def watch_process(
    folder: Path, access: Access, store: Path | None, shutdown: SignalShutdown, lifeline: Lifeline
) -> None:
    """Watch this process to its end, under the engine's own command."""
    watch = FailureWatch(shutdown)

    def answer(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        watch.close()
        if isinstance(error, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            lost = lifeline.lost(_NEWS_S)
            failure = report(error, folder, access, store, watch.panic, lost)
            print(*failure.lines(), sep="\n", file=sys.stderr)
        lifeline.failed = True

    sys.excepthook = answer
    atexit.register(watch.close)
