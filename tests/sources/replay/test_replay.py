"""Rows of a replay: the same however cut, merged by arrival, paced by its speed."""

import gzip
import io
import json
import random

import numpy as np
import pytest
from backports import zstd

from ops.fakes.xdf_files import XdfFileStream, regular
from ops.fakes.xdf_files import write as write_xdf
from sources.recordings import recording
from sources.recordings.progress import Progress
from sources.replay.arrival_check import Arrivals
from sources.replay.poll import AT_ONCE
from sources.replay.replay import ReplayPartition
from sources.rows import names
from tests.sources.replay.replayed import OPENED, Seen, config, event, part, replay, write


def lively(n=900, seed=0, source="a"):
    """A recording with everything in it."""
    rng = random.Random(seed)
    lines, t = [], 1.7e9 + seed
    for i in range(n):
        t += rng.expovariate(10)
        roll = rng.random()
        rig = {"rig": rng.choice(["hall", "studio"])} if rng.random() < 0.3 else {}
        if roll < 0.04:
            lines.append(rng.choice(["{", "", "[1]", event(t, True, source), "\0\0"]))
        elif roll < 0.07:
            lines.append(event(t, [1, True, 2.5], source, **rig))
        elif roll < 0.09:
            lines.append(event(t, rng.choice(["now", ""]), source, **rig))
        elif roll < 0.095:
            lines.append(json.dumps({"control": "bridge.release", "rx": t, "by": source} | rig))
        elif roll < 0.11:
            lines.append(json.dumps({"tick": t} | rig))
        elif roll < 0.15:
            wild = [event(t + rng.choice([1e6, -1e6, 1e8]), i, source, **rig)
                    for _ in range(rng.randrange(1, 7))]  # fmt: skip
            lines += wild
        elif roll < 0.155:
            t += 500
        else:
            lines.append(event(t, rng.gauss(0, 1), source, **rig))
    return lines


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    paths = [write(folder / f"{s}.ndjson", lively(seed=i, source=s)) for i, s in enumerate("abc")]
    packed = folder / "a.ndjson.gz"
    packed.write_bytes(gzip.compress(paths[0].read_bytes(), mtime=0))
    return [*paths, packed]


@pytest.fixture(scope="module")
def quiet(recordings):
    return replay(config(*recordings[:3])).everything()


def test_the_recording_of_these_tests_has_everything_in_it(quiet):
    rows, rejects, texts, controls, ended = quiet
    assert sorted(rows) == ended == ["hall", "studio"]
    assert {s[1] for s in rejects["studio"]} == {"json", "schema", "value"}
    assert not rejects["hall"]
    assert all({text for _, text in x} == {"now", ""} for x in texts.values())
    assert {rig: {name for _, name, _ in x} for rig, x in controls.items()} == {
        "studio": {"bridge.release"},
        "hall": {"bridge.release"},
    }
    assert 0.02 < np.mean([r[5] for r in rows["studio"]]) < 0.3
    assert any(r[0] is None for r in rows["studio"])


@pytest.mark.parametrize("lines", [1, 37, 10_000])
def test_batches_of_any_size_are_the_same_rows(recordings, quiet, lines):
    assert replay(config(*recordings[:3], batch_lines=lines)).everything() == quiet


@pytest.mark.parametrize(("lines", "every"), [(37, 7), (1, 7), (5, 1), (101, 3)])
def test_a_run_that_is_resumed_again_and_again_gives_the_same_rows(recordings, quiet, lines, every):
    resumed = replay(config(*recordings[:3], batch_lines=lines), resume_every=every)
    assert resumed.everything() == quiet


@pytest.mark.parametrize(("lines", "every"), [(37, 7), (1000, 1), (9, None)])
def test_an_xdf_file_gives_the_same_rows_however_it_is_read(tmp_path, lines, every):
    """Numbers, bad numbers, texts, empty ones, bad stamps and bad readings, cut and resumed."""
    rng, host = np.random.default_rng(0), regular(50.0, 60.0)
    good, bad = (
        XdfFileStream(n, host, 50.0, labels=("x", "y"), seed=k) for k, n in enumerate("ab")
    )
    good.values[::31, 1] = np.nan
    bad.stamps[rng.random(len(host)) < 0.05] += 1e6
    bad.reading[-1] += 7e5
    marks = XdfFileStream("marks", 5001.0 + np.arange(20) * 2.5, texts=("", "go", ""), kind="exact")
    write_xdf(tmp_path / "a.xdf", good, bad, marks)
    whole = replay(config(tmp_path / "a.xdf", batch_lines=1_000_000)).everything()
    _, rejects, texts, *_ = whole
    assert [text for _, text in texts["studio"]] == (["", "go", ""] * 7)[:20]
    assert {x[1] for x in rejects["studio"]} == {"value", "wild_stamp"}
    part = replay(config(tmp_path / "a.xdf", batch_lines=lines), resume_every=every)
    assert part.everything() == whole


