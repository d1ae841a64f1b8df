"""Recordings in `lumen check` and `lumen doctor`: their form, or the reason against them."""

import json

import pytest

from ops.__main__ import main
from ops.cli.convert import convert

CONFIG = """version: 2
streams: [{{name: a, type: file, path: {path}}}]
signals: {{s: {{members: {{"a:x": {{}}}}}}}}
output: {{dir: {out}}}
"""


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "plain.ndjson"
    path.write_text("".join(
        json.dumps({"ts": float(i), "source": "a", "key": "x", "value": i / 2}) + "\n"
        for i in range(50)
    ))  # fmt: skip
    return path


def configured(path):
    config = path.with_name("c.yaml")
    config.write_text(CONFIG.format(path=path, out=path.with_name("out")))
    return str(config)


FORMS = [
    (".ndjson", "bytes of lines"),
    (".csv", "time in 'ts' (s), an event a row"),
    (".parquet", "50 rows of columns"),
    (".arrow", "50 rows of columns"),
    (".mcap", "MCAP, 1 channel of JSON"),
]


@pytest.mark.parametrize(("ending", "form"), FORMS)
def test_each_recording_has_a_line_with_its_form(plain, capsys, ending, form):
    path = plain.with_name(f"a{ending}")
    convert(str(plain), path)
    assert main(["check", configured(path)]) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("file ")]
    assert line.startswith(f"file      {path}: ")
    assert form in line
    main(["doctor", configured(path)])
    assert f"ok    {line}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.parquet", b"PAR1 and no more", "cut off"),
        ("a.arrow", b"ARROW1", "cut off"),
        ("a.mcap", b"text", "no MCAP file"),
        ("a.csv", b"x,y\n3,1\n1,1\n2,1\n", "no column of times"),
        ("a.csv", b"", "no line of cells"),
    ],
)
def test_an_unusable_recording_is_one_line_at_both(tmp_path, capsys, name, content, why):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SystemExit) as left:
        main(["check", configured(path)])
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lumen: {path}: ")
    assert why in line
    assert main(["doctor", configured(path)]) == 1
    assert f"bad   file      {line.removeprefix('lumen: ')}" in capsys.readouterr().out
