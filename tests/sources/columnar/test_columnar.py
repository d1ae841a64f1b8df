import gzip
import io
import random
from pathlib import Path

import numpy as np
import pytest
from arro3.core import Array, DataType, RecordBatch, RecordBatchReader, list_array
from arro3.io import write_ipc, write_parquet

from operators.events import Reject
from ops.cli.convert import convert
from sources.columnar import columnar_recording, columnar_writer
from sources.columnar.columnar_recording import ColumnarRecording
from sources.columnar.parquet_file import MAGIC, ParquetFile
from sources.columnar.table_process import COLUMNS
from sources.columnar.thrift import Field, ThriftReader, encoded
from sources.ndjson import Decoder
from sources.opening import head
from sources.recordings.recording import Mark
from sources.rows.names import Names
from sources.rows.rows import DecodedRows
from sources.rows.written import lines_of_rows

ROOT = Path(__file__).parents[3]
LINES = b"""{"ts":1.5,"source":"a","key":"x","value":2.25,"meta":{"rx":1.75,"seq":4}}
{"ts":1.5,"source":"a","key":"x","value":3.0,"rig":"north"}
{"ts":2.0,"source":"b","key":"y","value":"go","meta":{"rx":2.5}}
{"ts":2.0,"source":"b","key":"y","value":"","meta":{"own_time":false,"seq":-7}}
{"ts":3.0,"source":"b","key":"v","value":[1.0,null,3.0],"meta":{"rx":3.25,"seq":9}}
{"ts":3.0,"source":"b","key":"v","value":[null,"",3.0]}
{"ts":3.0,"source":"b","key":"v","value":[7.0]}
{"tick":4.0}
{"tick":4.0,"rig":"north"}
{"tick":4.5,"turned":{"source":"a","up":false}}
{"tick":5.0,"step":-0.25}
{"control":"bridge.release","rx":5.25,"rig":"north","by":"ann"}
{"control":"bridge.rollback","rx":5.5,"by":""}
{"lost":{"reason":"osc","source":"a","where":"127.0.0.1:9","sample":"AAEC","count":3}}
"""


def rows_of(recording, per_second=1.0):
    """Return all rows of a recording in one table of names, with their lines."""
    names, parts, lines = Names(""), [], []
    while recording.read():
        rows, details = recording.rows_and_details(names, per_second)
        parts.append(rows)
        lines.append(lines_of_rows(rows, details))
    recording.close()
    return DecodedRows.join(parts), b"".join(lines)


def table(path, options=None, **columns):
    """Write a Parquet or Arrow file of columns."""
    batch = RecordBatch.from_pydict(columns)
    reader = RecordBatchReader.from_batches(batch.schema, [batch])
    if path.suffix == ".arrow":
        write_ipc(reader, path, compression=None)
    else:
        write_parquet(reader, path, **options or {})
    return str(path)


def texts(*values):
    return Array(list(values), DataType.utf8())


def floats(*values):
    return Array(list(values), DataType.float64())


def integers(*values):
    return Array(list(values), DataType.int64())


def nested(n):
    """Return n lists of one number."""
    return list_array(Array.from_numpy(np.arange(n + 1, dtype=np.int32)), floats(*range(n)))


