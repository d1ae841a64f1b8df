"""A sensor that stamps in whole seconds is live, near the truth, and its coarseness is stated."""

import json
from pathlib import Path

import numpy as np
import pytest

from ops.__main__ import main
from ops.results.folder import rigs

SECONDS, HZ, LAG_S, BASE = 90.0, 50.0, 0.1, 1.73e9


def movement(t):
    rng = np.random.default_rng(5)
    hz, phase = rng.uniform(0.05, 1.2, 60), rng.uniform(0, 2 * np.pi, 60)
    return np.sin(2 * np.pi * np.outer(t, hz) + phase).sum(axis=1) / np.sqrt(30)


@pytest.mark.parametrize("arrivals", [True, False], ids=["arrivals", "no arrivals"])
@pytest.mark.parametrize("step_s", [1.0, 0.1])
def test_a_sensor_with_coarse_stamps_is_live(tmp_path, monkeypatch, capsys, arrivals, step_s):
    monkeypatch.chdir(tmp_path)
    t, rng = np.arange(0, SECONDS, 1 / HZ), np.random.default_rng(1)
    rows = []
    for source, lag, stamps in (
        ("good", 0.0, t),
        ("s1", LAG_S, np.floor(np.round(t / step_s, 6)) * step_s),
    ):
        delay = 0.005 + rng.exponential(0.003, len(t))
        # Whole steps as a sender counts them: 0.3 is the third tenth, though 0.3 / 0.1 is below 3.
        stamps = np.round(BASE + stamps, 4)
        for x, ts, d, v in zip(t, stamps, delay, movement(t - lag), strict=True):
            row = {"ts": ts, "source": source, "key": "/p", "value": v}
            rows.append((BASE + x + d, row | ({"meta": {"rx": BASE + x + d}} if arrivals else {})))
    rows.sort(key=lambda row: row[0])
    Path("a.ndjson").write_text("".join(json.dumps(row) + "\n" for _, row in rows))
    Path("a.yaml").write_text(
        "version: 2\nstreams: [{name: rec, type: file, path: a.ndjson}]\n"
        'signals: {p: {members: {"good:/p": {}, "s1:/p": {}}}}\n'
        "mode: hindsight\noutput: {dir: out}\n"
    )
    assert main(["run", "a.yaml"]) == 0
    assert capsys.readouterr().err.count("s1:/p has coarse stamps") == 1
    (rig,) = rigs(Path("out"))
    ticks = list(rig.ticks())
    assert sum(tick.live == 2 for tick in ticks) >= 0.95 * len(ticks)
    lines = rig.last_sync()
    assert {line.state for line in lines.values()} == {"live"}
    good, coarse = lines["good:/p"].lag_s, lines["s1:/p"].lag_s  # either may be the reference
    assert good is not None and coarse is not None
    assert abs(coarse - good - LAG_S) < 0.005
    assert ticks[-5].sync_bound_s is not None
    assert ticks[-5].sync_bound_s >= step_s / np.sqrt(12)
