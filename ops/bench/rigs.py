"""Many rigs in one recording: CPU time an event, share of a core a rig, memory, files.

`python -m ops.bench.rigs [--rigs N ...] [--events N] [--stamped]`

All rigs are in one file, in order of arrival; each has 190 events/s and a grid of 5 Hz. A rig has
two streams without a recorded arrival, or with `--stamped` five streams with clocks and lags of
their own, as in `chain`. Each run is a process of its own: CPU seconds with start and imports, from
`wait4`. More rigs have shorter recordings.

Last come the bytes of the state of one rig at each station, read in blocks and live.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from flows.fusion import stations
from flows.stations import Settings, StationLine
from operators.collect import BlockRule, CollectConfig
from operators.snapshot import encode_state
from ops.bench.chain import BEGIN, Case, batches, configuration, movement
from ops.bench.throughput import spend
from ops.text.table import table

PLAIN_HZ = (100.0, 90.0)
STAMPED_HZ = (20.0, 25.0, 31.7, 50.0, 64.0)
SHORTEST_S, LONGEST_S, STATE_S = 12, 600, 300
LIVE_BLOCK_S = 0.05
CONFIG = """version: 2
rig: bench
max_rigs: 16384
streams:
  - {{name: recording, type: file, path: {path}, speed: 0{more}}}
signals:
  pulse:
    reference: "s0:x"
    members: {{{members}}}
align: {{max_lag_s: 2.5}}
resample: {{target_hz: 5}}
output: {{dir: {out}}}
"""


def rows_of_rig(seconds: int, stamped: bool) -> np.ndarray:
    """Return the events of a rig: stream, source time, arrival, value (4, n), by arrival."""
    columns = ("name", "ts", "rx", "value")
    if stamped:
        _, parts = batches(Case("rig", STAMPED_HZ, seconds, 10.0, 5.0))
        return np.concatenate([[getattr(p, c) for c in columns] for p in parts], axis=1)
    counts = [int(seconds * hz) for hz in PLAIN_HZ]
    t = np.concatenate([np.arange(n) / hz for n, hz in zip(counts, PLAIN_HZ, strict=True)])
    stream = np.repeat(np.arange(len(PLAIN_HZ)), counts)
    rows = np.array([stream, BEGIN + t, BEGIN + t, movement(t, 3)])
    return rows[:, np.argsort(t, kind="stable")]


def write(path: Path, rigs: int, seconds: int, stamped: bool) -> int:
    """Write a recording of rigs that begin within one second; return the number of events."""
    rows = rows_of_rig(seconds, stamped)
    shift = np.random.default_rng(5).random(rigs)
    meta = ',"meta":{"rx":%.6f}' if stamped else ""
    line = '{"ts":%.6f,"rig":"rig_%d","source":"s%d","key":"x","value":%.6f' + meta + "}\n"
    edges = np.searchsorted(rows[2], BEGIN + np.arange(seconds + 2.0)).tolist()
    with path.open("w", encoding="utf-8") as file:
        for a, b in zip(edges, [*edges[1:], rows.shape[1]], strict=True):
            rig = np.repeat(np.arange(rigs), b - a)
            stream, ts, rx, value = np.tile(rows[:, a:b], rigs)
            ts, rx = ts + shift[rig], rx + shift[rig]
            order = np.argsort(rx, kind="stable")
            columns = [ts, rig, stream, value, rx][: 5 if stamped else 4]
            made = zip(*(c[order].tolist() for c in columns), strict=True)
            file.writelines(line % row for row in made)
    return rigs * len(rows[0])


def config_of(recording: Path, out: Path, stamped: bool, more: str = "") -> str:
    """Return the configuration of a recording, with `more` settings of its stream."""
    count = len(STAMPED_HZ if stamped else PLAIN_HZ)
    groups = ["sensors" if k else "ure" for k in range(count)]
    members = ", ".join(f'"s{k}:x": {{group: {group}}}' for k, group in enumerate(groups))
    path, written = json.dumps(str(recording)), json.dumps(str(out))
    return CONFIG.format(path=path, out=written, members=members, more=more)


def measure(folder: Path, rigs: int, events: int, stamped: bool) -> tuple[str, ...]:
    """Run the flow on one recording; return the row of the table."""
    rates = STAMPED_HZ if stamped else PLAIN_HZ
    seconds = int(min(max(events / (sum(rates) * rigs), SHORTEST_S), LONGEST_S))
    recording, out, config = folder / "rigs.ndjson", folder / "out", folder / "rigs.yaml"
    count = write(recording, rigs, seconds, stamped)
    config.write_text(config_of(recording, out, stamped), "utf-8")
    used = spend(["-m", "bytewax.run", f"flows.fusion:flow({str(config)!r}, progress=False)"])
    run = json.loads((out / "run.json").read_bytes())
    if not (run["ended"] and run["balanced"]) or run["account"]["total"]["received"] != count:
        raise RuntimeError(f"{rigs} rigs: the run did not end, or lacks events")
    if len(list(out.glob("rig_*"))) != (rigs if rigs > 1 else 0):
        raise RuntimeError(f"{rigs} rigs: a rig has no folder")
    return (
        f"{rigs:,}",
        f"{seconds}",
        f"{count:,}",
        f"{1e6 * used.cpu_s / count:.2f}",
        f"{100 * used.cpu_s / (seconds * rigs):.3f}",
        f"{used.peak_mib:.0f}",
        f"{len(run['files']):,}",
    )


def state_sizes(block_s: BlockRule) -> dict[str, int]:
    """Return the bytes of each station's state in the middle of a recording, and of all."""
    case = Case("rig", STAMPED_HZ, STATE_S, 10.0, 5.0)
    collect = CollectConfig(block_s=block_s)
    line = StationLine()
    stations(line, line.add, Settings.of(replace(configuration(case), collect=collect)))
    for batch in batches(case)[1][:-1]:
        line.feed(batch)
    sizes = {n: len(encode_state(core.snapshot(), n, "")) for n, core in line.cores.items()}
    return {**sizes, "all": sum(sizes.values())}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rigs", type=int, nargs="+", default=[1, 64, 200, 1000])
    parser.add_argument("--events", type=int, default=1_000_000, help="of a recording, about")
    parser.add_argument("--stamped", action="store_true", help="five streams, each with a clock")
    args = parser.parse_args()
    head = ("rigs", "seconds", "events", "us an event", "% of a core a rig", "peak MiB", "files")
    rows = []
    for rigs in args.rigs:
        with tempfile.TemporaryDirectory() as name:
            rows.append(measure(Path(name), rigs, args.events, args.stamped))
    print(table(head, rows))
    print()
    blocks, live = state_sizes("density"), state_sizes(LIVE_BLOCK_S)
    sizes = [(name, f"{blocks[name]:,}", f"{live[name]:,}") for name in blocks]
    print(table(("state of a rig, bytes", "recorded", "live"), sizes))


if __name__ == "__main__":
    main()
