"""Tables that no instrument should write: each ends as dead letters or as a line at the start."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows.run import execute
from tests.support.json_lines import json_lines

ROOT = Path(__file__).parents[3]
ROWS = "".join(f"{1.7e9 + i / 20:.2f},{i % 11},{i % 5}\n" for i in range(400))
CONFIG = """version: 2
streams: [{{name: r, type: file, path: {path}, {keys}}}]
signals: {{s: {{members: {{"{a}": {{}}, "{b}": {{}}}}}}}}
output: {{dir: {out}}}
"""


def run_of(tmp_path, text, keys="speed: 0", members=("t:x", "t:y")):
    """Run a table; return its received events, its dead letters and the values of both members."""
    (tmp_path / "t.csv").write_text(text)
    config = tmp_path / "c.yaml"
    path, out = tmp_path / "t.csv", tmp_path / "out"
    config.write_text(CONFIG.format(path=path, keys=keys, a=members[0], b=members[1], out=out))
    execute(config)
    run = json.loads((out / "run.json").read_text())
    assert run["balanced"]
    return run["account"]["total"]["received"], list(json_lines(out / "dead.jsonl"))


def test_a_table_without_a_header_has_generated_names(tmp_path):
    received, dead = run_of(tmp_path, ROWS, members=("t:column_2", "t:column_3"))
    assert (received, dead) == (800, [])


def test_a_second_header_in_the_middle_is_one_dead_letter(tmp_path):
    received, dead = run_of(tmp_path, "time,x,y\n" + ROWS + "time,x,y\n" + ROWS)
    assert [(x["reason"], x["count"]) for x in dead] == [("stamp", 1)]
    assert received == 1601


def test_a_decimal_comma_is_read_in_a_whole_run(tmp_path):
    rows = "".join(f"{i / 20:.2f};{i % 11},5;{i % 5},25\n".replace(".", ",") for i in range(400))
    received, dead = run_of(tmp_path, "time;x;y\n" + rows)
    assert (received, dead) == (800, [])


def test_cells_with_quotes_are_numbers_and_a_newline_in_one_costs_its_lines(tmp_path):
    text = "time,x,y\n" + ROWS + '1700000030,"1","2"\n1700000031,"1\n",2\n'
    received, dead = run_of(tmp_path, text)
    assert {x["reason"] for x in dead} == {"schema"}
    assert sum(x["count"] for x in dead) == 2
    assert received == 800 + 2 + 2


def test_rows_without_a_column_are_dead_letters(tmp_path):
    received, dead = run_of(tmp_path, "time,x,y\n" + ROWS + "1700000030,1\n1700000031,1,2,3\n")
    assert sum(x["count"] for x in dead if x["reason"] == "schema") == 2
    assert received == 802


@pytest.mark.parametrize(
    ("text", "keys", "why"),
    [
        ("time,x,y\n" + ROWS, "columns: {ts: when}", "no column 'when', expected one of time, x"),
        ("time,x,y\n" + ROWS, "columns: {values: [z]}", "no column 'z', expected one of time, x"),
        (
            "time,x,y\n" + ROWS,
            "columns: {key: k, value: x}",
            "no column 'k', expected one of time, x",
        ),
    ],
)
def test_a_missing_column_is_one_line_with_the_others(tmp_path, text, keys, why):
    code, lines, _ = refused(tmp_path, text, keys)
    assert code == 2
    assert len(lines) == 1
    assert why in lines[0]


@pytest.mark.parametrize("rows", [0, 3])
def test_a_million_columns_are_one_short_line_within_bounded_memory(tmp_path, rows):
    wide = "time," + ",".join(f"c{i}" for i in range(1_000_000)) + "\n"
    row = "1.5," + ",".join(["1"] * 1_000_000) + "\n"
    code, lines, peak_mib = refused(tmp_path, wide + row * rows)
    assert code == 2
    assert len(lines) == 1
    assert "its first line has more than 1 MiB" in lines[0]
    assert len(lines[0]) < 500
    assert peak_mib < 200


def test_many_columns_of_no_time_are_one_short_line(tmp_path):
    code, lines, _ = refused(tmp_path, ",".join(["a"] * 60_000) + "\n" + "\n".join(["x,"] * 3))
    assert code == 2
    assert len(lines) == 1
    assert len(lines[0]) < 1500


def test_a_row_of_a_million_cells_is_a_dead_letter(tmp_path):
    text = "time,x,y\n" + ROWS + "1700000030" + ",1" * 1_000_000 + "\n" + "1700000031,1,2\n"
    received, dead = run_of(tmp_path, text)
    assert [(x["reason"], x["count"]) for x in dead] == [("too_long", 1)]
    assert received == 803


_REFUSED = """
import pathlib, re, sys
from ops.__main__ import main
try:
    code = main(["run", sys.argv[1]])
except SystemExit as left:
    code = left.code
print(code, re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""


def refused(tmp_path, text, keys="speed: 0"):
    """Run a table; return the exit code, the lines of its error, and the peak memory (MiB)."""
    (tmp_path / "t.csv").write_text(text)
    config = tmp_path / "c.yaml"
    path, out = tmp_path / "t.csv", tmp_path / "out"
    config.write_text(CONFIG.format(path=path, keys=keys, a="t:x", b="t:y", out=out))
    done = subprocess.run(
        [sys.executable, "-c", _REFUSED, str(config)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    code, kib = done.stdout.split()
    return int(code), done.stderr.splitlines(), int(kib) / 1024
