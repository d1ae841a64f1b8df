import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from ops.simulate.recording import START, make, write
from ops.simulate.scenario import Scenario, Sensor, studio

DEMO = Path("configs/recordings/demo.ndjson.gz")


def record(seconds=20.0, seed=1, queue_s=0.005, **sensor):
    return make(Scenario(seconds, (Sensor("a", "x", 50.0, **sensor),), queue_s=queue_s), seed)


def events(path):
    data = path.read_bytes()
    lines = (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()
    return [json.loads(line) for line in lines if line.endswith("}}")]


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    scenario = studio(12)
    for name in ("a", "b"):
        make(scenario, 3).write(tmp_path / f"{name}.ndjson.gz")
    make(scenario, 4).write(tmp_path / "c.ndjson.gz")
    a, b, c = (gzip.decompress((tmp_path / f"{n}.ndjson.gz").read_bytes()) for n in "abc")
    assert a == b != c
    assert (tmp_path / "a.ndjson.gz").read_bytes() == (tmp_path / "b.ndjson.gz").read_bytes()
    assert (tmp_path / "a.truth.json").read_text() == (tmp_path / "b.truth.json").read_text()


def test_the_shipped_recording_equals_that_of_its_seed(tmp_path):
    truth = make(studio(), 2).write(tmp_path / "demo.ndjson.gz")
    shipped = json.loads(DEMO.with_name("demo.truth.json").read_text())
    made = json.loads(truth.read_text())
    np.testing.assert_allclose(made.pop("clean"), shipped.pop("clean"), atol=2e-6)
    same_numpy = made.pop("versions") == shipped.pop("versions")
    assert made == shipped
    ours, theirs = gzip.decompress((tmp_path / DEMO.name).read_bytes()), DEMO.read_bytes()
    if same_numpy:
        assert ours == gzip.decompress(theirs)
    pairs = list(zip(events(tmp_path / DEMO.name), events(DEMO), strict=True))
    assert all(a["source"] == b["source"] and a["key"] == b["key"] for a, b in pairs)
    for field, error in (("ts", 2e-6), ("value", 1e-4)):
        a, b = ([e[field] or 0.0 for e in side] for side in zip(*pairs, strict=True))
        np.testing.assert_allclose(a, b, rtol=1e-5 if field == "value" else 0, atol=error)


def test_the_shipped_recording_is_small():
    assert DEMO.stat().st_size < 600_000


def test_source_time_and_offset_make_host_time():
    rows = record(skew_ppm=200.0, offset_s=-3.0, resets=((10.0, 0.5),)).rows
    late = rows.host >= 10
    path = 0.002  # one-way stamps cannot show it: it is part of host time
    offset = -3.0 + path - (rows.host - path) * 200e-6 - 0.5 * late
    np.testing.assert_allclose(rows.ts + offset, START + rows.host, atol=1e-6)


def test_a_fast_clock_has_a_positive_skew():
    rows = record(skew_ppm=300.0).rows
    slope = np.polyfit(rows.host, rows.ts - START, 1)[0]
    assert slope == pytest.approx(1 + 300e-6, abs=1e-9)


def test_a_positive_lag_shows_an_earlier_value():
    late = record(lag_s=0.7, noise=0.0)
    np.testing.assert_allclose(
        late.rows.value, late.clean(START + late.rows.host - 0.7), atol=1e-5
    )  # fmt: skip


def test_nothing_arrives_before_its_host_time_and_lines_are_in_order_of_arrival():
    rows = make(studio(15), 1).rows
    assert (rows.rx > rows.host - 1e-6).all()
    assert (np.diff(rows.rx) >= 0).all()


def test_the_movement_has_unit_power_and_keeps_to_its_band():
    recording = record(seconds=1.0)
    clean = recording.clean(START + np.arange(0, 600, 0.1))
    assert np.sqrt(np.mean(clean**2)) == pytest.approx(1, abs=0.25)
    power = np.abs(np.fft.rfft(clean * np.hanning(len(clean)))) ** 2
    frequency = np.fft.rfftfreq(len(clean), 0.1)
    assert power[frequency > 1.6].sum() < 1e-6 * power.sum()


def test_the_movement_never_repeats_within_half_a_minute():
    clean = record(seconds=1.0).clean(START + np.arange(0, 180, 0.2))
    for begin in (0, 300, 600):
        window = clean[begin : begin + 300] - clean[begin : begin + 300].mean()
        repeated = [
            np.corrcoef(window[:-shift], window[shift:])[0, 1] for shift in range(4, 150)
        ]  # fmt: skip
        assert max(repeated) < 0.8


def test_faults_are_as_many_as_asked_for(tmp_path):
    recording = record(seconds=60.0, outliers=0.02, duplicates=7, out_of_range=2, wild=3, loss=0.1)
    rows = recording.rows
    assert len(rows.value) == recording.truth["received"]
    assert (np.abs(rows.value) == 1000).sum() == 2
    assert (rows.ts > START + 1e5).sum() == 3
    seq, times = np.unique(rows.seq, return_counts=True)
    assert (times == 2).sum() == 7
    assert len(seq) == pytest.approx(0.9 * 60 * 50, rel=0.05)
    assert (np.abs(rows.value) > 6).sum() == pytest.approx(0.02 * len(seq), rel=0.4)


def test_a_silent_sensor_leaves_the_others_unchanged():
    def two(silent):
        return Scenario(20.0, (Sensor("a", "x", 50.0, silent=silent), Sensor("b", "x", 20.0)))

    active, silent = make(two(()), 1).rows, make(two(((5.0, 9.0),)), 1).rows
    a = silent.host[silent.name == 0] - 0.002
    assert not ((a >= 5) & (a < 9)).any()
    np.testing.assert_array_equal(active.value[active.name == 1], silent.value[silent.name == 1])


def test_a_held_controller_sends_whole_numbers_on_change():
    rows = record(held=True, stamped=False).rows
    assert (np.diff(rows.value) != 0).all()
    assert set(rows.value) <= set(range(128))
    np.testing.assert_array_equal(rows.ts, START + rows.rx)


def test_a_channel_without_a_clock_writes_no_arrival(tmp_path):
    record(stamped=False).write(tmp_path / "a.ndjson")
    assert all("rx" not in e["meta"] for e in events(tmp_path / "a.ndjson"))


def test_several_rigs_share_a_file_in_order_of_arrival(tmp_path):
    sensor = (Sensor("a", "x", 20.0),)
    write(tmp_path / "two.ndjson", *(make(Scenario(5, sensor, rig=r), 1) for r in ("l", "r")))
    both = events(tmp_path / "two.ndjson")
    assert {e["rig"] for e in both} == {"l", "r"}
    arrivals = [e["meta"]["rx"] for e in both]
    assert arrivals == sorted(arrivals)


def test_the_engine_complains_while_there_is_trouble():
    scenario = Scenario(60.0, (Sensor("ure", "x", 20.0),), facts_every_s=2, trouble=((20.0, 40.0),))
    recording = make(scenario, 1)
    rows = recording.rows
    phase = rows.name == recording.names.index(("ure", "ure_phase_diff_mean"))
    inside = phase & (rows.host > 27) & (rows.host < 39)
    outside = phase & ((rows.host < 19) | (rows.host > 47))
    assert rows.value[inside].min() > 0.035 > 0.02 > rows.value[outside].max()
