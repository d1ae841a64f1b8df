import gzip
import random

import numpy as np
import pytest

from configs.inputs import Columns
from configs.load import ConfigError, load
from configs.schema import Config
from ops.__main__ import main
from ops.cli.guess.delimited_files import remarks
from sources.delimited.dialect import find
from sources.opening import reader_at
from sources.recordings import recording
from sources.rows.names import Names
from tests.sources.replay.replayed import close_all, replay

import msgspec  # isort: skip


@pytest.fixture(autouse=True)
def all_closed():
    yield
    close_all()


def rows_of(path, text, pieces=1, **how):
    """Return (channel, ts, rx, value) of a file's rows; a reject as (reason, sample)."""
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(data)
    reader, names, out = reader_at(str(path), **how), Names("studio"), []
    lines = data.splitlines(keepends=True)
    per = -(-len(lines) // pieces)
    for i in range(0, len(lines), per):
        block = b"".join(lines[i : i + per])
        rows = reader.decode(block, sum(map(len, lines[:i])), names)
        for k in range(len(rows)):
            note = None if rows.notes is None else rows.notes[k]
            if rows.name[k] < 0:
                assert np.isnan([rows.ts[k], rows.rx[k], rows.value[k]]).all()
                assert not rows.stamped[k]
                out.append((note.reason, note.sample.decode()))
            else:
                channel = ":".join(names.channels[rows.name[k]])
                value = note if note is not None else float(rows.value[k])
                out.append((channel, float(rows.ts[k]), float(rows.rx[k]), value))
    return out


def dialect(text, path="a.csv", columns=None, unit=None):
    return find(path, text.encode(), columns, unit)


def test_each_column_but_the_time_is_a_channel_of_the_file(tmp_path):
    assert rows_of(tmp_path / "left.csv", "time,x,y\n1.5,2,-3\n1.6,4e2,.5\n") == [
        ("left:x", 1.5, 1.5, 2.0), ("left:y", 1.5, 1.5, -3.0),
        ("left:x", 1.6, 1.6, 400.0), ("left:y", 1.6, 1.6, 0.5),
    ]  # fmt: skip


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_delimiter_line_end_and_mark_do_not_change_the_rows(tmp_path, delimiter, end, mark):
    lines = ["ts", "a", "b"], ["1.25", "0.5", "7"], ["1.5", "0.75", "8"]
    text = mark + "".join(delimiter.join(line) + end for line in lines)
    assert rows_of(tmp_path / "f.csv", text) == [
        ("f:a", 1.25, 1.25, 0.5), ("f:b", 1.25, 1.25, 7.0),
        ("f:a", 1.5, 1.5, 0.75), ("f:b", 1.5, 1.5, 8.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["t;v\n1,5;0,25\n1,75;-0,5\n", 't,v\n"1,5","0,25"\n"1,75","-0,5"\n',
     "t\tv\n1,5\t0,25\n1,75\t-0,5\n",
     "sep=;\nt;v\n1,5;0,25\n1,75;-0,5\n", "t;v\n 1,5 ; 0,25 \n1,75;   -0,5\n",
     '"t";"v"\n"1,5";"0,25"\n"1,75";"-0,5"\n', "# made by a logger\n#t;v\n1,5;0,25\n1,75;-0,5\n"],
)  # fmt: skip
def test_a_decimal_comma_is_found(tmp_path, text):
    assert rows_of(tmp_path / "c.csv", text) == [("c:v", 1.5, 1.5, 0.25), ("c:v", 1.75, 1.75, -0.5)]


def test_a_bad_cell_costs_that_cell_and_an_empty_one_is_no_event(tmp_path):
    text = "time,x,y\n1,,2\n2,abc,3\n3,nan,inf\n4,1e999,5\n5,1.2.3,6\n6,7,\n7,8,\n"
    assert rows_of(tmp_path / "b.csv", text) == [
        ("b:y", 1.0, 1.0, 2.0),
        ("value", "x=abc"), ("b:y", 2.0, 2.0, 3.0),
        ("value", "x=nan"), ("value", "y=inf"),
        ("value", "x=1e999"), ("b:y", 4.0, 4.0, 5.0),
        ("value", "x=1.2.3"), ("b:y", 5.0, 5.0, 6.0),
        ("b:x", 6.0, 6.0, 7.0), ("b:x", 7.0, 7.0, 8.0),
    ]  # fmt: skip


def test_a_line_without_its_time_or_its_cells_is_one_reject(tmp_path):
    text = "time,x,y\n1,1,1\nnoon,2,2\n,3,3\n4,4\n5,5,5,5\n\n6,6,6\n"
    assert rows_of(tmp_path / "b.csv", text) == [
        ("b:x", 1.0, 1.0, 1.0), ("b:y", 1.0, 1.0, 1.0),
        ("stamp", "time=noon"), ("stamp", "time="), ("schema", "4,4"), ("schema", "5,5,5,5"),
        ("b:x", 6.0, 6.0, 6.0), ("b:y", 6.0, 6.0, 6.0),
    ]  # fmt: skip


def test_a_column_of_texts_holds_markers(tmp_path):
    text = 'time;word;x\n1;go;1\n2;"stop; now";2\n3;7;3\n4;;4\n'
    found = [row for row in rows_of(tmp_path / "m.csv", text) if row[0] == "m:word"]
    assert [row[3] for row in found] == ["go", "stop; now", "7"]


def test_a_column_of_few_numbers_among_nan_is_one_of_numbers(tmp_path):
    text = "time,x\n" + "".join(f"{i},{'NaN' if i % 4 else i}\n" for i in range(8))
    found = rows_of(tmp_path / "n.csv", text)
    assert [row[3] for row in found if row[0] == "n:x"] == [0.0, 4.0]
    assert [row for row in found if row[0] != "n:x"] == [("value", "x=NaN")] * 6


@pytest.mark.parametrize(
    ("name", "cell", "unit"),
    [("time", 1730000000.5, "s"), ("time", 1730000000500, "ms"), ("time", 1730000000500000, "us"),
     ("time", 1730000000500000000, "ns"), ("time_ms", 1730000000500, "ms"), ("t [us]", 5_000, "us"),
     ("timestamp (ms)", 0, "ms"), ("ts_ns", 12, "ns"), ("time_s", 3, "s"), ("time", 3, "s")],
)  # fmt: skip
def test_the_unit_of_times_is_found(tmp_path, name, cell, unit):
    text = f"v,{name}\n1,{cell}\n2,{cell + 10}\n"
    assert dialect(text).unit == unit
    per_second = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[unit]
    assert [row[1] for row in rows_of(tmp_path / "u.csv", text)] == [
        float(cell) / per_second, float(cell + 10) / per_second,
    ]  # fmt: skip


def test_a_unit_that_is_given_is_taken(tmp_path):
    rows = rows_of(tmp_path / "u.csv", "time,v\n1000,1\n2000,2\n", unit="ms")
    assert [row[1] for row in rows] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "time"),
    [("v,timestamp\n1,5\n2,4\n", "timestamp"), ("v,when\n1,2024-01-01 00:00:00\n", "when"),
     ("a,b\n1,5\n2,5\n3,5\n", "a"), ("Time,x,unix_time\n1,1,1\n", "Time"),
     ("1,2\n2,2\n3,2\n", "column_1")],
)  # fmt: skip
def test_the_time_column_is_found_by_name_or_content(text, time):
    found = dialect(text)
    assert found.names[found.time] == time


