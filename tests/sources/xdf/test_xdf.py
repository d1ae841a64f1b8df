"""XDF files as recordings; their content and truth are in ops/fakes/xdf_files.py."""

import json
import logging
import struct

import numpy as np
import pytest

from ops.__main__ import main
from ops.bench.xdf import host_times
from ops.fakes.xdf_files import XdfFileStream, chunk, number, regular, write
from sources.recordings.recording import Mark
from sources.rows.names import Names
from sources.xdf import xdf
from sources.xdf import xdf_rows as recorded
from sources.xdf.chunks import Span, chunks
from sources.xdf.xdf import XdfRecording, channels, load
from tests.support.json_lines import json_lines

pyxdf = pytest.importorskip("pyxdf")


@pytest.fixture(autouse=True)
def quiet_pyxdf():
    logging.getLogger("pyxdf").setLevel(logging.CRITICAL)


def eeg(**what):
    return XdfFileStream("eeg", regular(50.0, what.pop("seconds", 60.0)), 50.0, **what)


def written(tmp_path, *streams):
    path = tmp_path / "my.xdf"
    write(path, *streams)
    return path


def rows(path, **how):
    """Return all rows as (channel, ts, rx, value or text or reason, stamped)."""
    recording, names, out = XdfRecording(str(path), **how), Names("studio"), []
    while not recording.ended:
        for piece in recording.read():
            r = piece.rows(names)
            notes = [None] * len(r) if r.notes is None else r.notes.tolist()
            for i, note in enumerate(notes):
                pair = ":".join(names.channels[r.name[i]]) if r.name[i] >= 0 else "?"
                content = note if note is not None else float(r.value[i])
                out.append((pair, r.ts[i], r.rx[i], content, bool(r.stamped[i])))
    return out


def rms_us(error):
    return float(np.sqrt(np.mean(np.square(error)))) * 1e6


def errors(path, stream):
    """Return the RMS errors (us) of host time: ours, pyxdf's, pyxdf's dejittered."""
    theirs = [pyxdf.load_xdf(str(path), dejitter_timestamps=d)[0][0]["time_stamps"]
              for d in (False, True)]  # fmt: skip
    ts, rx = host_times(path)
    assert np.array_equal(ts, stream.stamps)
    return [rms_us(x - stream.host) for x in (rx, *theirs)]


SKEWED = {"offset_s": 1234.5, "skew_ppm": 80.0}
CASES = {
    "skew": {},
    "gaussian readings": {"kind": "gaussian"},
    "exact readings": {"kind": "exact"},
    "readings by radio": {"kind": "radio"},
    "wander": {"wander_s": 2e-3},
    "jitter": {"jitter_s": 1e-3},
    "loss": {"lost": 0.02},
    "jitter and loss": {"jitter_s": 1e-3, "lost": 0.02},
    "step up": {"steps": ((5100.0, 0.5),)},
    "step down": {"steps": ((5100.0, -0.8),)},
    "small step": {"steps": ((5100.0, 0.02),)},
    "two steps": {"steps": ((5060.0, -0.8), (5140.0, 0.5))},
    "steps and jitter": {"steps": ((5060.0, -0.8), (5140.0, 0.5)), "jitter_s": 1e-3},
    "another start": {"steps": ((5100.0, -1e4),)},
    "no readings": {"has_readings": False, "offset_s": 0.0, "skew_ppm": 0.0},
}


@pytest.mark.parametrize("case", CASES)
def test_no_time_is_worse_than_that_of_pyxdf(tmp_path, case):
    """Where both follow one line through the same readings, only chance separates them."""
    found = []
    for seed in range(4):
        stream = eeg(seconds=200.0, seed=seed, **(SKEWED | CASES[case]))
        found.append(errors(written(tmp_path, stream), stream))
    ours, raw, dejittered = np.sqrt(np.mean(np.square(found), axis=0))
    assert ours <= 1.1 * min(raw, dejittered) + 1
    if any(word in case for word in ("loss", "step")):
        assert ours < 0.4 * dejittered


