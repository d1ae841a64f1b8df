"""CPU time of the compiled loops and of their Python forms, each alone and in a whole replay.

`python -m ops.bench.compiled_loops [--rounds N] [--events N]`: the two forms take turns; the least
time of each is its cost. The extension must have been made (`make native`). The outputs of the two
forms are compared byte by byte.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ops.bench.throughput import Race, has_polars
from ops.text.table import table

TICKS, READINGS = 12_000, 24
LINES = 20 << 20
"""Bytes of the recording that are decoded."""


class Loop(NamedTuple):
    """A loop of so many `units` of a kind; `run` returns its output."""

    name: str
    unit: str
    units: int
    run: Callable[[], bytes]


def loops(recording: Path) -> Iterator[Loop]:
    """Yield the loops, each with its input."""
    # Here, not above: processes that are measured start with the peak memory of this one.
    import numpy as np

    from operators.align.coarse_grid import Coarse
    from operators.align.lag_trend import CORRECTED, fitted, motions
    from operators.numeric import sinc
    from operators.records import Fused, FusedSignal
    from operators.types import MODES
    from sinks.files.encode import fused_lines
    from sources.ndjson import Decoder
    from sources.recordings.recording import READ
    from sources.rows.names import Names

    rng = np.random.default_rng(7)
    with recording.open("rb") as file:
        text = file.read(LINES) + file.readline()

    def decode() -> bytes:
        decoder, names, at, out = Decoder("bench"), Names("bench"), 0, []
        while at < len(text):
            end = text.rfind(b"\n", at, at + READ) + 1
            rows = decoder.decode(text[at:end], at, names)
            out += [x.tobytes() for x in (rows.name, rows.ts, rows.value, rows.rx, rows.seq)]
            at = end
        return b"".join(out)

    yield Loop("decode", "line", text.count(b"\n"), decode)
    k_of = sinc.kernel(40.0, 0.1, 100.0)
    node = np.sort(rng.integers(0, TICKS << sinc.BITS, TICKS))
    cell, value = rng.random(TICKS), rng.standard_normal(TICKS)

    def sums() -> bytes:
        run = sinc.TickRun(0, TICKS, k_of)
        return sinc.weigh([run], node, cell, value, None, TICKS).tobytes()

    yield Loop("kernel sums", "tick", TICKS, sums)
    coarse = np.sort(rng.uniform(-1.0, 61.0, TICKS))

    def stretch() -> bytes:
        grid = Coarse(10.0, [False, False], 2.0)
        for lane in (0, 1):
            grid.push(lane, coarse, value, coarse + 0.01)
        return grid.read(0, 600).tobytes()

    yield Loop("coarse stretch", "row", 2 * TICKS, stretch)
    at, var = np.arange(0.0, 10.0 * READINGS, 10.0), np.full(READINGS, 1e-8)
    readings, kinds = rng.standard_normal(READINGS) * 1e-4, motions("auto", *CORRECTED)

    def trend() -> bytes:
        found, path = fitted(at, readings, var, 10.0 * READINGS, kinds)
        return np.append(path, found).tobytes()

    yield Loop("trend of a lag", "reading", READINGS, trend)
    ts, flat = (170_000_000_000 + np.arange(TICKS)) / 100.0, np.zeros(TICKS, np.int64)
    signal = FusedSignal(
        "velocity", ("ure:velocity", "osc_1:velocity"), rng.random(TICKS), rng.random(TICKS),
        rng.random(TICKS), flat, flat + 2, np.full((TICKS, 2), 0.5),
    )  # fmt: skip
    calm, none = np.full((TICKS, 5), np.nan), np.empty((TICKS, 0))
    ticks = Fused(
        ts, ts + 0.7, flat + MODES.index("fused"), flat + 2, (signal,), calm, calm, calm, none, (),
        rng.random(TICKS), rng.random(TICKS),
    )  # fmt: skip
    yield Loop("encode", "tick", TICKS, lambda: fused_lines(ticks, "bench"))


def alone(recording: Path, rounds: int) -> Iterator[list[str]]:
    """Yield a row a loop: cost of its forms (us a unit), and their ratio.

    Raises
    ------
    RuntimeError
        The forms differ in a byte.
    """
    from operators import native

    forms = (None, native.kernels)
    for loop in loops(recording):
        least, outputs = [float("inf")] * 2, [b""] * 2
        for _ in range(rounds):
            for i, form in enumerate(forms):
                native.kernels = form
                begin = time.process_time()
                outputs[i] = loop.run()
                least[i] = min(least[i], time.process_time() - begin)
        if outputs[0] != outputs[1]:
            raise RuntimeError(f"{loop.name}: the forms differ")
        python, compiled = (1e6 * cpu_s / loop.units for cpu_s in least)
        yield [loop.name, loop.unit, f"{python:.3f}", f"{compiled:.3f}", f"{python / compiled:.1f}"]


def replays(race: Race, events: int, rounds: int) -> Iterator[str]:
    """Yield the results of whole replays in both forms, beside the join where polars is."""
    forms = {"python": "0", "compiled": "1"}
    least, sums = dict.fromkeys(forms, float("inf")), {}
    beside, joined = has_polars(), float("inf")
    for _ in range(rounds):
        for name, switch in forms.items():
            least[name] = min(least[name], race.flow(LUMEN_NATIVE=switch).cpu_s)
            files = sorted(race.out.rglob("*.jsonl"))
            sums[name] = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
        joined = min(joined, race.join().cpu_s) if beside else joined
    if sums["python"] != sums["compiled"]:
        raise RuntimeError("the replays differ")
    for name, cpu_s in least.items():
        ratio = f"; {joined / cpu_s:.3f} of the join" if beside else ""
        yield f"{name}: {cpu_s:.2f} CPU s, {1e6 * cpu_s / events:.2f} us an event{ratio}"
    yield f"gain of a whole replay: {1 - least['compiled'] / least['python']:.1%}; bytes are equal"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        race = Race(Path(name), args.events, arrival=False)
        lines = list(replays(race, args.events, args.rounds))
        from operators import native

        if native.kernels is None:
            raise SystemExit(f"{native.form}: make native")
        rows = list(alone(race.recording, args.rounds))
    print(table(["loop", "unit", "python us", "compiled us", "ratio"], rows))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
