"""Delimited text with one event a row: our own tables, those of others, and damaged ones."""

import gzip
import json
import random

import pytest

from configs.inputs import Columns
from configs.load import ConfigError, load
from flows.run import execute
from ops.cli.convert import convert
from sources.delimited.event_table import event_table
from sources.opening import head, open_recording
from sources.recordings.recording import Mark
from tests.support.json_lines import json_lines

LONG = "time,sensor,reading\n" + "".join(
    f"{1.7e9 + i / 10},{name},{i % 7}\n" for i in range(300) for name in ("left", "right")
)
COLUMNS = Columns(ts="time", key="sensor", value="reading")
HEADER = "kind,ts,rx,source,key,value,text,seq,rig,element\n"


def lines_of(path, columns=None, unit=None, mark=None):
    recording = open_recording(str(path), mark=mark, columns=columns, unit=unit)
    data = b""
    while not recording.ended:
        data += b"".join(piece.data for piece in recording.read())
    recording.close()
    return [json.loads(line) for line in data.splitlines()]


def lost_of(lines):
    return [(x["lost"]["reason"], x["lost"]["where"].rpartition(":")[2]) for x in lines
            if "lost" in x]  # fmt: skip


def written(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_named_columns_make_each_row_an_event(tmp_path):
    lines = lines_of(written(tmp_path / "room.csv", LONG), COLUMNS)
    assert lines[:2] == [
        {"ts": 1.7e9, "source": "room", "key": "left", "value": 0.0},
        {"ts": 1.7e9, "source": "room", "key": "right", "value": 0.0},
    ]
    assert len(lines) == 600


def test_a_header_with_the_columns_of_a_recording_is_found(tmp_path):
    text = "source;key;rx;value\na;x;1,5;2,25\na;x;2,5;3,25\n"
    path = written(tmp_path / "a.csv", text)
    assert lines_of(path) == [
        {"ts": 1.5, "source": "a", "key": "x", "value": 2.25, "meta": {"own_time": False}},
        {"ts": 2.5, "source": "a", "key": "x", "value": 3.25, "meta": {"own_time": False}},
    ]
    assert event_table(str(path)).report() == (
        "semicolon between cells, decimal comma, a header, time in 'rx' (s), an event a row"
    )


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("time,key,value\n1700000000500,a,1\n1700000001500,a,2\n", None),
        ("time,key,value\n1700000000500000000,a,1\n1700000001500000000,a,2\n", "ns"),
        ("time,key,value\n2023-11-14T22:13:20.5Z,a,1\n2023-11-14T22:13:21.5Z,a,2\n", "iso"),
    ],
)
def test_units_of_times_are_found_or_given(tmp_path, text, unit):
    lines = lines_of(written(tmp_path / "a.csv", text), Columns(key="key", value="value"), unit)
    assert [line["ts"] for line in lines] == [1700000000.5, 1700000001.5]


def test_times_that_are_no_dates_are_refused_where_dates_are_configured(tmp_path):
    path = written(tmp_path / "a.csv", LONG)
    with pytest.raises(ValueError, match=r"'time' holds '1700000000.0', expected dates"):
        event_table(str(path), COLUMNS, "iso")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("event,soon,,a,x,1,,,,", "stamp"),
        ("event,,,a,x,1,,,,", "stamp"),
        ("event,1e15,,a,x,1,,,,", "stamp"),
        ("event,5,late,a,x,1,,,,", "stamp"),
        ("event,5,,a,x,much,,,,", "value"),
        ("event,5,,a,x,nan,,,,", "value"),
        ("event,5,,a,x,1_0,,,,", "value"),
        ("event,5,,a,x,,,,,", "schema"),
        ("event,5,,a,,1,,,,", "schema"),
        ("event,5,,a,x,1,,1.5,,", "schema"),
        ("event,5,,a,x,1,,99999999999999999999,,", "schema"),
        ("event,5,,a,x,1,,,,70000", "schema"),
        ("wish,5,,a,x,1,,,,", "schema"),
        ("control,,,,,,no,,,", "schema"),
        ("command,5,,ann,,,explode,,,", "schema"),
        ("status,5,,a,,,,,,", "schema"),
        ("tick,,,,,,,,,", "stamp"),
        ("event,5,,a,x", "schema"),
        ("kind,ts,rx,source,key,value,text,seq,rig,element", "schema"),
        ('event,5,,a,x,"1', "schema"),
    ],
)
def test_an_unusable_row_is_one_loss_with_its_place(tmp_path, row, reason):
    good = "event,{},,a,x,1,,,,\n"
    text = HEADER + good.format(4.0) + row + "\n" + good.format(6.0)
    lines = lines_of(written(tmp_path / "a.csv", text))
    at = len(HEADER + good.format(4.0))
    assert lost_of(lines) == [(reason, str(at))]
    assert [line["ts"] for line in lines if "ts" in line] == [4.0, 6.0]


