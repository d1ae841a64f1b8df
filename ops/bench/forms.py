"""Recordings of each form: cost of decoding beside JSON lines, and peak memory by length.

`python -m ops.bench.forms [--events N] [--rounds N]`

The same events (`events`) as JSON lines, CSV, Parquet, Arrow and MCAP. Each file of 4 N events is
decoded by a process of its own: CPU seconds with those of its helper process, less those of an
empty program. `numpy` is the decoder of JSON lines without compiled loops. `robot.mcap` has JSON
messages of another program, with four numbers each. Then whole replays of N and of 4 N events: peak
memory of the run, and of the helper process.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ops.bench.throughput import MAX_GROWTH_MIB, Race, spend
from ops.text.table import table

FORMS = (".ndjson", ".csv", ".parquet", ".arrow", ".mcap")
_DECODE = """
import resource, sys
from sources.opening import open_recording, reader_at
from sources.replay.recording_reader import rows_of
from sources.rows.names import Names
path = sys.argv[1]
reader, recording, names = reader_at(path), open_recording(path), Names("bench")
count = 0
while not recording.ended:
    for piece in recording.read():
        for rows in rows_of(piece, reader, names):
            count += len(rows)
recording.close()
print(count, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
_START = _DECODE.partition("path =")[0]
_ROBOT = """
import json, sys
from mcap.writer import Writer
with open(sys.argv[1], "wb") as file:
    writer = Writer(file)
    writer.start()
    arm = writer.register_channel("/arm", "json", 0)
    for i in range(int(sys.argv[2])):
        at = 1_700_000_000_000_000_000 + i * 10_000_000
        content = {"pose": {"x": i / 7, "y": i / 9, "z": [i % 3, 0.5]}, "name": "arm", "ok": True}
        writer.add_message(arm, at + 3_000_000, json.dumps(content).encode(), at)
    writer.finish()
"""
MAX_MESSAGE_US = 20.0


class Forms(Race):
    """A recording in each form."""

    def __init__(self, folder: Path, events: int) -> None:
        super().__init__(folder, events, arrival=True)
        self.plain, self.text = self.recording, self.config.read_text()
        for form in FORMS[1:]:
            spend(["-m", "ops", "convert", str(self.plain), str(self.path(form))])

    def path(self, form: str) -> Path:
        """Return the file of a form."""
        return self.plain.with_suffix(form)

    def choose(self, form: str) -> None:
        """Use a form in the following replays."""
        self.config.write_text(
            self.text.replace(json.dumps(str(self.plain)), json.dumps(str(self.path(form))))
        )


def decoding(forms: Forms, events: int, rounds: int) -> Iterator[str]:
    """Yield the cost of decoding each form, and that of a message of another program."""
    robot, messages = forms.plain.with_name("robot.mcap"), events // 16
    spend(["-c", _ROBOT, str(robot), str(messages)])
    cases = [(form, forms.path(form), "1", events) for form in FORMS]
    cases.insert(1, (".ndjson numpy", forms.plain, "0", events))
    cases.append(("robot.mcap", robot, "1", messages))
    spent: dict[str, list[float]] = {name: [] for name, *_ in cases}
    for _ in range(rounds):
        start = spend(["-c", _START]).cpu_s
        for name, path, native, count in cases:
            cpu_s = spend(["-c", _DECODE, str(path)], LUMEN_NATIVE=native).cpu_s - start
            spent[name].append(cpu_s / count * 1e6)
    rows = []
    for name, path, _, count in cases:
        us = min(spent[name])
        ratios = [min(spent[base]) / us for base in (".ndjson", ".ndjson numpy")]
        over = ["", ""] if name == "robot.mcap" else [f"{ratio:.2f}" for ratio in ratios]
        rows.append([name, f"{us:.3f}", *over, f"{path.stat().st_size / count:.1f}"])
    titles = ["from", "CPU us each", "over .ndjson", "over numpy", "bytes each"]
    yield table(titles, rows)
    yield f"robot.mcap: {min(spent['robot.mcap']):.1f} us a message (bar {MAX_MESSAGE_US:.0f})"


def growth(one: Forms, four: Forms, events: int) -> Iterator[str]:
    """Yield the peak memory of a replay of each form, and of four times as many events."""
    peaks: dict[str, list[float]] = {form: [] for form in FORMS}
    for own in (one, four):
        for form in FORMS:
            own.choose(form)
            peaks[form].append(own.flow().peak_mib)
            kib = int(spend(["-c", _DECODE, str(own.path(form))]).output.split()[1])
            peaks[form].append(kib / 1024)
    rows = [
        [form, f"{a:.0f}", f"{b:.0f}", f"{b - a:+.1f}", f"{x:.0f}" if x else "",
         f"{y - x:+.1f}" if x else ""]
        for form, (a, x, b, y) in peaks.items()
    ]  # fmt: skip
    yield table(
        ["from", f"MiB {events:,}", f"MiB {4 * events:,}", "growth", "helper", "growth"], rows
    )
    worst = max(abs(b - a) for a, _, b, _ in peaks.values())
    yield f"largest growth: {worst:.1f} MiB (bar {MAX_GROWTH_MIB:.0f})"
    if worst > MAX_GROWTH_MIB:
        raise SystemExit("more memory than the bar allows")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lumen-") as name:
        folder = Path(name)
        one, four = Forms(folder, args.events), Forms(folder, 4 * args.events)
        for line in decoding(four, 4 * args.events, args.rounds):
            print(line, flush=True)
        for line in growth(one, four, args.events):
            print(line, flush=True)


if __name__ == "__main__":
    main()
