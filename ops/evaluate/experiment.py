"""Five instruments simulated, run and measured, seed by seed, with pooled errors."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from configs.schema import RunMode
from flows.run import execute
from ops.evaluate import truth
from ops.evaluate.accuracy import Accuracy, Bar, bars
from ops.evaluate.truth import Truth
from ops.simulate.recording import SimulatedRecording, make
from ops.simulate.scenario import Scenario, laboratory
from ops.text.table import number, table

CONFIG = """\
version: 2
streams:
  - {{name: recording, type: file, path: {recording}, speed: 0}}
signals:
  pulse:
    reference: "ure:pulse"
    members:
{members}
align: {{max_lag_s: 2.5}}
output: {{dir: {out}}}
"""


def config(scenario: Scenario, recording: Path, out: Path) -> str:
    """Return the configuration that replays a recording of `scenario` into `out`."""
    members = "\n".join(f'      "{s.channel}": {{group: {s.group}}}' for s in scenario.sensors)
    return CONFIG.format(recording=recording, members=members, out=out)


def measure(
    seeds: Iterable[int],
    snr_db: float,
    seconds: float = 600.0,
    members: int = 5,
    gains: float = 0.0,
) -> Accuracy:
    """Simulate, run and measure each seed, in this process."""
    found = Accuracy()
    for run in runs(seeds, snr_db, seconds, members=members, gains=gains):
        found.add(*run)
    return found


def runs(
    seeds: Iterable[int],
    snr_db: float,
    seconds: float = 600.0,
    mode: RunMode = "causal",
    members: int = 5,
    gains: float = 0.0,
) -> Iterator[tuple[Path, SimulatedRecording, Truth]]:
    """Yield results, recording and truth of each seed; the next seed removes the results.

    With unequal gains, the reference defines the scale of the signal.
    """
    for seed in seeds:
        with tempfile.TemporaryDirectory() as place:
            recording = make(laboratory(seed, snr_db, seconds, members, gains), seed)
            path = Path(place, "laboratory.ndjson")
            recording.write(path)
            chosen = Path(place, "laboratory.yaml")
            text = config(recording.scenario, path, Path(place, "out"))
            if gains:
                text = text.replace("    members:", '    scale: "ure:pulse"\n    members:')
            chosen.write_text(f"{text}mode: {mode}\n", "utf-8")
            yield execute(chosen, progress=False), recording, truth.load(path)


def show(
    figures: dict[float, dict[str, float]],
    bars_of: Callable[[float], tuple[Bar, ...]] = bars,
) -> str:
    """Return a table of figures by signal-to-noise ratio (dB), each beside its bar.

    Parameters
    ----------
    bars_of : callable
        Returns the bars of a ratio; those of pooled seeds by default.
    """
    ratios = list(figures)
    rows = []
    for bar, *others in zip(*(bars_of(r) for r in ratios), strict=True):
        row = [bar.name]
        for each, r in zip((bar, *others), ratios, strict=True):
            figure = figures[r][bar.key]
            row += [number(figure, bar.digits) + (" " if each.holds(figure) else "!"), each.text()]
        rows.append(row)
    head = ["", *(name for r in ratios for name in (f"{r:.0f} dB", "bar"))]
    return table(head, rows)
