"""Recordings of real devices, held against their known truth."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops.results.folder import Results, run_json
from tests.support.real_recordings import DATA, needs_recordings

ROOT = Path(__file__).parents[2]

pytestmark = needs_recordings


def replay(name, folder, data=DATA):
    config = ROOT / "ops" / "bench" / "recordings" / f"{name}.yaml"
    done = subprocess.run(
        [sys.executable, "-m", "bytewax.run", f"flows.fusion:flow('{config}')"], cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "LUMEN_DATA": str(data)},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = Results(folder / "out" / name)
    total = run_json(results.folder)["account"]["total"]
    assert total["received"] == sum(n for end, n in total.items() if end != "received")
    return results


def truth_of(name):
    return json.loads((DATA / f"{name}.truth.json").read_text())["truth"]


def stated_lags(results):
    """Every lag that was ever stated, by channel."""
    lags = {}
    for line in results.sync():
        if line.lag_s is not None:
            lags.setdefault(line.channel, []).append(line.lag_s)
    return lags


def test_the_camera_stamps_a_step_four_seconds_before_the_foot_does(tmp_path):
    results = replay("walking", tmp_path)
    true = truth_of("sevivi_walking")["kinect_minus_imu_ts_s"]
    stated = stated_lags(results)["kinect:spine_acc_norm"]
    # The camera stamps at T - 4.08 the step of the foot at T: it is early, its lag below zero.
    assert true == -4.08
    assert stated == pytest.approx([true] * len(stated), abs=0.05)
    line = results.last_sync()["kinect:spine_acc_norm"]
    assert line.lag_sd_s < 0.02
    assert line.clock_resets == 0


def test_sensors_in_step_by_radio_have_no_lag_and_no_clock_reset(tmp_path):
    results = replay("synced", tmp_path)
    last = results.last_sync()
    true = truth_of("nilspod_synced")["pairwise_lag_s"]
    assert set(last) == {"pod_7fad:acc_x", "pod_922a:acc_x", "pod_323c:acc_x"}
    for channel, line in last.items():
        assert line.state == "live", channel
        assert line.lag_s == pytest.approx(true, abs=0.002), channel
        assert line.rejected == line.late == 0
    assert {line.clock_resets for line in results.sync()} == {0}


def test_quantities_that_have_nothing_in_common_are_given_no_lag(tmp_path):
    results = replay("empatica", tmp_path)
    last = results.last_sync()
    stated = stated_lags(results)
    assert set(stated) <= {"e4_bvp:bvp", "e4_acc:acc_x", "e4_acc:acc_y"}
    assert set(stated["e4_bvp:bvp"]) == set(stated["e4_acc:acc_x"]) == {0.0}
    assert all(abs(lag) < 0.02 for lag in stated.get("e4_acc:acc_y", []))
    for key in ("e4_acc:acc_z", "e4_eda:eda", "e4_temp:temp", "e4_hr:hr"):
        assert last[key].state == "acquiring"
        assert last[key].confidence == 0
    rates = {key: last[key].rate_hz for key in ("e4_bvp:bvp", "e4_acc:acc_x", "e4_eda:eda")}
    assert rates == pytest.approx({"e4_bvp:bvp": 64, "e4_acc:acc_x": 32, "e4_eda:eda": 4}, rel=0.01)


def test_the_phones_clock_is_found_under_twenty_milliseconds_of_jitter(tmp_path):
    results = replay("phone", tmp_path)
    true = truth_of("gnss_phone_stable")
    line = results.last_sync()["phone_gnss:cn0/G02"]
    # Arrival runs slow against the receiver's stamps: the receiver runs fast.
    assert line.skew_ppm == pytest.approx(-true["rx_minus_device_ppm"], abs=1.0)
    # 207 readings of 20.5 ms fix a slope to 24 ppm, no better: its sd is so large.
    assert line.skew_sd_ppm == pytest.approx(23.8, rel=0.2)
    assert line.clock_resets == line.rejected == 0
    assert not list(results.dead())


def test_the_receivers_clock_is_found_against_the_satellites(tmp_path):
    against_gps = tmp_path / "data"
    against_gps.mkdir()
    name = "gnss_phone_stable.ndjson.gz"
    with gzip.open(DATA / name, "rt") as lines:
        events = [json.loads(line) for line in lines]
    # Each second's true time, in place of the phone's arrival.
    ahead = {round(e["ts"]): e["value"] for e in events if e["key"] == "true_minus_device"}
    with gzip.open(against_gps / name, "wt") as out:
        for event in events:
            if event["source"] == "phone_gnss":
                event["meta"]["rx"] = event["ts"] + ahead[round(event["ts"])]
                out.write(json.dumps(event) + "\n")
    results = replay("phone", tmp_path, against_gps)
    true = truth_of("gnss_phone_stable")
    line = results.last_sync()["phone_gnss:cn0/G02"]
    assert line.skew_ppm == pytest.approx(-true["true_minus_device_ppm"], abs=0.3)
    assert line.offset_s == pytest.approx(true["true_minus_device_last_s"], abs=5e-6)
    assert line.clock_resets == line.rejected == 0
