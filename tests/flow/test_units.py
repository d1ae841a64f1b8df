"""Source stamps in a unit other than seconds: reported without `ts_unit`, used with it."""

import json

import numpy as np
import pytest

from ops.__main__ import main
from tests.support.json_lines import json_lines

BASE = 1.73e9


def record(path):
    """Two sources of one movement at 50 Hz, one in seconds, one in milliseconds."""
    rng = np.random.default_rng(5)
    t = np.arange(0, 60, 0.02)
    wave = np.sin(t) + np.sin(2.3 * t + 1)
    rows = []
    for source, unit in (("good", 1.0), ("ms", 1e3)):
        late = rng.exponential(0.003, len(t))
        for at, value, more in zip(t.tolist(), wave.round(4).tolist(), late.tolist(), strict=True):
            rx = round(BASE + at + 0.005 + more, 6)
            ts = round((at + 5) * unit, 3)
            event = {"ts": ts, "source": source, "key": "p", "value": value, "meta": {"rx": rx}}
            rows.append((rx, event))
    rows.sort(key=lambda row: row[0])
    path.write_text("".join(f"{json.dumps(row)}\n" for _, row in rows))


@pytest.mark.parametrize("mode", ["--hindsight", "--causal"])
def test_milliseconds_are_held_back_by_name_and_move_nothing_else(tmp_path, monkeypatch, mode):
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "a.ndjson")
    assert main(["replay", "a.ndjson", mode]) == 0
    account = json.loads((tmp_path / "out/run.json").read_text())["account"]["by_source"]
    assert account["good"]["used"] == 3000
    assert account["ms"]["rejected"] >= (3000 if mode == "--hindsight" else 2985)
    dead = json_lines(tmp_path / "out/dead.jsonl")
    assert {(x["reason"], x["source"]) for x in dead} == {("wild_stamp", "ms")}
    assert dead[-1]["sample"].endswith("ts runs 1000 times too fast: milliseconds? ts_unit: ms")
    sync = json_lines(tmp_path / "out/sync.jsonl")
    assert max(x["clock_resets"] for x in sync if x["channel"] == "ms:p") <= 1


def test_the_key_that_is_offered_mends_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "a.ndjson")
    lines = [x for x in (tmp_path / "a.ndjson").read_text().splitlines(True) if '"ms"' in x]
    (tmp_path / "ms.ndjson").write_text("".join(lines))
    assert main(["replay", "ms.ndjson", "--unit", "ms"]) == 0
    assert "ts_unit: ms" in (tmp_path / "out.yaml").read_text()
    account = json.loads((tmp_path / "out/run.json").read_text())["account"]["total"]
    assert account["used"] == account["received"] == 3000
    sync = json_lines(tmp_path / "out/sync.jsonl")
    assert sync[-1]["offset_s"] == pytest.approx(BASE - 5 + 0.005, abs=2e-3)


def test_a_clock_in_local_time_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = []
    for i in range(1500):
        for source, zone in (("good", 0), ("local", 7200), ("broken", 9999)):
            rows.append({"ts": BASE + i / 50 + zone, "source": source, "key": "p", "value": i % 7})
    (tmp_path / "a.ndjson").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert main(["replay", "a.ndjson", "--causal"]) == 0
    dead = json_lines(tmp_path / "out/dead.jsonl")
    samples = {x["source"]: x["sample"] for x in dead}
    assert samples["local"].endswith(": 2 h from the recording's other stamps: local time?")
    assert samples["broken"].startswith("broken:p rx=") and "local" not in samples["broken"]