@pytest.mark.parametrize("step", [0.5, -0.8, 1e4, -1e4])
def test_no_sample_is_on_the_wrong_side_of_a_reset(tmp_path, step):
    stream = eeg(seconds=200.0, steps=((5101.7, step),), **SKEWED)
    _, rx = host_times(written(tmp_path, stream))
    assert np.max(np.abs(rx - stream.host)) < 1e-3


def test_a_step_back_in_a_long_gap_of_uneven_samples_is_where_time_ran_back(tmp_path):
    rng = np.random.default_rng(3)
    host = rng.uniform(5000, 5300, 3000)
    host = np.sort([*host[(host < 5149.95) | (host > 5150.49)], 5149.95, 5150.49])
    stream = XdfFileStream("s", host, 0.0, offset_s=1234.5, skew_ppm=80.0, steps=((5150.0, -0.8),))
    write(tmp_path / "a.xdf", stream)
    assert np.abs(host_times(tmp_path / "a.xdf")[1] - host).max() < 1e-3


def test_uneven_samples_are_mapped_each_by_its_stamp(tmp_path):
    host = np.sort(np.random.default_rng(0).uniform(5000, 5200, 300))
    stream = XdfFileStream("fader", host, offset_s=-40.0, skew_ppm=-120.0, jitter_s=0.0)
    ours, raw, _ = errors(written(tmp_path, stream), stream)
    assert ours <= 1.15 * raw + 1
    assert ours < 60


@pytest.mark.parametrize("form", ["double64", "float32", "int64", "int32", "int16", "int8"])
def test_every_format_gives_its_numbers(tmp_path, form):
    stream = eeg(seconds=3.0, form=form, labels=("a", "b"))
    stream.values = np.array([[-100.0, 7.0], [100.0, 8.0]] * 75)
    got = [
        content
        for channel, _, _, content, _ in rows(written(tmp_path, stream))
        if "offset" not in channel
    ]
    assert got == stream.values.ravel().tolist()


def test_a_row_has_its_raw_stamp_and_no_evidence_of_its_own(tmp_path):
    stream = eeg(seconds=10.0, **SKEWED)
    data = [r for r in rows(written(tmp_path, stream)) if r[0] == "eeg:x"]
    assert [ts for _, ts, *_ in data] == stream.stamps.tolist()
    assert not any(stamped for *_, stamped in data)


def test_readings_are_rows_and_evidence(tmp_path):
    stream = eeg(seconds=20.0, **SKEWED)
    read = [r for r in rows(written(tmp_path, stream)) if r[0] == "eeg:clock_offset"]
    assert [(ts, content) for _, ts, _, content, _ in read] == list(
        zip(stream.reading_at.tolist(), stream.reading.tolist(), strict=True)
    )
    assert all(
        stamped and rx == pytest.approx(ts + content) for _, ts, rx, content, stamped in read
    )


def test_texts_are_markers_on_the_same_axis(tmp_path):
    host = 5000.0 + np.arange(12) * 7.0
    marks = XdfFileStream("marks", host, texts=("gö", "stop"), kind="exact", **SKEWED)
    got = [r for r in rows(written(tmp_path, marks)) if r[0] == "marks:x"]
    assert [content for *_, content, _ in got] == ["gö", "stop"] * 6
    assert [rx for _, _, rx, *_ in got] == pytest.approx(host, abs=1e-6)


def test_rows_come_in_the_order_of_host_time(tmp_path):
    path = written(tmp_path, eeg(seconds=9.0, **SKEWED), eeg(seconds=9.0, offset_s=-77.0, seed=1))
    times = [rx for _, _, rx, *_ in rows(path)]
    assert times == sorted(times)
    assert {r[0] for r in rows(path)} == {
        "eeg:x", "eeg:clock_offset", "eeg_2:x", "eeg_2:clock_offset",
    }  # fmt: skip


def test_names_can_stand_in_a_configuration_and_are_unique(tmp_path):
    twin = XdfFileStream("a:b", regular(10.0, 2.0), 10.0, labels=("x", "x", "", "clock_offset"))
    path = written(tmp_path, twin, XdfFileStream(" ", regular(10.0, 2.0), 10.0, has_readings=False))
    names = {r[0] for r in rows(path)}
    assert names == {"a_b:x", "a_b:x_2", "a_b:ch3", "a_b:clock_offset_2", "a_b:clock_offset",
                     "stream_2:x"}  # fmt: skip


