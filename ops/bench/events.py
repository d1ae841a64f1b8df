"""A recording for the throughput figures: two streams of about 100 Hz, out of order by 3 ms.

`python -m ops.bench.events FILE [--events N] [--arrival]`
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

BEGIN = 1_700_000_000.0
HZ = 100.0
JITTER_S = 0.003
DELAY_S = 0.012
_PART = 100_000


def write_events(path: Path, events: int, *, arrival: bool = False, seed: int = 2) -> None:
    """Write the recording, plain.

    One movement of 0.1 and 0.23 Hz: `ure` has values of 0 to 1, `osc_1` of 0 to 127 with a lag of
    4 ms; both with white noise.

    Parameters
    ----------
    path : Path
    events : int
        Number of events of both streams.
    arrival : bool
        Events carry `meta.rx`, 12 ms after their nominal time, and `meta.seq`.
    seed : int
        Seed of the noise.
    """
    rng = np.random.default_rng(seed)
    with path.open("w") as file:
        for first in range(0, events, _PART):
            i = np.arange(first, min(first + _PART, events))
            stream, due = i % 2, BEGIN + (i // 2) / HZ + (i % 2) * 0.004
            ts = due + JITTER_S * rng.standard_normal(len(i))
            phase = 2 * np.pi * (due - BEGIN)
            moved = 0.5 + 0.25 * np.sin(0.1 * phase) + 0.15 * np.sin(0.23 * phase)
            value = (moved + 0.02 * rng.standard_normal(len(i))) * np.where(stream, 127.0, 1.0)
            rows = zip(*(c.tolist() for c in (i, stream, ts, value, due + DELAY_S)), strict=True)
            file.writelines(_line(arrival, *row) for row in rows)


def _line(arrival: bool, i: int, stream: int, ts: float, value: float, rx: float) -> str:
    meta = f', "meta": {{"rx": {rx:.6f}, "seq": {i // 2}}}' if arrival else ""
    source = "osc_1" if stream else "ure"
    return (
        f'{{"ts": {ts:.6f}, "source": "{source}", "key": "velocity", "value": {value:.6f}{meta}}}\n'
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--arrival", action="store_true", help="events carry meta.rx")
    args = parser.parse_args()
    write_events(args.file, args.events, arrival=args.arrival)


if __name__ == "__main__":
    main()
