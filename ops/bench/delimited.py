"""Speed of delimited text to columns, beside numpy's reader: `python -m ops.bench.delimited`."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from ops.text.table import table
from sources.opening import reader_at
from sources.rows.names import Names

_READ = 1 << 20
_KINDS = {
    "seconds": ("time", "{:.3f}", 1.73e9, 1.0),
    "nanoseconds": ("time", "{:.0f}", 1.73e18, 1e9),
    "dates": ("time", "", 0.0, 1.0),
}


def written(path: Path, kind: str, lines: int, channels: int, seed: int) -> None:
    """Write a file with a number of lines and channels."""
    rng = np.random.default_rng(seed)
    name, form, begin, unit = _KINDS[kind]
    at = np.arange(lines) / 100
    if form:
        times = [form.format(begin + t * unit) for t in at.tolist()]
    else:
        moments = np.datetime64("2024-10-27T03:33:20", "ms") + (at * 1000).astype(np.int64)
        times = np.datetime_as_string(moments).tolist()
    cells = np.char.mod("%.5f", rng.normal(size=(lines, channels))).tolist()
    with path.open("w") as file:
        file.write(f"{name}," + ",".join(f"c{i}" for i in range(channels)) + "\n")
        file.writelines(f"{t},{','.join(row)}\n" for t, row in zip(times, cells, strict=True))


def seconds(path: Path) -> tuple[float, int]:
    """Return the CPU seconds from bytes to columns, and the count of numbers."""
    data = path.read_bytes()
    began = time.process_time()
    reader, names, at, count = reader_at(str(path)), Names("studio"), 0, 0
    while at < len(data):
        end = data.rfind(b"\n", at, at + _READ) + 1
        count += len(reader.decode(data[at:end], at, names))
        at = end
    return time.process_time() - began, count


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--channels", type=int, default=8)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        for kind in _KINDS:
            written(path, kind, args.lines, args.channels, 0)
            spent, count = min(seconds(path) for _ in range(3))
            theirs = ""
            if kind != "dates":
                began = time.process_time()
                np.loadtxt(path, delimiter=",", skiprows=1)
                theirs = f"{count / (time.process_time() - began) / 1e6:.2f}"
            rows.append([kind, f"{count / spent / 1e6:.2f}", theirs])
    print(table(["million numbers a CPU second", "ours", "numpy.loadtxt"], rows))


if __name__ == "__main__":
    main()