def test_it_can_be_gone_on_with_at_any_line(tmp_path, monkeypatch):
    path = written(tmp_path, eeg(seconds=4.0, labels=("a", "b")))
    monkeypatch.setattr(recorded, "_MAX_ROWS", 30)
    whole = rows(path)
    assert rows(path, mark=Mark(101))[-100:] == whole[-100:]
    with pytest.raises(ValueError, match="shorter"):
        rows(path, mark=Mark(100_000))


def test_numbers_that_are_none_cost_themselves_alone(tmp_path):
    stream = eeg(seconds=2.0, labels=("a", "b"), has_readings=False)
    stream.values[10, 1], stream.values[20, 0] = np.nan, np.inf
    stream.stamps[30] = np.nan
    got = rows(written(tmp_path, stream))
    lost = [content for *_, content, _ in got if not isinstance(content, float)]
    assert sorted((x.reason, x.count) for x in lost) == [("stamp", 2), ("value", 1), ("value", 1)]
    assert len(got) - len(lost) + sum(x.count for x in lost) == 200


@pytest.mark.parametrize("cut", [1, 5, 9, 100, 1003])
def test_of_a_cut_file_all_that_is_whole_is_used(tmp_path, cut):
    path = written(tmp_path, eeg(seconds=20.0))
    whole = rows(path)
    path.write_bytes(path.read_bytes()[:-cut])
    got = rows(path)
    assert [x.reason for *_, x, _ in got if not isinstance(x, float)] == ["archive"]
    assert len(whole) - 100 <= len(got) - 1 <= len(whole)


def test_a_damaged_place_costs_the_file_up_to_the_next_boundary(tmp_path):
    path = written(tmp_path, eeg(seconds=120.0))
    whole = rows(path)
    data = bytearray(path.read_bytes())
    data[30_000:30_040] = bytes(40)
    path.write_bytes(data)
    got = rows(path)
    assert sum(not isinstance(x, float) for *_, x, _ in got) >= 1
    assert len(got) > 0.7 * len(whole)