def test_small_reads_give_the_same_rows(recordings, quiet, monkeypatch):
    monkeypatch.setattr(recording, "READ", 777)
    assert replay(config(*recordings[:3], batch_lines=50), resume_every=9).everything() == quiet


def test_a_full_table_of_names_gives_the_same_rows(recordings, quiet, monkeypatch):
    monkeypatch.setattr(names, "MAX_NAMES", 3)
    monkeypatch.setattr(recording, "READ", 2000)
    assert replay(config(*recordings[:3], batch_lines=50)).everything() == quiet


def test_a_packed_recording_gives_the_same_rows(recordings, tmp_path):
    plain = replay(config(recordings[0]))
    zst = tmp_path / "a.ndjson.zst"
    zst.write_bytes(zstd.compress(recordings[0].read_bytes()))
    for path in (recordings[3], zst):
        seen = replay(config(path, batch_lines=41), resume_every=5)
        assert seen.rows == plain.rows
        assert [s[:3] for s in seen.rejects["studio"]] == [s[:3] for s in plain.rejects["studio"]]


def test_files_are_merged_by_arrival_and_ties_by_their_order(tmp_path):
    one = write(tmp_path / "1", [event(t, source="one") for t in (1, 3, 2, 5, 5)])
    two = write(tmp_path / "2", [event(t, source="two") for t in (0, 3, 4, 5, 6)])
    seen = replay(config(one, two))
    assert list(zip(seen.sources(), seen.arrivals(), strict=True)) == [
        ("two", 0), ("one", 1), ("one", 3), ("one", 2), ("two", 3), ("two", 4),
        ("one", 5), ("one", 5), ("two", 5), ("two", 6),
    ]  # fmt: skip
    assert len({r[7] for r in seen.rows["studio"]}) == 10


@pytest.mark.parametrize(
    ("arrivals", "wild"),
    [
        ([0, 1, 1e9, 2, 3], [2]),
        ([0, 1, -1e9, 2, 3], [2]),
        ([1e9, 0, 1, 2, 3], [0]),
        ([0, 1e9, 1, 2], [1]),
        ([0, 1, 100, 101, 102, 103, 2], [2, 3, 4, 5]),
        ([0, 1, 100, 101, 102, 103, 104, 105], []),
        ([0, 1, 100, 101, 102, 103, 104, 2, 105], [7]),
        ([100, 101, 0, 1, 2, 3, 4, 5], []),
        ([0, 1, 1e9, 100, 101, 102, 103, 104], [2]),
        ([0, 60, 120, 180, 240, 300], [5]),
        ([60 * i for i in range(10)], []),
        ([0, 60, 120], [1, 2]),
        ([0, 1, 100, 101], [2, 3]),
        ([0, 29, 0, 30, 58], []),
        ([5], []),
    ],
)
def test_wild_arrivals_are_marked_and_a_gap_is_believed(tmp_path, arrivals, wild):
    path = write(tmp_path / "f", [event(t) for t in arrivals])
    for lines in (1, 3, 100):
        seen = replay(config(path, batch_lines=lines), resume_every=1)
        assert seen.arrivals() == arrivals
        assert [i for i, w in enumerate(seen.wild()) if w] == wild


def test_the_elements_of_an_array_are_one_arrival(tmp_path):
    path = write(tmp_path / "f", [event(0), event(1), event(99, [1, 2, 3, 4, 5, 6]), event(2)])
    assert replay(config(path)).wild() == [False, False, *[True] * 6, False]


def test_a_wild_arrival_does_not_move_the_merge(tmp_path):
    one = write(tmp_path / "1", [event(t, source="one") for t in (0, 1e9, 1, 2)])
    two = write(tmp_path / "2", [event(t, source="two") for t in (0.5, 1.5)])
    assert replay(config(one, two)).sources() == ["one", "one", "two", "one", "two", "one"]


