"""Half an hour of the beat clock: the whole flow over a simulated reference.

    python -m ops.bench.half_hour [--seconds 1800] [--seed 1]

The configuration is `configs/bridge.yaml` with the default window of 90 s. Steady beats of 5 Hz
(5 ms of jitter, 200 ppm of drift) and two instruments are replayed at full speed. Over the ticks in
E2 and E3 the largest `phase_diff` is at most 0.03 cycles, and the 5th percentile of `sync_quality`
at least 0.85; otherwise the exit code is 1.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path

import numpy as np

from flows.run import execute
from operators.bridge.protocol import SENT
from ops.results.folder import Results
from ops.simulate.beats import PROFILES
from ops.simulate.recording import make
from ops.simulate.scenario import band
from ops.text.table import table

MAX_PHASE_DIFF, MIN_SYNC_P05 = 0.03, 0.85
SHIPPED = Path(__file__).parents[2] / "configs" / "bridge.yaml"


def configuration(recording: Path, out: Path) -> str:
    """Return the shipped configuration over another recording, at full speed."""
    text = SHIPPED.read_text("utf-8")
    text, streams = re.subn(r"path: \S+, speed: 1", f"path: {recording}, speed: 0", text)
    text, windows = re.subn("rebalance_window_s: 12", "rebalance_window_s: 90", text)
    text, outputs = re.subn(r"(?m)^exporter: .*\noutput: .*", f"output: {{dir: {out}}}", text)
    assert (streams, windows, outputs) == (1, 1, 1), "configs/bridge.yaml has another form"
    return text


def main() -> int:
    """Print the figures; 1 beyond a limit."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.bench.half_hour",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lumen-half-hour-") as name:
        folder = Path(name)
        recording, config = folder / "beats.ndjson.gz", folder / "bridge.yaml"
        make(band(PROFILES["steady"](args.seconds), args.seconds), args.seed).write(recording)
        config.write_text(configuration(recording, folder / "out"), "utf-8")
        frames = list(Results(execute(config, progress=False)).bridge())
    ticks = [x for x in frames if x.why is None]
    sent = [x for x in ticks if x.state in SENT]
    phase = np.array([x.phase_diff for x in sent if x.phase_diff is not None])
    sync = np.array([x.sync_quality for x in sent if x.sync_quality is not None])
    worst = float(phase.max(initial=0.0)) if len(phase) else float("nan")
    least = float(np.percentile(sync, 5)) if len(sync) else float("nan")
    rows = [
        ("largest phase_diff (cycles)", f"{worst:.4f}", f"at most {MAX_PHASE_DIFF:g}"),
        ("sync_quality p05", f"{least:.4f}", f"at least {MIN_SYNC_P05:g}"),
        ("ticks in E2 and E3", f"{len(sent)} of {len(ticks)}", ""),
        ("first of them after (s)", f"{sent[0].ts - ticks[0].ts:.1f}" if sent else "-", ""),
        ("slips", f"{ticks[-1].slips}" if ticks else "-", ""),
    ]
    print(table(("", "is", "limit"), rows))
    return 0 if worst <= MAX_PHASE_DIFF and least >= MIN_SYNC_P05 else 1


if __name__ == "__main__":
    raise SystemExit(main())
