"""Five instruments recorded, run and measured: one seed after the other, errors pooled."""

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
    """Record, run and measure each seed, in this process."""
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
    """Yield each seed's results, recording and truth; the results are there until the next.

    Where gains differ, the reference's scale is the signal's.
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
    asked: Callable[[float], tuple[Bar, ...]] = bars,
) -> str:
    """Return the table of figures by signal-to-noise ratio (dB), a bar beside each.

    Parameters
    ----------
    asked : callable
        Returns the bars of a ratio; of many seeds pooled by default.
    """
    ratios = list(figures)
    rows = []
    for bar, *others in zip(*(asked(r) for r in ratios), strict=True):
        row = [bar.what]
        for each, r in zip((bar, *others), ratios, strict=True):
            figure = figures[r][bar.key]
            row += [number(figure, bar.digits) + (" " if each.holds(figure) else "!"), each.told()]
        rows.append(row)
    head = ["", *(name for r in ratios for name in (f"{r:.0f} dB", "bar"))]
    return table(head, rows)
