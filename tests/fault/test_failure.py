"""A run that cannot go on ends with three lines that name the path and the remedy."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from configs.files import PRIVATE
from flows.failure import FailureWatch, report
from ops.bench.kill_points import configuration
from ops.cli.verify import digests, write_config
from sources.host.signal_shutdown import SignalShutdown
from sources.recordings.recording import UnusableError

ROOT = Path(__file__).parents[2]
BROKEN = """
import sys
from operators.drift.drift import Drift
def update(self, packet):
    raise ZeroDivisionError("divided")
Drift.update = update
from ops.__main__ import main
main(["run", sys.argv[1]])
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Return a configuration, and the digests of a quiet run."""
    folder = tmp_path_factory.mktemp("plain")
    config = configuration(folder)
    path = write_config(config, folder / "plain.yaml", folder / "plain")
    assert run("-m", "ops", "run", path).returncode == 0
    return config, digests(folder / "plain")


def run(*arguments, room=None):
    """Run Python, its files no larger than `room` bytes: a write beyond fails as on a full disk."""

    def limit():
        if room is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, text=True, timeout=120,
        capture_output=True, preexec_fn=limit,
    )  # fmt: skip


def engine(path):
    return ("-m", "bytewax.run", f"flows.fusion:flow({str(path)!r})")


@pytest.mark.parametrize("of", ["lumen", "engine"])
def test_a_full_disk_under_the_output_is_three_lines_with_the_path(plain, tmp_path, of):
    path = write_config(plain[0], tmp_path / "run.yaml", tmp_path / "out")
    done = run(*(engine(path) if of == "engine" else ("-m", "ops", "run", path)), room=30_000)
    assert done.returncode == 1
    first, second, third = done.stderr.splitlines()
    assert first.startswith(f"lumen: {tmp_path / 'out'}/")
    assert "cannot write: File too large" in first
    assert str(tmp_path / "out") in second
    assert "start the same command again" in third
    assert "Traceback" not in done.stdout + done.stderr


def test_a_full_disk_under_the_store_is_three_lines_and_resumes_identically(plain, tmp_path):
    config, expected = plain
    path = write_config(config, tmp_path / "run.yaml", tmp_path / "out")
    arguments = ("-m", "ops", "run", path, "--recover", tmp_path / "store", "--snapshot-s", 0)
    for room in (20_000, 40_000, 200_000):
        done = run(*arguments, room=room)
        assert done.returncode in (1, 2)
        assert len(done.stderr.splitlines()) <= 3
        assert str(tmp_path) in done.stderr.splitlines()[0]
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "out") == expected


def test_a_bug_leaves_its_traceback_in_a_file_and_three_lines(plain, tmp_path):
    path = write_config(plain[0], tmp_path / "run.yaml", tmp_path / "out")
    done = run("-c", BROKEN, path)
    assert done.returncode == 1
    first, _, third = done.stderr.splitlines()
    assert first.startswith("lumen: a bug: StationError: station drift, rig ")
    assert "ZeroDivisionError: divided" in first
    kept = tmp_path / "out/traceback.txt"
    assert str(kept) in third
    text = kept.read_text()
    assert "ZeroDivisionError: divided" in text
    assert "in update\n" in text
    assert "panicked at" in text, "what the engine wrote is in it too"
    assert kept.stat().st_mode & 0o777 == 0o600

    done = run("-m", "ops", "run", path)
    assert done.returncode == 0, "the folder is still a run's"
    assert kept.exists()


def test_what_is_no_panic_is_passed_on_to_standard_error():
    code = (
        "import os\nfrom flows.failure import FailureWatch\n"
        "from sources.host.signal_shutdown import SignalShutdown\n"
        "watch = FailureWatch(SignalShutdown())\n"
        "os.write(2, b'of a library\\n')\nimport sys\nprint('of Python', file=sys.stderr)\n"
        "os.write(2, b\"of it\\nthread '<unnamed>' panicked at here\\n\")\n"
        "os.write(2, b'more\\n')\n"
        "watch.close()\nos.write(2, b'after\\n')\nprint(watch.panic.decode(), end='')"
    )
    done = run("-c", code)
    assert sorted(done.stderr.splitlines()) == ["after", "of Python", "of a library", "of it"]
    assert done.stdout.splitlines() == ["thread '<unnamed>' panicked at here", "more"]


def test_a_closed_standard_error_is_no_fault():
    code = (
        "import os\nos.close(2)\nfrom flows.failure import FailureWatch\n"
        "from sources.host.signal_shutdown import SignalShutdown\n"
        "watch = FailureWatch(SignalShutdown())\nwatch.close()\nprint('done')"
    )
    assert run("-c", code).stdout == "done\n"


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_watch_leaves_no_descriptor_and_no_thread_behind(capfd):
    before = descriptors()
    for _ in range(3):
        FailureWatch(SignalShutdown()).close()
    assert descriptors() == before


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OSError(28, "No space left on device", "/x/y"), 1, "/x/y: No space left on device"),
        (UnusableError("/x/tape.json: cannot be read"), 2, "/x/tape.json: cannot be read"),
        (FileNotFoundError("recording not found: /x"), 2, "recording not found: /x"),
        (RuntimeError("Err: SqliteFailure(DiskFull)"), 1, "no space left on the disk"),
        (OSError(5, "http://u:p@host/?token=secret", "/x"), 1, "http://***@host/?***"),
        (KeyError("k\x1b[2J"), 1, "a bug: KeyError: 'k\\x1b[2J'"),
    ],
)
def test_each_kind_of_error_has_its_lines(tmp_path, error, code, line):
    failure = report(error, tmp_path, PRIVATE, tmp_path / "store")
    text = "\n".join(failure.lines())
    assert failure.exit_code == code
    assert line in text
    assert "\x1b" not in text
    assert len(text.splitlines()) <= 3
