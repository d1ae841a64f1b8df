"""Columnar files that no recorder should write, in whole runs and beside the slower reader."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from arro3.core import Array, DataType, RecordBatch, RecordBatchReader
from arro3.io import write_ipc, write_parquet

from flows.run import execute
from ops.cli.convert import convert
from sources.columnar import row_tables
from sources.columnar.columnar_recording import ColumnarRecording
from sources.columnar.parquet_file import MAGIC
from sources.columnar.thrift import BINARY, I64, STRUCT, Field, ThriftReader, encoded
from sources.replay import RecordingsError
from sources.rows.names import Names
from sources.rows.rows import DecodedRows
from sources.rows.written import lines_of_rows
from tests.support.json_lines import json_lines

N = 600
CONFIG = """version: 2
streams: [{{name: a, type: file, path: {path}}}]
signals: {{s: {{members: {{"a:x": {{}}, "b:x": {{}}}}}}}}
output: {{dir: {out}}}
"""


def columns(n=N, **other):
    """Return the columns of n events of two sources."""
    i = np.arange(n)
    plain = {
        "ts": Array.from_numpy(1.7e9 + i / 20.0),
        "source": Array(["ab"[k % 2] for k in range(n)], DataType.utf8()),
        "key": Array(["x"] * n, DataType.utf8()),
        "value": Array.from_numpy(np.sin(i / 30.0)),
    }
    return plain | other


def written(path, table):
    batch = RecordBatch.from_pydict(table)
    reader = RecordBatchReader.from_batches(batch.schema, [batch])
    if path.suffix == ".arrow":
        write_ipc(reader, path, compression=None)
    else:
        write_parquet(reader, path)
    return path


def run_of(path):
    """Run a file; return its received events and its dead letters by reason."""
    config, out = path.with_name("c.yaml"), path.with_name("out")
    config.write_text(CONFIG.format(path=path, out=out))
    execute(config)
    run = json.loads((out / "run.json").read_text())
    assert run["balanced"]
    dead: dict[str, int] = {}
    for letter in json_lines(out / "dead.jsonl"):
        dead[letter["reason"]] = dead.get(letter["reason"], 0) + letter["count"]
    return run["account"]["total"]["received"], dead


def read(path, by=1.0):
    """Return the lines and rejects of a file."""
    names, lines, rejects = Names(""), [], []
    recording = ColumnarRecording(str(path))
    while recording.read():
        rows, details = recording.rows_and_details(names, by)
        lines.append(lines_of_rows(rows, details))
        rejects += [] if rows.notes is None else [x for x in rows.notes if x is not None]
    recording.close()
    return b"".join(lines), rejects


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_nulls_are_dead_letters_of_a_run_that_goes_on(tmp_path, ending):
    ts = Array([None if i % 50 == 7 else 1.7e9 + i / 20 for i in range(N)], DataType.float64())
    key = Array([None if i % 60 == 9 else "x" for i in range(N)], DataType.utf8())
    path = written(tmp_path / f"a{ending}", columns(ts=ts, key=key))
    received, dead = run_of(path)
    assert received == N
    assert dead == {"schema": 22}


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_a_dictionary_with_nulls_and_repeated_texts_is_read_by_its_texts(tmp_path, ending):
    codes = Array.from_numpy(np.array([i % 3 for i in range(N)], np.uint32))
    source = Array(["a", None, "a"], DataType.utf8()).take(codes)
    source = source.cast(DataType.dictionary(DataType.int32(), DataType.utf8()))
    received, dead = run_of(written(tmp_path / f"a{ending}", columns(source=source)))
    assert received == N
    assert dead == {"schema": N // 3}


@pytest.mark.parametrize(
    ("column", "array"),
    [
        ("value", Array(["much"] * N, DataType.utf8())),
        ("ts", Array(["2024-01-01"] * N, DataType.utf8())),
        ("source", Array.from_numpy(np.zeros(N))),
    ],
)
def test_texts_for_numbers_are_one_line_at_the_start(tmp_path, column, array):
    path = written(tmp_path / "a.parquet", columns(**{column: array}))
    with pytest.raises(RecordingsError, match=rf"a\.parquet: column {column} is "):
        run_of(path)


@pytest.mark.parametrize("claimed", [0, 7, N, 1 << 40])
def test_wrong_statistics_of_a_row_group_do_not_change_its_rows(tmp_path, claimed):
    path = written(tmp_path / "a.parquet", columns())
    expected, _ = read(path)
    data = path.read_bytes()
    size = int.from_bytes(data[-8:-4], "little")
    footer = ThriftReader(data[-8 - size : -8]).structure()
    wrong = {3: Field(I64, claimed), 5: Field(BINARY, b"\xff" * 8), 6: Field(BINARY, b"")}
    for chunk in footer[4].value[0][1].value:
        chunk[3].value[12] = Field(STRUCT, wrong)
    end = encoded(footer)
    path.write_bytes(data[: -8 - size] + end + len(end).to_bytes(4, "little") + MAGIC)
    found, rejects = read(path)
    assert found == expected
    assert rejects == []


def test_a_cut_arrow_file_is_refused_before_a_run(tmp_path):
    path = written(tmp_path / "a.arrow", columns())
    data = path.read_bytes()
    for at in random.Random(3).sample(range(len(data)), 40):
        path.write_bytes(data[:at])
        with pytest.raises(ValueError, match=r"a\.arrow: (cut off|empty|no Arrow file)"):
            ColumnarRecording(str(path))


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_300_damages_end_as_refusals_or_rejects(tmp_path, ending):
    whole = written(tmp_path / f"a{ending}", columns()).read_bytes()
    draw = random.Random(23)
    path = tmp_path / f"bad{ending}"
    for _ in range(300):
        bad = bytearray(whole)
        for _ in range(draw.choice([1, 3, 30])):
            bad[draw.randrange(len(bad))] = draw.randrange(256)
        if draw.random() < 0.2:
            del bad[draw.randrange(len(bad)) :]
        path.write_bytes(bad)
        try:
            read(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
            assert "\n" not in str(error)


@pytest.mark.parametrize("per_second", [1.0, 1e3])
@pytest.mark.parametrize("batch_rows", [1, 7, 4096])
def test_plain_tables_have_the_rows_of_the_general_reader(
    tmp_path, monkeypatch, per_second, batch_rows
):
    draw = random.Random(5)
    lines = []
    for i in range(700):
        event = {"ts": i / 8, "source": draw.choice("abc"), "key": draw.choice("xyz"),
                 "value": draw.choice([0.5, i / 3])}  # fmt: skip
        if i > 300:
            event["meta"] = {"rx": i / 8 + 0.5, "seq": i}
        if i > 500:
            event["rig"] = draw.choice(["north", "south"])
        if i in (120, 450):
            event["value"] = draw.choice(["go", [1.0, 2.0]])
        lines.append(json.dumps(event))
        if i == 250:
            lines.append('{"tick": 31.0}')
    plain = tmp_path / "plain.ndjson"
    plain.write_text("\n".join(lines) + "\n")
    convert(str(plain), tmp_path / "a.parquet")
    monkeypatch.setattr("sources.columnar.columnar_recording.BATCH_ROWS", batch_rows)
    fast = all_rows(tmp_path / "a.parquet", per_second)
    monkeypatch.setattr(row_tables, "plain_events", lambda *_: None)
    slow = all_rows(tmp_path / "a.parquet", per_second)
    for field in ("ts", "rx", "value", "stamped", "seq", "line"):
        found, expected = getattr(fast, field), getattr(slow, field)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    assert owners(fast) == owners(slow)
    assert lines_of_rows(fast) == lines_of_rows(slow)


def owners(rows):
    rigs = rows.names.rig_of()
    return [
        (rows.names.rigs[rigs[i]], *rows.names.channels[i]) if i >= 0 else i
        for i in rows.name.tolist()
    ]


def all_rows(path: Path, per_second: float) -> DecodedRows:
    names, parts = Names(""), []
    recording = ColumnarRecording(str(path))
    while recording.read():
        parts.append(recording.rows_and_details(names, per_second)[0])
    recording.close()
    return DecodedRows.join(parts)
