"""XDF files with one faulty stream: the others lose nothing, and the fault has its sentence."""

import gzip
import json
import struct

import numpy as np
import pytest

from ops.__main__ import main
from ops.bench.xdf_load import measured
from ops.cli.guess.config import MIN_COUNT
from ops.fakes.xdf_files import XdfFileStream, chunk, regular, write
from sources.recordings.recording import Mark
from sources.rows.names import Names
from sources.xdf import xdf
from sources.xdf import xdf_rows as recorded
from sources.xdf.xdf import XdfRecording, load, why_not
from tests.support.json_lines import json_lines

SECONDS = 90.0


def movement(seed):
    rng = np.random.default_rng(seed)
    hz, phase = rng.uniform(0.05, 1.2, 60), rng.uniform(0, 2 * np.pi, 60)
    return lambda t: np.sin(2 * np.pi * hz * t[:, None] + phase).sum(axis=1)[:, None] / 5


def healthy(name="good", rate=50.0, lag=0.0, seed=3, **what):
    host = regular(rate, SECONDS)
    return XdfFileStream(name, host, rate, values=movement(5)(host - lag), seed=seed, **what)


def found(path, stream):
    """Return how many samples of a stream are used, and the range of their host time."""
    track = next(t for t in load(str(path)).tracks if t.source == stream and not t.stamped)
    rx = track.rx.read(0, len(track))
    return len(rx), (float(rx.min()), float(rx.max())) if len(rx) else (np.nan, np.nan)


def far(bad):
    bad.stamps = bad.stamps + 1.7e9


def local(bad):
    bad.stamps = bad.stamps - 7200.0


def jump(size, part=0.5):
    def change(bad):
        bad.stamps = np.where(np.arange(len(bad.stamps)) > part * len(bad.stamps),
                              bad.stamps + size, bad.stamps)  # fmt: skip

    return change


def trash(bad):
    rng = np.random.default_rng(1)
    at = rng.random(len(bad.stamps)) < 0.05
    bad.stamps[at] = rng.uniform(-1e6, 1e11, at.sum())


def last_reading(bad):
    bad.reading[-1] += 7e5


def last_reading_at(bad):
    bad.reading_at[-1] -= 4e6