def test_a_quoted_text_may_have_quotes_delimiters_and_newlines(tmp_path):
    text = HEADER + 'marker,5,,a,x,,"one, ""two""\nthree",,,\nevent,6,,a,x,1,,,,\n'
    lines = lines_of(written(tmp_path / "a.csv", text))
    assert [line["value"] for line in lines] == ['one, "two"\nthree', 1.0]


def test_a_quote_without_its_end_costs_its_row_only(tmp_path):
    rows = [f"event,{i},,a,x,{i},,,," for i in range(5000)]
    rows[100] = 'marker,100,,a,x,,"open,,,'
    lines = lines_of(written(tmp_path / "a.csv", HEADER + "\n".join(rows) + "\n"))
    assert len(lost_of(lines)) == 1
    assert [line["value"] for line in lines if "ts" in line] == [
        float(i) for i in range(5000) if i != 100
    ]


def test_a_packed_table_is_read_and_resumed_at_any_line(tmp_path):
    path = written(tmp_path / "a.csv.gz", gzip.compress(LONG.encode() * 20))
    whole = lines_of(path, COLUMNS)
    assert lost_of(whole) == [("value", str(len(LONG) * i)) for i in range(1, 20)]
    plain = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in whole)
    for at in (0, 7, 600, 11_000):
        offset = sum(len(line) + 1 for line in plain.splitlines()[:at])
        assert lines_of(path, COLUMNS, mark=Mark(offset)) == whole[at:]


def test_damaged_bytes_end_as_losses_and_never_as_an_error(tmp_path):
    plain = tmp_path / "plain.ndjson"
    with plain.open("w") as file:
        for i in range(200):
            file.write(json.dumps({"ts": i, "source": "a", "key": "x", "value": float(i)}) + "\n")
            file.write(json.dumps({"ts": i, "source": "a", "key": "v", "value": [1, "b", None]}))
            file.write("\n{broken\n" + json.dumps({"tick": i + 0.5, "rig": "north"}) + "\n")
    convert(str(plain), tmp_path / "whole.csv")
    data = (tmp_path / "whole.csv").read_bytes()
    begin = len(HEADER)
    draw = random.Random(11)
    for _ in range(300):
        bad = bytearray(data)
        for _ in range(draw.randint(1, 6)):
            bad[draw.randrange(begin, len(bad))] = draw.choice(b'\n",;\0\xff91-e')
        if draw.random() < 0.2:
            del bad[draw.randrange(begin, len(bad)) :]
        try:
            head(str(written(tmp_path / "bad.csv", bytes(bad))), 1 << 24)
        except ValueError as error:  # a line at the start
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ("columns: {key: x}", "'key' without 'value'"),
        ("columns: {value: x}", "'value' without 'key'"),
        ("columns: {key: k, value: v, values: [x]}", "'values' beside 'key' and 'value'"),
    ],
)
def test_incomplete_columns_are_refused_at_their_place(tmp_path, keys, why):
    written(tmp_path / "a.csv", LONG)
    config = written(
        tmp_path / "c.yaml",
        "version: 2\nstreams:\n"
        f"  - {{name: r, type: file, path: {tmp_path}/a.csv, {keys}}}\n"
        "signals: {s: {members: {'a:left': {}}}}\n",
    )
    with pytest.raises(ConfigError, match=rf"c\.yaml:3:\d+: {why}"):
        load(config)


def test_dates_are_refused_for_a_file_without_cells(tmp_path):
    written(tmp_path / "a.ndjson", "{}\n")
    config = written(
        tmp_path / "c.yaml",
        "version: 2\nstreams:\n"
        f"  - {{name: r, type: file, path: {tmp_path}/a.ndjson, ts_unit: iso}}\n"
        "signals: {s: {members: {'a:left': {}}}}\n",
    )
    with pytest.raises(ConfigError, match="'ts_unit: iso' of a file without cells"):
        load(config)


def test_a_run_of_events_accounts_for_each_row(tmp_path):
    written(tmp_path / "room.csv", LONG + "soon,left,1\n" + "1700000030.5,left,much\n")
    config = written(
        tmp_path / "c.yaml",
        f"version: 2\nstreams: [{{name: r, type: file, path: {tmp_path}/room.csv,"
        " columns: {ts: time, key: sensor, value: reading}}]\n"
        "signals: {s: {members: {'room:left': {}, 'room:right': {}}}}\n"
        f"output: {{dir: {tmp_path}/out}}\n",
    )
    out = execute(config)
    run = json.loads((out / "run.json").read_text())
    assert run["balanced"]
    assert run["account"]["total"]["received"] == 602
    assert sorted(x["reason"] for x in json_lines(out / "dead.jsonl")) == ["stamp", "value"]