@pytest.mark.parametrize(
    ("text", "cause"),
    [("", "no line of cells"), ("one\ntwo\n", "no comma, semicolon or tab"),
     ("x,y\n3,1\n1,1\n2,1\n", "no column of times among x, y"),
     ("time,v\n10:00:01,1\n10:00:02,2\n", "'time' holds '10:00:01'"),
     ("time,v\n0,5,1,5\n0,6,1,7\n0,7,1,7\n", "a decimal comma beside commas"),
     ("time\0v\n", "not UTF-8")],
)  # fmt: skip
def test_an_unreadable_file_is_refused_with_its_cause(text, cause):
    with pytest.raises(ValueError, match=cause):
        dialect(text)


def test_columns_are_named_by_the_configuration(tmp_path):
    text = "t,rx,x,y\n5000,1730000000.5,1,2\n5010,1730000000.75,3,4\n"
    columns = Columns(ts="t", rx="rx", values=["y"])
    assert rows_of(tmp_path / "n.csv", text, columns=columns, unit="ms") == [
        ("n:y", 5.0, 1730000000.5, 2.0), ("n:y", 5.01, 1730000000.75, 4.0),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no column 'z', expected one of t, rx, x, y"):
        dialect(text, columns=Columns(ts="z"))


def lively(n=600, seed=3):
    """Lines with everything in them."""
    rng = random.Random(seed)
    lines = ["time;x;y;word"]
    for i in range(n):
        time, number = f"{1.7e9 + i * 0.02:.3f}", f"{rng.gauss(0, 1):.4f}"
        other, word = ["1", "", "bad", "1e-3", '"2,5"', " 3 "], ["", "a", '"b;c"']
        cells = [time.replace(".", ","), number.replace(".", ","), rng.choice(other)]
        cells.append(rng.choice(word))
        roll = rng.random()
        if roll < 0.05:
            cells[0] = rng.choice(["", "soon", "1e15"])
        elif roll < 0.1:
            cells = cells[: rng.randrange(1, 4)]
        elif roll < 0.12:
            cells = [""]
        lines.append(";".join(cells))
    return "".join(f"{line}\n" for line in lines)


def test_rows_are_the_same_however_the_lines_are_cut(tmp_path):
    text = lively()
    whole = rows_of(tmp_path / "l.csv", text)
    assert {row[0] for row in whole} >= {"l:x", "l:y", "l:word", "value", "stamp", "schema"}
    for pieces in (7, 601):
        assert rows_of(tmp_path / "l.csv", text, pieces) == whole


def config(*paths, **stream):
    streams = [
        {"name": f"f{i}", "type": "file", "path": str(p)} | stream for i, p in enumerate(paths)
    ]
    return msgspec.convert(
        {"version": 2, "streams": streams, "signals": {"s": {"members": {"a:x": {}}}}}, Config
    )


@pytest.mark.parametrize("packed", [False, True])
def test_a_replay_is_the_same_at_any_batch_size_and_after_any_resume(tmp_path, monkeypatch, packed):
    monkeypatch.setattr(recording, "READ", 2000)
    for i, name in enumerate(("a.csv", "b.csv")):
        data = lively(seed=i).encode()
        path = tmp_path / (name + ".gz" if packed else name)
        path.write_bytes(gzip.compress(data) if packed else data)
    paths = sorted(tmp_path.iterdir())
    whole = replay(config(*paths)).everything()
    assert len(whole[0]["studio"]) > 2000
    for lines in (1, 13):
        assert replay(config(*paths, batch_lines=lines), resume_every=17).everything() == whole


def test_a_torn_last_line_is_one_reject(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("time,x,y\n1,1,1\n2,2,2\n3,3")
    seen = replay(config(path))
    assert [reject[1] for reject in seen.rejects["studio"]] == ["torn"]
    assert len(seen.rows["studio"]) == 4


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_the_unit_of_lines_of_json_is_a_key_of_the_stream(tmp_path, unit):
    per_second = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}[unit]
    path = tmp_path / "a.ndjson"
    lines = []
    for i in range(1730000000, 1730000060):
        begin = f'{{"ts": {i * per_second}, "source": "a", "key": "x", "value": '
        lines += [f"{begin}1.5}}\n", f'{begin}"go"}}\n']
        lines.append(f'{begin}[1, 2], "meta": {{"rx": {i}.25}}}}\n')
    path.write_text("".join(lines))
    reader, names = reader_at(str(path), unit=unit), Names("studio")
    rows = reader.decode(path.read_bytes(), 0, names)
    assert sorted(set(rows.ts.tolist())) == [1730000000.0 + i for i in range(60)]
    assert sorted(set(rows.rx.tolist())) == sorted(
        {1730000000.0 + i + part for i in range(60) for part in (0, 0.25)}
    )


def loaded(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(f"version: 2\n{text}\nsignals: {{s: {{members: {{'a:x': {{}}}}}}}}\n")
    return load(path)


def test_check_refuses_columns_of_a_file_without_and_two_files_of_one_name(tmp_path):
    for name in ("a.ndjson", "a.csv"):
        (tmp_path / name).write_text("time,x\n1,2\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.csv").write_text("time,x\n1,2\n")
    with pytest.raises(ConfigError, match=r"expected a path that ends in \.csv, \.tsv"):
        loaded(
            tmp_path,
            f"streams: [{{name: r, type: file, path: {tmp_path}/a.ndjson, columns: {{ts: time}}}}]",
        )
    with pytest.raises(ConfigError, match="are both the source 'a'"):
        loaded(tmp_path, f"streams: [{{name: r, type: file, path: {tmp_path}/a.csv}},"
                         f" {{name: q, type: file, path: {tmp_path}/b/a.csv}}]")  # fmt: skip


def test_a_run_refuses_a_file_without_times_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("x,y\n3,1\n1,1\n2,1\n")
    (tmp_path / "c.yaml").write_text(
        "version: 2\nstreams: [{name: r, type: file, path: a.csv}]\n"
        "signals: {s: {members: {'a:x': {}}}}\n"
    )
    for words in (["run", "c.yaml"], ["replay", "a.csv"]):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines == [
            "lumen: a.csv: no column of times among x, y: name one, by --time COLUMN"
            " or in YAML columns: {ts: COLUMN}"
        ]


def test_replay_reports_what_it_found_and_writes_it_down(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wave = np.sin(np.arange(400) / 9).round(4).tolist()
    lines = [f"{5000 + 20 * i},{v}\n" for i, v in enumerate(wave)]
    (tmp_path / "a.csv").write_text("when,x\n" + "".join(lines))
    lines = [
        f"01.01.1970 00:00:{5 + i * 0.02:06.3f};{v}\n".replace(".", ",").replace("01,01,", "01.01.")
        for i, v in enumerate(wave)
    ]
    (tmp_path / "b.csv").write_text("Zeit;x\n" + "".join(lines))
    assert main(["replay", "a.csv", "b.csv", "--time", "when", "--unit", "ms"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "a.csv: comma between cells, decimal point, a header, time in 'when' (ms), 1 channel.",
        "b.csv: semicolon between cells, decimal comma, a header, time in 'Zeit'"
        " (dates without a zone, taken as UTC), 1 channel.",
    ]
    streams = load(tmp_path / "out.yaml").config.streams
    assert [(s.columns.ts, s.ts_unit) for s in streams] == [("when", "ms"), ("Zeit", None)]


def test_replay_refuses_files_without_a_time_in_common(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("time,x\n1,2\n2,3\n")
    (tmp_path / "b.csv").write_text("time,x\n1730000000,2\n1730000001,3\n")
    with pytest.raises(SystemExit):
        main(["replay", str(tmp_path / "a.csv"), str(tmp_path / "b.csv")])
    assert "they have no time in common" in capsys.readouterr().err


def test_replay_refuses_a_time_column_that_no_file_has(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("time,x\n1,2\n2,3\n")
    with pytest.raises(SystemExit):
        main(["replay", str(tmp_path / "a.csv"), "--time", "when"])
    assert "--time when: no delimited file has a column of that name" in capsys.readouterr().err


def test_texts_that_look_like_numbers_are_named_with_the_remedy(tmp_path):
    path = tmp_path / "a.ndjson"
    values = {"comma": '"0,5"', "point": '"1.5"', "word": '"go"', "number": "0.5"}
    path.write_text("".join(
        f'{{"ts": {i}, "source": "s", "key": "{key}", "value": {value}}}\n'
        for i in range(12) for key, value in values.items()
    ))  # fmt: skip
    assert remarks([path], {}) == [
        f"{path}: the texts of s:{key} look like numbers ({text}) but are markers and not"
        " fused; write them as numbers, with a point and without quotes."
        for key, text in (("comma", "'0,5'"), ("point", "'1.5'"))
    ]


def test_no_bytes_behind_the_header_raise(tmp_path):
    rng = random.Random(7)
    path = tmp_path / "h.csv"
    path.write_bytes(lively().encode())
    reader, names = reader_at(str(path)), Names("studio")
    start = len(b"time;x;y;word\n")
    alphabet = [b";", b",", b".", b'"', b"\n", b"\r", b" ", b"1", b"-", b":", b"T", b"e9", b"\xff",
                b"\0", b"2024-01-01 00:00:00", b'""', b"9" * 30]  # fmt: skip
    for _ in range(300):
        block = b"".join(rng.choices(alphabet, k=rng.randrange(1, 200)))
        rows = reader.decode(block, start, names)
        used = rows.name >= 0
        assert np.isfinite(rows.ts[used]).all()
        assert np.isnan(rows.ts[~used]).all()
        assert (np.diff(rows.line) >= 0).all()
        assert rows.notes is None or len(rows.notes) == len(rows)
