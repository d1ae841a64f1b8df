"""Both forms of the ends of a pipe: by the system's own means, and in a thread."""

from __future__ import annotations

import os
import threading

import pytest

from sinks.processes import pipes
from sinks.processes.pipes import PipeReader, PipeWriter
from tests.support.waiting import until

FORMS = pytest.mark.parametrize("in_threads", [False, True])


@FORMS
def test_bytes_come_through_until_the_end(
    monkeypatch: pytest.MonkeyPatch, in_threads: bool
) -> None:
    monkeypatch.setattr(pipes, "IN_THREADS", in_threads)
    source, into = os.pipe()
    reader, writer = PipeReader(source), PipeWriter(into, lambda: os.close(into))
    assert reader.read(0.0) is None
    assert writer.write(b"one\n") == 4
    assert reader.read(60.0) == b"one\n"
    writer.close()
    assert reader.read(60.0) == b""
    os.close(source)


@FORMS
def test_a_full_pipe_takes_nothing_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, in_threads: bool
) -> None:
    monkeypatch.setattr(pipes, "IN_THREADS", in_threads)
    source, into = os.pipe()
    writer = PipeWriter(into, lambda: os.close(into))
    line = b"x" * 4095 + b"\n"
    sent = 0
    while taken := _settled(writer, line):
        sent += taken
    assert writer.write(line) == 0
    found = bytearray()
    drain = threading.Thread(target=lambda: found.extend(_all(source)))
    drain.start()
    until(lambda: writer.write(b"z") == 1)
    writer.close()
    drain.join(60.0)
    assert len(found) == sent + 1
    os.close(source)


def _settled(writer: PipeWriter, line: bytes) -> int:
    """Return the bytes taken; a write under way gets time to end, but for that of a full pipe."""
    for _ in range(200):
        if taken := writer.write(line):
            return taken
        threading.Event().wait(0.002)
    return 0


def _all(source: int) -> bytes:
    found = b""
    while data := os.read(source, 1 << 16):
        found += data
    return found


@FORMS
def test_the_end_of_the_reader_is_an_error_of_the_writer(
    monkeypatch: pytest.MonkeyPatch, in_threads: bool
) -> None:
    monkeypatch.setattr(pipes, "IN_THREADS", in_threads)
    source, into = os.pipe()
    writer = PipeWriter(into, lambda: os.close(into))
    os.close(source)
    with pytest.raises(OSError):
        until(lambda: writer.write(b"gone") == -1)
    if not in_threads:
        writer.close()
