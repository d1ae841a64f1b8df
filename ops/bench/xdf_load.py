"""Cost of loading an XDF file, in time and memory, beside pyxdf.

`python -m ops.bench.xdf_load [FILE ...]`: files of four kinds, or the named files. Each is
loaded in a separate process up to its columns (`Rows`), and by `pyxdf.load_xdf` with its defaults,
synchronised and dejittered. CPU seconds are of all threads; memory is the largest resident size
minus that before the load. Numbers are samples times channels.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ops.fakes.xdf_files import XdfFileStream, regular, write
from ops.text.table import number, table

MINUTES = 5.0


def files(folder: Path) -> Iterator[Path]:
    """Write a file of each kind; yield their paths."""
    seconds = 60 * MINUTES
    for name, streams in {
        "audio, 32 kHz, a stamp a chunk": (
            XdfFileStream("mic", regular(32_000.0, seconds), 32_000.0, "int16", one_stamp=True),
        ),
        "EEG, 500 Hz, 32 channels": (_wide("eeg", 500.0, 32, seconds),),
        "fourteen streams of 50 Hz": tuple(
            XdfFileStream(f"s{k}", regular(50.0, seconds), 50.0, seed=k) for k in range(14)
        ),
        "movement, 120 Hz, 90 channels": (_wide("mocap", 120.0, 90, seconds),),
    }.items():
        path = folder / f"{name}.xdf"
        write(path, *streams)
        yield path


def _wide(name: str, rate_hz: float, width: int, seconds: float) -> XdfFileStream:
    return XdfFileStream(
        name,
        regular(rate_hz, seconds),
        rate_hz,
        "float32",
        labels=tuple(f"c{k}" for k in range(width)),
    )


def ours(path: str) -> tuple[int, int]:
    """Load a file and read all its rows; return samples and numbers."""
    from sources.rows.names import Names
    from sources.xdf import load

    recorded, names, at, count = load(path), Names("studio"), 0, 0
    while at < recorded.samples:
        rows, at = recorded.rows(at, names)
        count += len(rows)
    return recorded.samples, count


def theirs(path: str) -> tuple[int, int]:
    """Load a file with pyxdf; return samples and numbers."""
    import pyxdf

    logging.getLogger("pyxdf").setLevel(logging.CRITICAL)
    series = [stream["time_series"] for stream in pyxdf.load_xdf(path)[0]]
    return sum(map(len, series)), sum(
        x.size if isinstance(x, np.ndarray) else len(x) for x in series
    )


def measure(how: str, path: str) -> None:
    """Print the cost of one load, as JSON."""
    import pyxdf  # noqa: F401 (both begin with the same modules)

    import sources.xdf.xdf  # noqa: F401

    before = _peak()
    begin = time.process_time()
    samples, count = {"ours": ours, "theirs": theirs}[how](path)
    took = time.process_time() - begin
    found = {"samples": samples, "numbers": count, "cpu_s": took, "peak": _peak() - before}
    print(json.dumps(found))


def _peak() -> int:
    """Return the largest resident size so far (bytes); rusage would start with the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def measured(how: str, path: Path) -> dict[str, float]:
    """Return the cost of a load in a separate process."""
    command = [sys.executable, "-m", "ops.bench.xdf_load", "--measure", how, str(path)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(out)
    return found


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--measure", choices=("ours", "theirs"))
    args = parser.parse_args()
    if args.measure:
        measure(args.measure, str(args.files[0]))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for path in args.files or files(Path(folder)):
            one, other = measured("ours", path), measured("theirs", path)
            rows.append(
                [
                    path.stem,
                    f"{one['samples']:,.0f}",
                    number(one["numbers"] / one["cpu_s"], 2, 1e-6),
                    *(number(x["cpu_s"] / x["samples"], 2, 1e6) for x in (one, other)),
                    *(number(x["peak"] / x["numbers"], 1) for x in (one, other)),
                ]
            )
    head = (
        "file",
        "samples",
        "M numbers / CPU s",
        "CPU s / M samples",
        "pyxdf",
        "B a number",
        "pyxdf's",
    )
    print(table(head, rows))


if __name__ == "__main__":
    main()
