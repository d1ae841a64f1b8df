"""A replay from Parquet, from Arrow and from JSON lines, beside polars' as-of join from JSON lines.

`python -m ops.bench.columnar [--rounds N] [--events N] [--growth]`

The same recording in each form (`throughput`), in turn: CPU seconds of the process and of the one
that decodes, from `wait4`; only ratios within a round are significant. The results of all forms are
compared. The decoding alone is measured in the same rounds.

`--growth` instead compares the peak memory with that of four times as many events.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ops.bench.throughput import CONFIG, HZ, MAX_GROWTH_MIB, MAX_MIB, Race, has_polars, spend
from ops.text.table import table

_FORMS = (".ndjson", ".parquet", ".arrow")
_DECODE = """
import sys
from sources.opening import open_recording, reader_at
from sources.replay.recording_reader import rows_of
from sources.rows.names import Names
path = sys.argv[1]
reader, recording, names = reader_at(path), open_recording(path), Names("bench")
count = 0
while not recording.ended:
    for piece in recording.read():
        count += sum(map(len, rows_of(piece, reader, names)))
recording.close()
"""


class FormRace(Race):
    """A race whose recording is converted to each form."""

    def __init__(self, folder: Path, events: int) -> None:
        super().__init__(folder, events, arrival=True)
        self.plain = self.recording
        for form in _FORMS[1:]:
            spend(["-m", "ops", "convert", str(self.plain), str(self._file(form))])

    def _file(self, form: str) -> Path:
        return self.plain.with_suffix(form)

    def choose(self, form: str) -> None:
        """Use the recording in a form."""
        path, out = json.dumps(str(self._file(form))), json.dumps(str(self.out))
        self.config.write_text(CONFIG.format(path=path, out=out, hz=HZ))

    def size(self, form: str) -> int:
        """Return the size of the recording in a form (bytes)."""
        return self._file(form).stat().st_size

    def digest(self) -> str:
        """Return the SHA-256 of the results."""
        digest = hashlib.sha256()
        for path in sorted(self.out.glob("*.jsonl")):
            with path.open("rb") as file:  # in pieces: a child begins with the peak of its parent
                while data := file.read(1 << 20):
                    digest.update(data)
        return digest.hexdigest()


def speed(race: FormRace, events: int, rounds: int) -> Iterator[str]:
    """Yield the CPU time of each form, and its ratio to the join."""
    beside = has_polars()
    spent: dict[str, list[float]] = {form: [] for form in _FORMS}
    decoded: dict[str, list[float]] = {form: [] for form in _FORMS}
    peaks = dict.fromkeys(_FORMS, 0.0)
    joins: list[float] = []
    digests = set()
    start: list[float] = []
    for _ in range(rounds):
        start.append(spend(["-c", _DECODE.partition("path =")[0]]).cpu_s)
        for form in _FORMS:
            race.choose(form)
            usage = race.flow()
            spent[form].append(usage.cpu_s)
            peaks[form] = max(peaks[form], usage.peak_mib)
            decoded[form].append(spend(["-c", _DECODE, str(race.plain.with_suffix(form))]).cpu_s)
            digests.add(race.digest())
        if beside:
            joins.append(race.join().cpu_s)
    rows = []
    for form in _FORMS:
        ratio = ""
        if beside:
            pairs = zip(joins, spent[form], strict=True)
            ratio = f"{statistics.median(join / own for join, own in pairs):.2f}"
        per_million = 1e6 / events
        decode = (min(decoded[form]) - min(start)) * per_million
        rows.append(
            [
                form,
                f"{min(spent[form]) * per_million:.2f}",
                f"{decode:.2f}",
                ratio,
                f"{peaks[form]:.0f}",
                f"{race.size(form) / events:.1f}",
            ]
        )
    titles = ["from", "CPU s a 1e6", "decode alone", "over the join", "peak MiB", "bytes an event"]
    yield table(titles, rows)
    yield f"results of {len(_FORMS)} forms: {len(digests)} different"
    if len(digests) != 1:
        raise SystemExit("the forms give unlike results")


def growth(folder: Path, events: int) -> Iterator[str]:
    """Yield the peak memory from Parquet, and that of four times as many events."""
    peaks = []
    for n in (events, 4 * events):
        race = FormRace(folder, n)
        race.choose(".parquet")
        peaks.append(race.flow().peak_mib)
        yield f"{n:,} events: peak {peaks[-1]:.1f} MiB (bar {MAX_MIB:.0f})"
    yield f"growth: {peaks[1] - peaks[0]:+.1f} MiB (bar {MAX_GROWTH_MIB:.0f})"
    if max(peaks) > MAX_MIB or peaks[1] - peaks[0] > MAX_GROWTH_MIB:
        raise SystemExit("more memory than the bar allows")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--growth", action="store_true", help="memory of 4 times as many events")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.growth:
            lines = growth(folder, args.events)
        else:
            lines = speed(FormRace(folder, args.events), args.events, args.rounds)
        for line in lines:
            print(line, flush=True)


if __name__ == "__main__":
    main()