def rejects(rows):
    return [] if rows.notes is None else [x for x in rows.notes if isinstance(x, Reject)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The shipped demo with all kinds of lines behind it, as canonical lines."""
    folder = tmp_path_factory.mktemp("demo")
    packed = ROOT / "configs" / "recordings" / "demo.ndjson.gz"
    (folder / "given.ndjson").write_bytes(gzip.decompress(packed.read_bytes()) + LINES)
    convert(str(folder / "given.ndjson"), folder / "demo.ndjson")
    return folder / "demo.ndjson"


@pytest.mark.parametrize("group_rows", [7, 4096, 1 << 20])
@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".csv", ".ndjson.gz", ".ndjson.zst"])
def test_a_converted_recording_has_the_same_lines(demo, tmp_path, monkeypatch, ending, group_rows):
    monkeypatch.setattr(columnar_writer, "GROUP_ROWS", group_rows)
    monkeypatch.setattr(columnar_writer, "BATCH_ROWS", group_rows)
    source = demo
    if group_rows == 7:  # as many row groups as fit into a moment
        source = tmp_path / "short.ndjson"
        source.write_bytes(b"".join(demo.read_bytes().splitlines(True)[-400:]))
    converted = tmp_path / f"a{ending}"
    convert(str(source), converted)
    convert(str(converted), tmp_path / "back.ndjson")

    assert (tmp_path / "back.ndjson").read_bytes() == source.read_bytes()


def test_the_canonical_lines_keep_every_kind(tmp_path):
    (tmp_path / "a.ndjson").write_bytes(LINES)
    convert(str(tmp_path / "a.ndjson"), tmp_path / "b.ndjson")

    assert (tmp_path / "b.ndjson").read_bytes() == LINES


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
@pytest.mark.parametrize("batch_rows", [1, 3, 16_384])
def test_rows_do_not_depend_on_the_sizes_of_batches(tmp_path, monkeypatch, batch_rows, ending):
    monkeypatch.setattr(columnar_recording, "BATCH_ROWS", batch_rows)
    monkeypatch.setattr(columnar_writer, "GROUP_ROWS", 5)
    (tmp_path / "a.ndjson").write_bytes(LINES)
    convert(str(tmp_path / "a.ndjson"), tmp_path / f"a{ending}")

    rows, lines = rows_of(ColumnarRecording(str(tmp_path / f"a{ending}")))
    expected = Decoder("x").decode(LINES, 0, Names(""))
    assert lines == LINES
    for column in ("ts", "rx", "value", "stamped", "seq"):
        np.testing.assert_array_equal(getattr(rows, column), getattr(expected, column))
    # An array is one line.
    _, of_line = np.unique(expected.line, return_inverse=True)
    _, of_row = np.unique(rows.line, return_inverse=True)
    assert of_line.tolist() == of_row.tolist()


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_a_recording_is_resumed_at_any_of_its_lines(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(columnar_writer, "GROUP_ROWS", 5)
    (tmp_path / "a.ndjson").write_bytes(LINES)
    path = tmp_path / f"a{ending}"
    convert(str(tmp_path / "a.ndjson"), path)
    whole, _ = rows_of(ColumnarRecording(str(path)))
    for i, line in enumerate(np.unique(whole.line).tolist()):
        rest = LINES.splitlines(True)[i:]
        assert rows_of(ColumnarRecording(str(path), mark=Mark(line)))[1] == b"".join(rest)
    with pytest.raises(ValueError, match="shorter than when it was read"):
        ColumnarRecording(str(path), mark=Mark(len(whole) + 1))


def test_the_head_of_a_columnar_recording_is_its_first_lines(demo, tmp_path):
    convert(str(demo), tmp_path / "a.parquet")

    assert head(str(tmp_path / "a.parquet"), 1000) == demo.read_bytes()[:1000]


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_an_unusable_row_is_a_reject_with_its_place(tmp_path, ending):
    nan, inf = float("nan"), float("inf")
    path = table(
        tmp_path / f"a{ending}",
        ts=floats(1.0, nan, 1e13, None, 1.0, 1.0, 1.0, 1.0, None, -inf),
        rx=floats(1.0, 1.0, 1.0, None, nan, 1.0, 1.0, 1.0, 2.0, 1.0),
        source=texts("a", "a", "a", "a", "a", None, "s" * 256, "a", "a", "a"),
        key=texts(*"kkkkkkkkkk"),
        value=floats(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, inf, 9.0, 1.0),
        seq=integers(-1, -5, 1, 1, 1, 1, 1, 1, -(2**63), 1),
    )
    rows, _ = rows_of(ColumnarRecording(path))
    found = rejects(rows)
    reasons = ["stamp", "stamp", "schema", "stamp", "schema", "schema", "value", "stamp"]
    assert [x.reason for x in found] == reasons
    assert [x.where for x in found] == [f"{path}:0[{i}]" for i in (1, 2, 3, 4, 5, 6, 7, 9)]
    assert rows.value[rows.name >= 0].tolist() == [1.0, 9.0]
    assert rows.seq[rows.name >= 0].tolist() == [-1, -(2**63)]
    assert all(len(x.sample) <= 256 for x in found)


def test_nulls_and_unknown_kinds_are_rejects(tmp_path):
    path = table(
        tmp_path / "a.parquet",
        kind=texts("event", "event", "marker", "tick", "status", "control", "event ", None, None),
        ts=floats(1.0, 1.0, 1.0, None, 1.0, 1.0, 1.0, 1.0, 1.0),
        source=texts("a", "a", "a", "a", None, "a", "a", "a", "a"),
        key=texts(*"kkkkkkkkk"),
        value=floats(1.0, None, 1.0, 1.0, 1.0, 1.0, 1.0, None, 2.0),
        text=texts(None, None, None, None, None, "{", None, "go", None),
        rig=texts(None, None, None, None, None, None, None, None, "../up"),
    )
    rows, _ = rows_of(ColumnarRecording(path))
    assert [x.reason for x in rejects(rows)] == ["schema"] * 7
    assert (rows.name >= 0).tolist() == [True, *[False] * 6, True, False]


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"ts": floats(1.0)}, "no column source"),
        ({"ts": texts("1")}, "column ts is Utf8, expected numbers"),
        ({"source": integers(1)}, "column source is Int64, expected texts"),
        ({"value": Array([True], DataType.bool())}, "column value is Boolean"),
        ({"seq": floats(1.0)}, "column seq is Float64, expected whole numbers"),
        ({"ts": nested(1)}, "column ts"),
        ({"key": Array([b"x"], DataType.binary())}, "column key is Binary, expected texts"),
    ],
)
@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_other_columns_are_refused_by_name(tmp_path, columns, why, ending):
    plain = {"ts": floats(1.0), "source": texts("a"), "key": texts("k"), "value": floats(1.0)}
    if "no column" in why:
        plain = {}
    path = table(tmp_path / f"a{ending}", **(plain | columns))
    with pytest.raises(ValueError, match=why) as refused:
        ColumnarRecording(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_columns_of_others_are_left_out_and_types_are_widened(tmp_path):
    path = table(
        tmp_path / "a.parquet",
        ts=Array([1, 2], DataType.uint16()),
        source=texts("a", "a").cast(DataType.dictionary(DataType.int8(), DataType.large_utf8())),
        key=Array(["k", "l"], DataType.large_utf8()),
        value=Array([0.5, 1.5], DataType.float32()),
        notes=nested(2),
    )
    rows, lines = rows_of(ColumnarRecording(path))
    assert rejects(rows) == []
    assert lines.splitlines()[1] == b'{"ts":2.0,"source":"a","key":"l","value":1.5}'


def test_units_of_stamps_are_those_of_a_recording_of_lines(tmp_path):
    line = b'{"ts":1730000000123,"source":"a","key":"k","value":1,"meta":{"rx":5.0}}\n'
    path = table(
        tmp_path / "a.parquet",
        ts=integers(1730000000123),
        rx=floats(5.0),
        source=texts("a"),
        key=texts("k"),
        value=floats(1.0),
    )
    rows, _ = rows_of(ColumnarRecording(path), per_second=1e3)
    assert rows.ts[0] == Decoder("x", 1e3).decode(line, 0, Names("")).ts[0]
    assert rows.rx[0] == 5.0


def of_demo(demo, tmp_path, ending, rows=3000):
    short = tmp_path / "short.ndjson"
    short.write_bytes(b"".join(demo.read_bytes().splitlines(True)[:rows]))
    path = tmp_path / f"whole{ending}"
    convert(str(short), path)
    return path.read_bytes()


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_a_damaged_file_is_refused_or_ends_with_a_reject(demo, tmp_path, ending):
    whole = of_demo(demo, tmp_path, ending)
    random.seed(5)
    path = tmp_path / f"damaged{ending}"
    ends = set()
    for trial in range(150):
        data = bytearray(whole)
        if trial % 3 == 0:
            data = data[: random.randrange(len(data))]
        else:
            # Half of the changed bytes are near the end, in the footer.
            for _ in range(random.choice([1, 4, 50])):
                last = random.random() < 0.5
                begin = max(len(data) - 800, 0) if last else 0
                data[random.randrange(begin, len(data))] = random.randrange(256)
        path.write_bytes(data)
        try:
            rows, _ = rows_of(ColumnarRecording(str(path)))
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
            ends.add("refused")
            continue
        ends.add("archive" if any(x.reason == "archive" for x in rejects(rows)) else "read")
    assert "refused" in ends
    assert ending == ".arrow" or "archive" in ends


def changed(data, **fields):
    """Return a Parquet file whose first column chunk and row group claim other numbers."""
    size = int.from_bytes(data[-8:-4], "little")
    footer = ThriftReader(data[-8 - size : -8]).structure()
    group = footer[4].value[0]
    meta = group[1].value[0][3].value
    for name, value in fields.items():
        of = {
            "rows": (group, 3),
            "codec": (meta, 4),
            "at": (meta, 9),
            "total": (meta, 7),
            "first": (meta, 11),
        }[name]
        of[0][of[1]] = of[0][of[1]]._replace(value=value)
    end = encoded(footer)
    return data[: -8 - size] + end + len(end).to_bytes(4, "little") + MAGIC


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"rows": 1 << 40}, "too much to believe"),
        ({"rows": -1}, "claims -1 rows"),
        ({"codec": 4}, "compression brotli in row group 0"),
        ({"codec": 99}, "compression number 99"),
    ],
)
def test_a_claim_beyond_belief_is_refused_at_the_start(demo, tmp_path, fields, why):
    path = tmp_path / "a.parquet"
    path.write_bytes(changed(of_demo(demo, tmp_path, ".parquet"), **fields))
    with pytest.raises(ValueError, match=why):
        ColumnarRecording(str(path))


@pytest.mark.parametrize(
    "fields", [{"first": 9}, {"at": 2, "first": 0}, {"total": 1 << 40}, {"rows": 3001}]
)
def test_a_row_group_of_wrong_places_is_one_reject(demo, tmp_path, fields):
    path = tmp_path / "a.parquet"
    path.write_bytes(changed(of_demo(demo, tmp_path, ".parquet"), **fields))
    rows, _ = rows_of(ColumnarRecording(str(path)))
    assert [(x.reason, x.where) for x in rejects(rows)] == [("archive", f"{path}:0[0]")]


def test_a_page_that_unpacks_to_more_than_it_claims_is_not_unpacked(tmp_path):
    many = 1 << 20
    path = Path(table(
        tmp_path / "bomb.parquet",
        options={"data_page_size_limit": 1 << 30, "dictionary_enabled": False},
        ts=Array.from_numpy(np.zeros(40)),
        source=texts(*["a"] * 40),
        key=texts(*["k"] * 40),
        text=texts(*(str(i) + "x" * many for i in range(40))),
    ))  # fmt: skip
    raw = path.read_bytes()
    file = ParquetFile(io.BytesIO(raw), len(raw), COLUMNS)
    with pytest.raises(ValueError, match="column text: a page of"):
        file.check(0)
    rows, _ = rows_of(ColumnarRecording(str(path)))
    assert [x.reason for x in rejects(rows)] == ["archive"]


def test_an_arrow_file_of_too_large_batches_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sources.columnar.arrow_file.MAX_BATCH", 1000)
    path = table(
        tmp_path / "a.arrow",
        ts=Array.from_numpy(np.zeros(1000)),
        source=texts(*["a"] * 1000),
        key=texts(*["k"] * 1000),
        value=Array.from_numpy(np.zeros(1000)),
    )
    with pytest.raises(ValueError, match="record batch 0 has"):
        ColumnarRecording(path)


def test_a_compressed_arrow_file_is_refused(tmp_path):
    batch = RecordBatch.from_pydict({"ts": Array.from_numpy(np.zeros(1000))})
    path = tmp_path / "a.arrow"
    write_ipc(RecordBatchReader.from_batches(batch.schema, [batch]), path, compression="zstd")
    with pytest.raises(ValueError, match="is compressed"):
        ColumnarRecording(str(path))


def test_thrift_structures_are_written_as_they_were_read():
    inner = {1: Field(5, [-1, 2**40][1] % 2**31), 20: Field(8, b"name")}
    structure = {
        1: Field(1, True),
        2: Field(2, False),
        3: Field(6, -(2**63)),
        4: Field(9, list(range(20)), 6),
        5: Field(12, inner),
        6: Field(7, b"\0" * 8),
        7: Field(9, [inner, {}], 12),
    }
    assert ThriftReader(encoded(structure)).structure() == structure
    for end in range(len(encoded(structure))):
        with pytest.raises(ValueError, match=r"cut off|longer than"):
            ThriftReader(encoded(structure)[:end]).structure()
