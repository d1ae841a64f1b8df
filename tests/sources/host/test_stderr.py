import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sources.host import stderr
from sources.host.stderr import ROOM, QueuedStream
from tests.support.waiting import HUNG_S

ROOT = Path(__file__).parents[3]


class Reader:
    """A pipe, and who reads it."""

    def __init__(self):
        self.out, into = os.pipe()
        self.there = True
        self.stream = os.fdopen(into, "w")
        self.queued = QueuedStream(self.stream)

    def read(self):
        return os.read(self.out, 1 << 20).decode()

    def go(self):
        if self.there:
            os.close(self.out)
        self.there = False

    def fill(self):
        """Fill the pipe, as a reader does who stalls."""
        os.set_blocking(self.stream.fileno(), False)
        filled = 0
        try:
            while True:
                filled += os.write(self.stream.fileno(), b"-" * 1024)
        except BlockingIOError:
            os.set_blocking(self.stream.fileno(), True)
        return filled


@pytest.fixture
def reader():
    made = Reader()
    yield made
    made.queued.close()
    made.go()
    made.stream.close()


def test_lines_are_written_whole_and_in_order(reader):
    print("lumen: one", file=reader.queued)
    print("lumen:", "two", file=reader.queued)
    reader.queued.drain(60)
    assert reader.read() == "lumen: one\nlumen: two\n"


def test_lines_of_several_threads_are_not_mixed(reader):
    def write(name):
        for _ in range(20):
            print(name, name, name, file=reader.queued)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader.queued.drain(60)
    assert sorted(reader.read().splitlines()) == [f"{x} {x} {x}" for x in "abc" for _ in range(20)]


def test_a_part_of_a_line_is_written_when_it_is_flushed(reader):
    reader.queued.write("\r 50 %")
    reader.queued.flush()
    reader.queued.drain(60)
    assert reader.read() == "\r 50 %"


def test_a_reader_that_stalls_costs_messages_which_are_counted_and_named(reader):
    filled = reader.fill()
    used = time.process_time()
    for n in range(ROOM + 100):
        print(n, file=reader.queued)
    assert time.process_time() - used < HUNG_S
    assert reader.queued.lost in (99, 100)  # one may be with the writer
    lost = reader.queued.lost
    found = ""
    while len(found) < filled or f"{ROOM + 99 - lost}\n" not in found[filled:]:
        found += reader.read()
    print("again", file=reader.queued)
    reader.queued.drain(60)
    found += reader.read()
    lines = found[filled:].splitlines()
    assert [x for x in lines if "missing" in x] == [
        f"lumen: {lost} messages are missing here: the reader was too slow"
    ]
    assert lines[-1] == "again"


def test_a_reader_that_is_gone_is_no_error_and_is_noted_once(reader):
    reader.go()
    for _ in range(3):
        print("anybody?", file=reader.queued)
    reader.queued.drain(60)
    assert (reader.queued.lost, reader.queued.why) == (3, "Broken pipe")


def test_standard_error_without_a_file_stays_as_it_is(capsys):
    before = sys.stderr
    stderr.install()
    assert sys.stderr is before
    assert stderr.lost() == (0, None)


def run(code, **more):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, **more)


def test_the_last_message_is_written_at_the_end_of_the_process():
    done = run(
        "import sys; from sources.host import stderr; stderr.install();"
        " print('last', file=sys.stderr)",
        stderr=subprocess.PIPE,
    )
    assert (done.returncode, done.stderr) == (0, b"last\n")


def test_a_closed_standard_error_is_no_other_file(tmp_path):
    path = tmp_path / "data"
    done = run(
        "import os, sys; from sources.host import stderr; stderr.install()\n"
        "from sources.host.signal_shutdown import SignalShutdown\n"
        f"file = open({str(path)!r}, 'w'); file.write('data'); file.flush()\n"
        "print('a message', file=sys.stderr); SignalShutdown()._write('another'); stderr.drain(1)",
        stdout=subprocess.PIPE, preexec_fn=lambda: os.close(2),
    )  # fmt: skip
    assert (done.returncode, done.stdout, path.read_text()) == (0, b"", "data")