def one_reading(bad):
    bad.reading[len(bad.reading) // 2] -= 3e4


FAULTS = {
    "unix": (far, 0.0, "Unix time beside machine time?"),
    "local time": (local, 0.0, "local time"),
    "jump back": (jump(-2e5), 0.49, "199,9"),
    "jump on": (jump(4e4, 0.3), 0.29, "readings"),
    "jump of an hour": (jump(-3600.0, 0.7), 0.69, "readings"),
    "jump of some seconds": (jump(-20.0, 0.6), 0.4, "order of its samples"),
    "trash": (trash, 0.94, "readings"),
    "last reading": (last_reading, 1.0, "readings of the clock of bad"),
    "time of the last reading": (last_reading_at, 1.0, "readings of the clock of bad"),
    "one reading": (one_reading, 1.0, "readings of the clock of bad"),
}  # fmt: skip


@pytest.mark.parametrize("offset_s", [0.0, -812.5])
@pytest.mark.parametrize("fault", FAULTS)
def test_one_stream_does_not_decide_the_fate_of_others(tmp_path, fault, offset_s):
    change, part, output = FAULTS[fault]
    good, bad = healthy(offset_s=3.0), healthy("bad", seed=4, offset_s=offset_s)
    count = len(bad.stamps)
    change(bad)
    path = tmp_path / "a.xdf"
    write(path, good, bad)
    n, span = found(path, "good")
    assert n == len(good.host)
    assert span == pytest.approx((good.host[0], good.host[-1]), abs=5e-3)
    used, span = found(path, "bad")
    assert used >= part * count
    if used:
        assert good.host[0] - 1 < span[0] and span[1] < good.host[-1] + 1
        assert abs(span[1] - span[0]) < SECONDS + 1
    remarks = load(str(path)).remarks
    assert any(output in x for x in remarks), remarks


@pytest.mark.parametrize("fault", [far, local, jump(-2e5)])
def test_a_run_over_it_balances_and_names_the_stream(tmp_path, monkeypatch, capsys, fault):
    good, bad = healthy(), healthy("muse", lag=0.1, seed=4)
    fault(bad)
    write(tmp_path / "a.xdf", good, bad)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(
        "version: 2\nstreams: [{name: a, type: file, path: a.xdf}]\nsignals: {s: {members: "
        "{'good:x': {}, 'muse:x': {}}}}\noutput: {dir: out}\n"
    )
    assert main(["run", "a.yaml"]) == 0
    output = capsys.readouterr().out
    assert "Account of events, balanced\n" in output
    assert "stamps of muse lie" in output
    run = json.loads((tmp_path / "out/run.json").read_text())
    ends = run["account"]["by_source"]
    assert ends["good"]["used"] >= 0.99 * len(good.host)
    assert ends["muse"]["used"] + ends["muse"]["rejected"] == len(bad.host)
    dead = json_lines(tmp_path / "out/dead.jsonl")
    assert {(d["source"], d["reason"]) for d in dead} == {("muse", "wild_stamp")}
    assert all(d["sample"].startswith("stamps of muse lie ") for d in dead)
    ticks = [json.loads(x)["ts"] for x in (tmp_path / "out/fused.jsonl").read_text().splitlines()]
    assert good.host[0] - 1 <= ticks[0] and ticks[-1] <= good.host[-1] + 1


def test_streams_that_nobody_read_stand_with_most(tmp_path):
    streams = [healthy(n, has_readings=False, seed=k) for k, n in enumerate("abc")]
    far(streams[1])
    path = tmp_path / "a.xdf"
    write(path, *streams)
    assert [found(path, n)[0] for n in "abc"] == [4500, 0, 4500]
    assert any("those of the other streams" in x for x in load(str(path)).remarks)


def test_a_stream_that_nobody_read_stands_with_the_recorder(tmp_path):
    near, away = healthy("near", has_readings=False), healthy("away", has_readings=False)
    near.stamps -= 12.0
    away.stamps -= 5e4
    path = tmp_path / "a.xdf"
    write(path, healthy(), near, away)
    assert (found(path, "near")[0], found(path, "away")[0]) == (4500, 0)
    remarks = load(str(path)).remarks
    assert "near: its clock was never read; taken to be the recorder's" in remarks
    assert any("stamps of away lie 49,9" in x and "recorder's clock" in x for x in remarks)


def test_a_clock_that_is_set_is_no_fault(tmp_path):
    stream = healthy("set", steps=((5040.0, -2e5),))
    path = tmp_path / "a.xdf"
    write(path, healthy(), stream)
    assert found(path, "set")[0] == len(stream.host)
    assert not load(str(path)).remarks


def test_a_slope_is_not_drawn_out_over_more_than_ten_spans(tmp_path):
    """Readings of 15 s with a slope by chance; samples for ten minutes."""
    host = regular(20.0, 500.0)
    stream = XdfFileStream("s", host, 0.0, every_s=5.0)
    keep = slice(0, 4)
    stream.reading_at, stream.reading = stream.reading_at[keep], np.array([0, 1, 2, 3]) * 5e-3
    path = tmp_path / "a.xdf"
    write(path, stream)
    _, (_, last) = found(path, "s")
    assert abs(last - host[-1]) < 0.015 + 1.1 * 10 * 0.015


@pytest.mark.parametrize("seed", range(3))
def test_samples_of_a_lossy_radio_keep_their_order(tmp_path, seed):
    rng = np.random.default_rng(seed)
    host = regular(250.0, 60.0)
    kept = np.repeat(rng.random(len(host) // 10) > 0.3, 10)
    host = host[kept]
    stream = XdfFileStream("obci", host, 250.0, seed=seed)
    stream.values = np.arange(len(host))[:, None] * 1.0
    stream.stamps = stream.stamps + np.repeat(rng.exponential(0.03, len(host) // 10), 10)
    path = tmp_path / "a.xdf"
    write(path, stream)
    track = load(str(path)).tracks[0]
    rx = track.rx.read(0, len(track))
    assert len(rx) == len(host)
    assert (np.diff(rx) >= 0).all()
    shown = [r for r in every_row(path) if r[0] == "obci:x"]
    assert [value for _, _, value in shown] == list(range(len(host)))
    assert np.sqrt(np.mean((rx - host) ** 2)) < np.sqrt(np.mean((stream.stamps - host) ** 2))
    assert any("times were moved, by at most" in x for x in load(str(path)).remarks)


def every_row(path, *, most=None, used=None, mark=None):
    """Return all rows as (channel, host time, value, text or reason), read so many at a time."""
    recording = XdfRecording(str(path), mark=mark, used=used)
    names, out = Names("studio"), []
    while recording.read():
        rows = recording.rows(names)
        notes = [None] * len(rows) if rows.notes is None else rows.notes.tolist()
        for i, note in enumerate(notes):
            channel = ":".join(names.channels[rows.name[i]]) if rows.name[i] >= 0 else "?"
            output = (note.reason, note.where, note.count) if hasattr(note, "reason") else note
            out.append(
                (channel, float(rows.rx[i]), float(rows.value[i]) if note is None else output)
            )
    return out


def mixed(tmp_path):
    """Return a file of numbers, bad numbers, texts, empty and long ones, and bad stamps."""
    good, bad = healthy(labels=("a", "b")), healthy("bad", seed=4)
    good.values = np.random.default_rng(0).normal(size=(len(good.host), 2))
    good.values[::97, 1] = np.nan
    trash(bad)
    host = 5005.0 + np.arange(17) * 5.0
    marks = XdfFileStream("marks", host, texts=("", "go", "", "x" * (1 << 20) + "y"), kind="exact")
    blank = XdfFileStream("blank", host + 0.5, texts=("",), kind="exact")
    path = tmp_path / "a.xdf"
    write(path, good, bad, marks, blank)
    return path


@pytest.mark.parametrize("most", [1, 7, 100, 5000])
def test_the_fate_of_a_row_is_its_own_however_many_are_read(tmp_path, monkeypatch, most):
    path = mixed(tmp_path)
    whole = every_row(path)
    monkeypatch.setattr(recorded, "_MAX_ROWS", most)
    xdf._kept.clear()
    got = every_row(path)
    assert repr(got) == repr(whole)
    texts = [output for channel, _, output in got if channel == "blank:x"]
    assert texts == [""] * 17
    assert sum(output == "" for channel, _, output in got if channel == "marks:x") == 9


@pytest.mark.parametrize("part", [0.001, 0.5, 0.99, 1.0])
def test_it_goes_on_at_any_line_with_the_same_rows(tmp_path, part):
    path = mixed(tmp_path)
    lines = len(load(str(path)))
    whole, rest = every_row(path), every_row(path, mark=Mark(int(part * lines) - 1))
    assert repr(rest) == repr(whole[-len(rest) :])


def test_readings_that_are_not_used_have_no_arrival(tmp_path):
    stream = healthy()
    stream.reading_at = stream.reading_at - 300.0  # before all samples
    stream.reading_at[:3] -= 250.0
    path = tmp_path / "a.xdf"
    write(path, stream)
    offsets = [rx for c, rx, _ in every_row(path, used={"good:x"}) if c == "good:clock_offset"]
    assert offsets and np.isnan(offsets).all()
    offsets = [rx for c, rx, _ in every_row(path) if c == "good:clock_offset"]
    assert np.isfinite(offsets).all()


def test_unused_readings_change_nothing_of_a_run(tmp_path, monkeypatch):
    stream, quiet = healthy(), healthy()
    stream.reading_at, stream.reading = stream.reading_at[:-1], stream.reading[:-1]
    quiet.reading_at, quiet.reading = stream.reading_at.copy(), stream.reading.copy()
    # A clock that is asked long after its last sample.
    stream.reading_at = np.append(stream.reading_at, [5200.0, 5205.0])
    stream.reading = np.append(stream.reading, [0.0, 0.0])
    monkeypatch.chdir(tmp_path)
    printed = []
    for name, one in (("a", stream), ("b", quiet)):
        write(tmp_path / f"{name}.xdf", one)
        (tmp_path / f"{name}.yaml").write_text(
            f"version: 2\nstreams: [{{name: a, type: file, path: {name}.xdf}}]\n"
            f"signals: {{s: {{members: {{'good:x': {{}}}}}}}}\noutput: {{dir: {name}}}\n"
        )
        assert main(["run", f"{name}.yaml"]) == 0
        lines = (tmp_path / name / "fused.jsonl").read_text().splitlines()
        printed.append([json.loads(x)["ts"] for x in lines])
    assert printed[0] == printed[1]


def texts_only():
    return (
        XdfFileStream("hand", 5000.0 + np.arange(38) * 2.0, texts=("step",), has_readings=False),
    )


REFUSED = {
    "empty": (b"", "empty (0 bytes)"),
    "another format": (b"\x1f\x8b" + bytes(200), "no XDF file: it begins with"),
    "no chunk": (b"XDF:\x04" + struct.pack("<I", 30) + bytes(500), "damaged: "),
    "no stream": (b"XDF:" + chunk(1, b"<info/>"), "holds no stream"),
    "markers": (texts_only(), "markers only (38 texts of hand)"),
    "few": (
        (XdfFileStream("s", regular(1.0, 3.0)),),
        "no channel with more than 8 numbers (3 at most)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_each_refusal_has_its_own_sentence(tmp_path, monkeypatch, capsys, name):
    content, output = REFUSED[name]
    path = tmp_path / "a.xdf"
    path.write_bytes(content) if isinstance(content, bytes) else write(path, *content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as refused:
        main(["replay", "a.xdf"])
    assert refused.value.code == 2
    printed = capsys.readouterr().err.splitlines()[-1]
    assert printed.startswith("lumen: a.xdf: ") and output in printed


def test_a_packed_file_is_read_and_one_of_something_else_is_refused(tmp_path):
    write(tmp_path / "a.xdf", healthy())
    data = (tmp_path / "a.xdf").read_bytes()
    (tmp_path / "a.xdfz").write_bytes(gzip.compress(data))
    (tmp_path / "b.xdf.gz").write_bytes(gzip.compress(b"ts,value\n1,2\n"))
    (tmp_path / "c.xdf.gz").write_bytes(b"no archive at all")
    assert every_row(tmp_path / "a.xdfz") == every_row(tmp_path / "a.xdf")
    path = str(tmp_path / "b.xdf.gz")
    assert "no XDF file: it begins with b'ts,value'" in str(why_not(path, load(path), MIN_COUNT))
    with pytest.raises(ValueError, match="no gzip archive"):
        load(str(tmp_path / "c.xdf.gz"))


def test_names_from_data_are_literal(tmp_path, monkeypatch, capsys):
    labels = ("C3", "C*", "why?", "[x]")
    stream = healthy(labels=labels)
    stream.values = np.repeat(stream.values, 4, axis=1)
    write(tmp_path / "a.xdf", stream)
    monkeypatch.chdir(tmp_path)
    assert main(["replay", "a.xdf"]) == 0
    capsys.readouterr()
    lines = (tmp_path / "out/sync.jsonl").read_text().splitlines()
    used = {x["channel"]: x["used"] for x in map(json.loads, lines)}
    assert all(used[f"good:{label}"] == len(stream.host) for label in labels)


@pytest.mark.parametrize("least", [2**53 + 1, -(2**62)])
def test_integers_that_are_rounded_are_reported(tmp_path, least):
    stream = healthy("counter", labels=("ns", "n"), form="int64")
    n = len(stream.host)
    write(tmp_path / "a.xdf", stream)
    assert not load(str(tmp_path / "a.xdf")).remarks
    stream.values = np.stack([least + np.arange(n), np.arange(n)], 1).astype(np.int64)
    write(tmp_path / "a.xdf", stream)
    xdf._kept.clear()
    (output,) = load(str(tmp_path / "a.xdf")).remarks
    assert output.startswith(f"counter:ns: {n:,} integers beyond 2^53")


def test_a_file_is_decoded_once_a_process_until_it_changes(tmp_path, monkeypatch):
    write(tmp_path / "a.xdf", healthy())
    first = load(str(tmp_path / "a.xdf"))
    assert load(str(tmp_path / "a.xdf")) is first
    write(tmp_path / "a.xdf", healthy(), healthy("two"))
    assert len(load(str(tmp_path / "a.xdf")).tracks) == 4


def test_loading_is_lean_in_time_and_memory(tmp_path):
    """A million numbers a CPU second and 40 bytes each, of audio with a stamp a chunk."""
    path = tmp_path / "a.xdf"
    write(path, XdfFileStream("mic", regular(32_000.0, 90.0), 32_000.0, "int16", one_stamp=True))
    cost = measured("ours", path)
    assert cost["numbers"] > 2_880_000
    assert cost["peak"] / cost["numbers"] <= 40
    assert cost["numbers"] / cost["cpu_s"] >= 1e6


def test_samples_without_stamps_follow_at_the_nominal_rate(tmp_path):
    pyxdf = pytest.importorskip("pyxdf")
    stream = XdfFileStream(
        "mic", regular(200.0, 20.0), 200.0, "int16", one_stamp=True, offset_s=3.0
    )
    write(tmp_path / "a.xdf", stream)
    track = load(str(tmp_path / "a.xdf")).tracks[0]
    theirs = pyxdf.load_xdf(tmp_path / "a.xdf", dejitter_timestamps=False,
                            synchronize_clocks=False)[0][0]  # fmt: skip
    assert track.ts.read(0, len(track)) == pytest.approx(theirs["time_stamps"], abs=1e-9)
    assert np.array_equal(track.values.read(0, len(track)), theirs["time_series"][:, 0])


def test_stamps_may_be_left_out_anywhere(tmp_path):
    """Runs of samples with and without stamps in one chunk."""
    flags, rows, stamps, last = [1, 0, 0, 1, 1, 0, 1, 0, 0, 0], [], [], 0.0
    for i, flag in enumerate(flags):
        last = 50.0 + i * 0.11 if flag else last + 0.1
        stamps.append(last)
        rows.append((b"\x08" + struct.pack("<d", last) if flag else b"\0") + struct.pack("<h", i))
    head = XdfFileStream("s", regular(10.0, 1.0), 10.0, "int16").header()
    mark = struct.pack("<I", 1)
    body = bytes([1, len(rows)]) + b"".join(rows)
    (tmp_path / "a.xdf").write_bytes(b"XDF:" + chunk(2, mark + head) + chunk(3, mark + body))
    track = load(str(tmp_path / "a.xdf")).tracks[0]
    assert track.ts.read(0, 10).tolist() == pytest.approx(stamps)
    assert track.values.read(0, 10).tolist() == list(range(10))


def test_loading_shows_how_far_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sources.recordings.progress._ELSEWHERE_S", 0.0)
    write(tmp_path / "a.xdf", healthy())
    load(str(tmp_path / "a.xdf"), progress=True)
    printed = capsys.readouterr().err.splitlines()
    assert all(line.startswith("a.xdf: read ") for line in printed)
    assert printed[-1].startswith("a.xdf: read  100.0 %  4,500 events")
    assert "50.0 %" in printed[0] or len(printed) > 2


def test_a_full_disk_ends_the_load_with_an_error(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    write(tmp_path / "a.xdf", healthy())
    monkeypatch.setattr("sources.recordings.spool.os.pwrite", full)
    with pytest.raises(OSError, match="No space"):
        load(str(tmp_path / "a.xdf"))