def test_verdicts_do_not_depend_on_how_rows_are_shown():
    rng = random.Random(1)
    for _ in range(300):
        n = rng.randrange(1, 60)
        rx = np.array([rng.choice([0, 0, 0, 1, 90, 200, -90, np.nan]) + i / 10 for i in range(n)])
        line = np.repeat(np.arange(n), [rng.choice([1, 1, 1, 3]) for _ in range(n)])
        rx = rx[line]
        whole = Arrivals(30.0).judge(rx, line, end=True)
        assert whole.count == len(rx)
        state, wild, keys, at = Arrivals(30.0), [], [], 0
        cuts = np.searchsorted(line, sorted(rng.choices(range(n), k=5)))
        for stop_at in np.unique(np.append(cuts, len(rx))).tolist():
            judged = state.judge(rx[at:stop_at], line[at:stop_at], end=stop_at == len(rx))
            wild += judged.wild[: judged.count].tolist()
            keys += judged.merge_time[: judged.count].tolist()
            at += judged.count
        assert wild == whole.wild.tolist()
        assert keys == whole.merge_time.tolist()


def test_a_missing_recording_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"recording not found: .*nowhere\.ndjson"):
        part(config(tmp_path / "nowhere.ndjson"))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_recording_that_became_shorter_is_refused(tmp_path, suffix):
    def save(lines):
        data = "".join(f"{x}\n" for x in lines).encode()
        path.write_bytes(gzip.compress(data) if suffix else data)

    path = tmp_path / f"f.ndjson{suffix}"
    save([event(i) for i in range(9)])
    source = part(config(path, batch_lines=6))
    source.next_batch()
    save([event(0)])
    with pytest.raises(ValueError, match="shorter than when it was read"):
        part(config(path), source.snapshot())


def test_the_state_of_other_recordings_is_refused(tmp_path):
    one, two = write(tmp_path / "1", [event(0)]), write(tmp_path / "2", [event(0)])
    with pytest.raises(ValueError, match="other recordings"):
        part(config(two), part(config(one)).snapshot())


def test_speed_paces_by_arrival(tmp_path):
    now = [50.0]
    path = write(tmp_path / "f", [event(t) for t in (1000, 1001, 1002, 1010)])
    source = ReplayPartition(config(path, speed=2.0), clock=lambda: now[0])
    OPENED.append(source)
    seen = Seen()
    counts = []
    for now[0] in (50.0, 50.1, 50.5, 50.9, 51.0, 54.9):
        items = source.next_batch()
        counts.append(sum(len(b.rx) for _, b in items))
        awake = source.next_awake()
        # Past under any clock: the engine compares it with the wall clock.
        assert awake == (None if items else AT_ONCE)
        seen.take(items)
    assert counts == [1, 0, 1, 0, 1, 0]
    now[0] = 55.0
    seen.take(source.next_batch())
    assert seen.ended == ["studio"]
    assert seen.arrivals() == [1000, 1001, 1002, 1010]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("out", "least", "most"), [(Terminal(), 45, 51), (io.StringIO(), 2, 3)])
def test_progress_is_shown_a_few_times_a_second_at_most(out, least, most):
    now = 0.0
    progress = Progress(1000, out, lambda: now)
    for i in range(1001):
        now = i / 100
        progress.show(i, 10, 1.7e9 + now, end=i == 1000)
    shown = out.getvalue()
    assert least <= shown.count("events") <= most
    assert shown.endswith("100.0 %  10,010 events  1,001/s  2023-11-14 22:13:30\n")


def test_a_replay_is_silent_unless_asked(tmp_path, capsys):
    cfg = config(write(tmp_path / "f", [event(0)]))
    part(cfg).next_batch()
    assert capsys.readouterr().err == ""
    part(cfg, progress=True).next_batch()
    assert "1 events" in capsys.readouterr().err


@pytest.mark.parametrize("lines", [1, 2, 3, 100])
def test_ticks_before_the_first_event_of_a_rig_are_dropped_however_cut(tmp_path, lines):
    tick = [json.dumps({"tick": t, "rig": "hall"}) for t in (0.5, 1.5, 3.0)]
    path = write(tmp_path / "f", [event(0.0), tick[0], event(1.0), tick[1], event(2.0, rig="hall"),
                                  tick[2]])  # fmt: skip
    rows = replay(config(path, batch_lines=lines)).everything()[0]
    assert [row[0] for row in rows["hall"]] == [("a", "x"), None]
    assert [row[0] for row in rows["studio"]] == [("a", "x")] * 2