BAD = {
    "nothing": b"",
    "no magic": b"XDF?" + bytes(100),
    "magic alone": b"XDF:",
    "broken header": b"XDF:" + chunk(2, struct.pack("<I", 1) + b"<info><name>"),
    "entities": b"XDF:" + chunk(2, struct.pack("<I", 1) + b'<!DOCTYPE a [<!ENTITY b "c">]><info/>'),
    "samples of nobody": b"XDF:" + chunk(3, struct.pack("<I", 9) + number(1) + bytes(9)),
    "a giant count": b"XDF:" + chunk(2, struct.pack("<I", 1) + eeg(seconds=1.0).header())
    + chunk(3, struct.pack("<I", 1) + struct.pack("<BQ", 8, 2**60) + bytes(90)),
    "a giant chunk": b"XDF:" + struct.pack("<BQH", 8, 2**62, 3) + bytes(50),
    "short offset": b"XDF:" + chunk(2, struct.pack("<I", 1) + eeg(seconds=1.0).header())
    + chunk(4, struct.pack("<I", 1) + bytes(7)),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_nonsense_is_dead_letters_at_most(tmp_path, name):
    path = tmp_path / "bad.xdf"
    path.write_bytes(BAD[name])
    got = rows(path)
    assert [content.reason for *_, content, _ in got] == ["archive"] * len(got)
    assert len(got) == (name not in ("nothing", "magic alone"))


def test_flipped_bytes_raise_nothing(tmp_path):
    path = written(tmp_path, eeg(seconds=5.0), XdfFileStream("m", regular(2.0, 5.0), texts=("a",)))
    data, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        changed = bytearray(data)
        for at in rng.integers(4, len(data), 3):
            changed[at] = rng.integers(0, 256)
        path.write_bytes(changed)
        rows(path)


def test_good_parts_and_damaged_ones_are_the_whole_file(tmp_path):
    path = written(tmp_path, eeg(seconds=5.0))
    path.write_bytes(path.read_bytes()[:-7])
    size = path.stat().st_size
    with path.open("rb") as file:
        found = list(chunks(file, size))
    bad = [x for x in found if isinstance(x, Span)]
    assert len(bad) == 1
    assert bad[0].stop == size
    assert found[-1] is bad[0]


def test_what_cannot_be_read_is_refused_by_name(tmp_path, monkeypatch):
    path = written(tmp_path, eeg(seconds=2.0))
    with pytest.raises(ValueError, match="followed"):
        XdfRecording(str(path), follow=True)
    with pytest.raises(FileNotFoundError, match="not found"):
        load(str(tmp_path / "none.xdf"))
    monkeypatch.setattr(xdf, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="GiB"):
        load(str(path))


def test_channels_are_counted_for_a_configuration(tmp_path):
    stream = eeg(seconds=2.0, labels=("a", "b"))
    stream.values[3, 0] = np.nan
    marks = XdfFileStream("m", regular(2.0, 2.0), texts=("a",), has_readings=False)
    counts = channels(str(written(tmp_path, stream, marks)))
    assert counts == {"eeg:a": 99, "eeg:b": 100, "eeg:clock_offset": len(stream.reading)}


def test_a_replay_corrects_fuses_and_keeps_the_raw_stamps(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    hz, phase = rng.uniform(0.05, 1.2, 60), rng.uniform(0, 2 * np.pi, 60)

    def movement(t):
        return np.sin(2 * np.pi * hz * t[:, None] + phase).sum(axis=1)[:, None] / 5

    first, second = regular(50.0, 120.0), regular(31.0, 120.0)
    a = XdfFileStream(
        "eeg",
        first,
        50.0,
        values=movement(first),
        steps=((5060.0, 0.5),),
        kind="exact",
        **SKEWED,
    )
    b = XdfFileStream(
        "imu",
        second,
        31.0,
        values=movement(second - 0.2),
        offset_s=-7.0,
        lost=0.02,
        jitter_s=2e-3,
        kind="exact",
    )
    marks = XdfFileStream(
        "marks", 5010.0 + np.arange(9) * 10.0, texts=("go",), offset_s=3.0, kind="exact"
    )
    written(tmp_path, a, b, marks)
    monkeypatch.chdir(tmp_path)
    assert main(["replay", "my.xdf", "--out", "out"]) == 0
    content = capsys.readouterr().out
    assert "Account of events, balanced\n" in content
    assert "Dead letters: none" in content
    config = (tmp_path / "out.yaml").read_text()
    assert 'facts: ["eeg:clock_offset", "imu:clock_offset", "marks:clock_offset"]' in config
    last = {}
    for line in (tmp_path / "out/sync.jsonl").read_text().splitlines():
        last[json.loads(line)["channel"]] = json.loads(line)
    assert last["imu:x"]["lag_s"] == pytest.approx(0.2, abs=5e-3)
    assert last["imu:x"]["offset_s"] == pytest.approx(7.0 * -1, abs=1e-3)
    assert last["eeg:x"]["skew_ppm"] == pytest.approx(80.0, abs=10.0)
    assert last["eeg:x"]["clock_resets"] == 1
    markers = json_lines(tmp_path / "out/markers.jsonl")
    assert [m["source_ts"] for m in markers] == marks.stamps.tolist()
    assert [m["ts"] for m in markers] == pytest.approx(marks.host, abs=1e-4)

    aligned = config.replace('output: {dir: "out"}', "output: {dir: two, aligned: true}")
    (tmp_path / "two.yaml").write_text(aligned)
    assert main(["run", "two.yaml"]) == 0
    lines = json_lines(tmp_path / "two/aligned.jsonl")
    stamps = {x["source_ts"] for x in lines if x["channel"] == "imu:x"}
    assert stamps <= set(b.stamps.tolist())
    assert len(stamps) > 0.95 * len(b.stamps)
    assert (tmp_path / "two/fused.jsonl").read_bytes() == (
        tmp_path / "out/fused.jsonl"
    ).read_bytes()
