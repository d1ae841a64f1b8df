"""Faults on recordings of a band with a bridge: alarms, silence, recovery.

    python -m ops.bench.chaos [--seeds 3] [--first 0] [--case NAME ...]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from flows.run import execute
from ops.chaos.fault import DURATIONS, Fault
from ops.cli.chaos import rewrite
from ops.simulate.beats import BeatScenario
from ops.simulate.recording import START, make
from ops.simulate.scenario import Scenario, Sensor

CONFIG = """\
version: 2
streams: [{{name: r, type: file, path: {path}, speed: 0}}]
signals:
  pulse:
    reference: "ure:pulse"
    members: {{"ure:pulse": {{group: ure}}, "osc_2:/wrist/pulse": {{}}, "osc_3:/chest/pulse": {{}}}}
output: {{dir: {out}}}
bridge:
  reference: {{beat: "osc_1:/beat"}}
facts: ["ure:ure_residual_entropy_last"]
"""

def scenario(seconds: float) -> Scenario:
    return Scenario(
        seconds=seconds,
        sensors=(
            Sensor("ure", "pulse", 10.0, "ure"),
            Sensor("osc_2", "/wrist/pulse", 15.0, offset_s=7.905, skew_ppm=-140.0, lag_s=0.42),
            Sensor("osc_3", "/chest/pulse", 20.0, offset_s=-1.2, skew_ppm=60.0, lag_s=0.2),
        ),
        facts_every_s=2.0,
        beats=BeatScenario(offset_s=-3.2, skew_ppm=35.0),
    )

if __name__ == "__main__":
    place = Path(sys.argv[1]); mode = sys.argv[2]; more = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    seed = more.pop("seed", 0)
    d = more.pop("for_s", DURATIONS[mode])
    at = 200.0
    place.mkdir(exist_ok=True, parents=True)
    make(scenario(at + d + 330), seed).write(place / "a.ndjson")
    for old in place.glob("b*"): old.unlink()
    t = rewrite(str(place / "a.ndjson"), place / "b.ndjson", Fault(mode, at, d, seed=seed, **more))
    (place / "c.yaml").write_text(CONFIG.format(path=place / "b.ndjson", out=place / "out"))
    execute(place / "c.yaml", progress=False)
