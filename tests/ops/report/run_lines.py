"""Lines and folders of runs for tests of reports."""

import json

from ops.cli import report

START = 1730000000.0


def tick(at, channels=("a:x", "b:x"), live=2, value=0.5, **more):
    """Return a tick, `at` s after the start."""
    weights = {name: 1 / len(channels) for name in channels}
    signal = {"value": value, "sd": 0.1, "mode": "fused", "live": live, "weights": weights}
    return {
        "ts": START + at, "released": START + at + 2.5, "rig": "r", "mode": "fused", "live": live,
        "signals": {"pulse": signal},
        "indicators": {"phase_diff": 0.01, "coherence": 0.95, "harmony": 0.9,
                       "sync_quality": 0.99, "entropy_ratio": 0.1},
        "sync_bound_s": 0.004,
    } | more  # fmt: skip


def sync(at, channel="a:x", **more):
    """Return a sync line, `at` s after the start."""
    return {
        "ts": START + at, "rig": "r", "channel": channel, "why": "hop", "state": "live",
        "offset_s": 1.0, "offset_sd_s": 1e-5, "skew_ppm": 20.0, "skew_sd_ppm": 0.5,
        "clock_resets": 0, "reset_at": None, "lag_s": 0.1, "lag_sd_s": 0.001, "confidence": 0.9,
        "rate_hz": 50.0, "jitter_p95_s": 0.01, "received": 100, "used": 98, "outliers": 2,
        "late": 0, "duplicate": 0, "rejected": 0, "gaps": 0,
    } | more  # fmt: skip


def fill(folder, **stems):
    """Write lines into a run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem in ("fused", "sync", "dead", "markers"):
        (folder / f"{stem}.jsonl").touch()
    for stem, lines in stems.items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{stem}.jsonl").write_text(text, "utf-8")
    return folder


TICKS = [tick(i / 5) for i in range(200)]


SYNC = [sync(at, channel) for at in range(0, 40, 10) for channel in ("a:x", "b:x")]


def written(folder):
    """Return the page and the methods of a folder's report."""
    page = report.write(folder)
    return page.read_text("utf-8"), page.with_name("methods.txt").read_text("utf-8")
