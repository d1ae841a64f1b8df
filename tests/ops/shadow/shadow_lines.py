"""Lines of `fused.jsonl` for tests of the shadow."""

from __future__ import annotations

import json

START, HZ = 1_000.0, 5.0


def line(k, released=2.0, rig="studio", mode="fused", live=2, value=0.5, sd=0.1, **more):
    """Return the line of tick k."""
    ts = START + k / HZ
    signal = {"value": value, "sd": sd, "systematic_sd": None, "mode": mode, "live": live,
              "weights": {"a:x": 0.75, "b:x": 0.25}}  # fmt: skip
    tick = {
        "ts": ts, "released": ts + released, "rig": rig, "mode": mode, "live": live,
        "signals": {"pulse": signal | more}, "indicators": {"phase_diff": 0.01},
        "sync_bound_s": 0.01,
    }  # fmt: skip
    return json.dumps(tick, separators=(",", ":")).encode()
