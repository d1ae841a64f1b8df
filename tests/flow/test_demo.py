"""The demo as a newcomer sees it, held against the truth that its recording came with."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ops.evaluate import truth
from ops.results.folder import Results, run_json

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    place = tmp_path_factory.mktemp("demo")
    shutil.copytree(ROOT / "configs", place / "configs")
    done = subprocess.run(
        [sys.executable, "-m", "ops", "demo"], cwd=place, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    true = truth.load(place / "configs/recordings/demo.ndjson.gz")
    return done.stdout, Results(place / "out"), true


def test_the_table_ends_with_the_line_to_type_next(demo):
    printed, results, true = demo
    assert printed.rstrip().endswith(".venv/bin/python -m bytewax.run flows.fusion")
    assert all(channel in printed for channel in true.channels)
    assert str(results.folder.name) in printed


def test_the_readme_shows_what_is_printed(demo):
    (excerpt,) = re.findall(r"```text\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    printed = {re.sub(r"\d", "0", line) for line in demo[0].splitlines()}
    assert [x for x in excerpt.splitlines() if re.sub(r"\d", "0", x) not in printed] == []


def test_no_line_is_too_wide_for_a_terminal(demo):
    assert max(map(len, demo[0].splitlines())) <= 100


def test_clocks_are_found(demo):
    _, results, true = demo
    reports = results.last_sync()
    for channel, known in true.channels.items():
        line = reports[channel]
        assert line.clock_resets == len(known.resets), channel
        if known.offset_s is not None:
            assert line.offset_s == pytest.approx(true.offset_s(channel, line.ts), abs=1e-3)
            assert line.skew_ppm == pytest.approx(known.skew_ppm, abs=3)


def test_lags_are_found(demo):
    _, results, true = demo
    reports = results.last_sync()
    for channel, known in true.channels.items():
        bar = 0.03 if known.kind == "held" else 0.015
        assert reports[channel].lag_s == pytest.approx(known.lag_s, abs=bar), channel


def test_the_engine_carries_on_alone_while_the_sensors_are_silent(demo):
    _, results, true = demo
    began, ended = true.channels["osc_1:/body/pulse"].silent[0]
    mode = {round(t.ts, 3): t.mode for t in results.ticks()}
    assert {mode[ts] for ts in mode if began + 1 < ts < ended + 10} == {"ure_only"}
    assert {mode[ts] for ts in mode if ended + 11 < ts < ended + 25} == {"fused"}


def test_the_sensors_carry_on_while_the_engine_is_silent(demo):
    _, results, true = demo
    began, ended = true.channels["ure:pulse"].silent[0]
    mode = {round(t.ts, 3): t.mode for t in results.ticks()}
    hold = min(ended - began, 10.0)
    assert {mode[ts] for ts in mode if began + 1 < ts < ended + hold - 1} == {"sensors_only"}
    assert {mode[ts] for ts in mode if ended + hold + 1 < ts} == {"fused"}


def test_the_noisy_sensor_loses_its_weight(demo):
    _, results, true = demo
    began, ended = true.channels["osc_2:/wrist/pulse"].noisy[0]
    weight = {t.ts: t.signals["pulse"].weights["osc_2:/wrist/pulse"] for t in results.ticks()}
    assert max(w for ts, w in weight.items() if began + 10 < ts < ended) < 0.05
    assert min(w for ts, w in weight.items() if began - 15 < ts < began - 1) > 0.1


def test_the_fused_signal_beats_every_stream_alone(demo):
    _, results, true = demo
    ticks = list(results.ticks())
    time, value, _ = truth.fused(ticks, true.signal)
    whole = truth.settled(ticks, len(true.channels))
    assert whole.sum() > 300
    clean = true.at(time)
    error = truth.rms_error(value[whole], clean[whole])
    alone = truth.alone(results.aligned(), true, time)
    corrected = [v for channel, (_, v) in alone.items() if channel in true.channels]
    assert error < 0.8 * min(truth.rms_error(v[whole], clean[whole]) for v in corrected)


def test_the_rule_fires_in_the_spell_of_noise_and_is_resolved_after_it(demo):
    _, results, true = demo
    (began, ended), *_ = true.trouble
    risk = [e for e in results.evidence() if e.rule == "sync_degradation"]
    assert [e.state for e in risk] == ["firing", "resolved"]
    assert began < risk[0].ts < ended < risk[1].ts


def test_every_event_has_one_end_and_every_loss_its_reason(demo):
    _, results, true = demo
    total = run_json(results.folder)["account"]["total"]
    assert total["received"] == true.received
    assert total["received"] == sum(n for end, n in total.items() if end != "received")
    assert total["duplicate"] == sum(c.duplicates for c in true.channels.values())
    lost = Counter()
    for letter in results.dead():
        lost[letter.reason] += letter.count
    assert sum(lost.values()) == total["rejected"] == true.damaged + 2
    assert lost["wild_stamp"] == lost["out_of_range"] == 1
