import io
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml

from configs.inert import Guarded, inert, inert_json, inert_lines, quoted, unguarded
from configs.load import load
from ops.cli.guess.config import derive
from ops.text.table import table
from sources.recordings.progress import Progress

ESCAPE = "\x1b]0;owned\x07"
FOREIGN = [
    *map(chr, range(9)), *map(chr, range(11, 32)), "\x7f", *map(chr, range(0x80, 0xA0)),
    "\u061c", "\u200e", "\u200f", "\u2028", "\u2029", "\u202a", "\u202e", "\u2066", "\u2069",
    "\ufeff", "\ufffe", "\uffff", "\ufdd0", "\udcff", "\U000e0041",
]  # fmt: skip


@pytest.mark.parametrize("foreign", FOREIGN, ids=ascii)
def test_control_characters_are_escaped(foreign):
    assert inert(f"a{foreign}b").isascii()
    assert inert(f"a{foreign}b").isprintable()
    assert inert_lines(f"a{foreign}b\n\t") == inert(f"a{foreign}b") + "\n\t"


@pytest.mark.parametrize(
    "text", ["Puls", "脈拍", "نبض", "पल्स", "👩‍🔬", "m/s²", "ß", "/ure/velocity"]
)
def test_names_in_any_script_stay(text):
    assert inert(text) == text
    assert inert_json(json.dumps(text, ensure_ascii=False).encode()).decode() == f'"{text}"'


def test_a_line_end_in_a_name_makes_no_line():
    assert inert("a\nlumen: all is well\tx") == "a\\x0alumen: all is well\\x09x"


@pytest.mark.parametrize("foreign", [*FOREIGN, "\n", "\t", '"', "\\", "👩‍🔬", "\x85"], ids=ascii)
def test_a_quoted_text_reads_back(foreign):
    text = quoted(f"a{foreign}b")
    assert yaml.safe_load(f"x: {text}") == {"x": f"a{foreign}b"}
    assert text.replace("\u200d", "").isprintable()


@pytest.mark.parametrize("foreign", [x for x in FOREIGN if x != "\udcff"], ids=ascii)
def test_json_lines_mean_the_same(foreign):
    line = msgspec.json.encode({"source": f"a{foreign}b", "\x9b": "é"})
    made = inert_json(line)
    assert json.loads(made) == json.loads(line)
    assert made.decode().isprintable()


def test_the_guard_passes_lines_and_nothing_else():
    out = io.StringIO()
    guarded = Guarded(out)
    print(f"a{ESCAPE}", "b\tc", file=guarded)
    guarded.writelines(["\x9b2J\n"])
    assert out.getvalue() == "a\\x1b]0;owned\\x07 b\tc\n\\x9b2J\n"
    assert unguarded(guarded) is out


def test_cells_of_a_table_are_inert_and_as_wide_as_they_are_shown():
    lines = table(("name", "n"), [(f"a{ESCAPE}\n", "1"), ("b", "22")]).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines[1:]}) == 1
    assert "\x1b" not in "".join(lines)


def test_the_heading_of_a_progress_is_inert():
    out = io.StringIO()
    Progress(1, out, heading=f"x{ESCAPE}").show(1, 1, 0.0, end=True)
    assert "\x1b" not in out.getvalue()


def recording(path, names):
    lines = [
        {"ts": 1.7e9 + i / 10, "source": name, "key": f"k{name}", "value": float(i % 7)}
        for i in range(200) for name in names
    ]  # fmt: skip
    path.write_bytes(b"".join(msgspec.json.encode(x) + b"\n" for x in lines))
    return path


def test_a_recording_of_foreign_names_makes_a_configuration_that_loads(tmp_path):
    names = [f"n{i}{x}" for i, x in enumerate(FOREIGN) if x != "\udcff"]
    path = derive([recording(tmp_path / "r.ndjson", names)], tmp_path / "out", "causal")
    used = load(path).config.plan().used
    assert used == {f"{name}:k{name}" for name in names}
    assert all(line.isprintable() for line in path.read_text("utf-8").splitlines())


def test_a_replay_of_foreign_and_non_utf_8_names_prints_escapes(tmp_path):
    name = os.fsencode(tmp_path) + b"/r\xff\x1b[2J.ndjson"
    file = Path(os.fsdecode(name))
    recording(file, [f"a{ESCAPE}", "b\x9b2J\x7f\ufffe", "c\u202e"])
    with file.open("ab") as more:
        more.write(b'{"ts": 1.7e9, "source": "d\\u001b[2J", "key": "k", "value": null}\n')
    table_ = Path(os.fsdecode(os.fsencode(tmp_path) + b"/t\xff\x9b.csv"))
    table_.write_text(
        "time,x\x1b[2J\n" + "".join(f"{1.7e9 + i / 10},{i % 5}\n" for i in range(200))
    )
    root, out = Path(__file__).parents[2], tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "ops", "replay", "--causal", file, table_, "--out", out],
        capture_output=True, cwd=root, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, timeout=110,
    )  # fmt: skip
    shown = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, shown
    assert [x for x in shown.splitlines() if not x.replace("\t", "").isprintable()] == []
    assert "a\\x1b]0;owned\\x07" in shown
    for path in (tmp_path / "out").iterdir():
        for line in path.read_text("utf-8").split("\n"):
            assert line.isprintable(), path
    run = json.loads((tmp_path / "out" / "run.json").read_bytes())
    assert run["account"]["total"]["received"] == 200 * 4 + 1
    assert run["recordings"][0]["path"].endswith("/r\\udcff\\x1b[2J.ndjson")
