import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs.files import PRIVATE
from ops.__main__ import main
from ops.cli.convert import ConvertError, convert

ROOT = Path(__file__).parents[3]
LINE = b'{"ts":1.0,"source":"a","key":"x","value":2.0}\n'


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(LINE)
    return path


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["convert", *map(str, arguments)])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_recording_is_converted_for_its_owner_alone(plain, capsys):
    target = plain.with_suffix(".parquet")
    assert main(["convert", str(plain), str(target)]) == 0
    assert "events" in capsys.readouterr().out
    assert target.stat().st_mode & 0o777 == PRIVATE.file
    assert {path.name for path in plain.parent.iterdir()} == {"a.ndjson", "a.parquet"}


@pytest.mark.parametrize("name", ["b.parquet", "b.arrow", "b.csv", "b.ndjson", "b.ndjson.gz"])
def test_nothing_is_overwritten_nor_written_through_a_link(plain, capsys, name):
    target, victim = plain.with_name(name), plain.with_name("victim")
    target.symlink_to(victim)
    assert "exists already" in refused(capsys, plain, target)
    assert not victim.exists()
    target.unlink()
    victim.write_bytes(b"kept")
    target.with_name(f"{name}.tmp").symlink_to(victim)
    assert main(["convert", str(plain), str(target)]) == 0
    assert victim.read_bytes() == b"kept"
    assert not target.is_symlink()


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("gone.ndjson", "b.parquet", "recording not found: gone.ndjson"),
        ("a.xdf", "b.parquet", "a.xdf: an XDF file"),
        ("a.ndjson", "b.txt", "expected a name that ends in .ndjson, .csv, .parquet, .arrow"),
        ("a.ndjson", "b.parquet.gz", "expected a name that ends in"),
        ("a.ndjson", "gone/b.parquet", "gone/b.parquet"),
        ("no.parquet", "b.ndjson", "no.parquet: no Parquet file"),
        ("no.arrow", "b.ndjson", "no.arrow: no Arrow file"),
        ("empty.parquet", "b.ndjson", "empty.parquet: empty (0 bytes)"),
    ],
)
def test_what_cannot_be_converted_is_one_line(plain, monkeypatch, capsys, source, target, expected):
    monkeypatch.chdir(plain.parent)
    Path("no.parquet").write_bytes(LINE)
    Path("no.arrow").write_bytes(LINE)
    Path("empty.parquet").touch()
    before = set(Path().iterdir())
    assert expected in refused(capsys, source, target)
    assert set(Path().iterdir()) == before


def test_events_without_a_rig_get_the_given_one(plain):
    plain.write_bytes(LINE + LINE.replace(b"}", b',"rig":"south"}') + b'{"tick":3.0}\n')
    for name in ("b.ndjson", "b.parquet", "b.csv"):
        convert(str(plain), plain.with_name(name), rig="north")
    convert(str(plain.with_name("b.parquet")), plain.with_name("c.ndjson"))
    rigs = [LINE.replace(b"}", b',"rig":"%s"}' % rig) for rig in (b"north", b"south")]
    expected = b"".join([*rigs, b'{"tick":3.0,"rig":"north"}\n'])
    assert plain.with_name("b.ndjson").read_bytes() == expected
    assert plain.with_name("c.ndjson").read_bytes() == expected
    with pytest.raises(ConvertError, match="--rig"):
        convert(str(plain), plain.with_name("d.ndjson"), rig="../up")


def test_stamps_are_written_in_seconds(plain):
    plain.write_bytes(LINE.replace(b"1.0", b"1730000000123"))
    convert(str(plain), plain.with_suffix(".parquet"), unit="ms")
    convert(str(plain.with_suffix(".parquet")), plain.with_name("b.ndjson"))
    assert plain.with_name("b.ndjson").read_bytes() == LINE.replace(b"1.0", b"1730000000.123")


def test_a_table_of_channels_becomes_events(tmp_path):
    (tmp_path / "wrist.csv").write_text("time,x,y\n1.0,2.0,3.0\n2.0,,5.0\n")
    convert(str(tmp_path / "wrist.csv"), tmp_path / "a.ndjson")
    assert (tmp_path / "a.ndjson").read_text().splitlines() == [
        '{"ts":1.0,"source":"wrist","key":"x","value":2.0}',
        '{"ts":1.0,"source":"wrist","key":"y","value":3.0}',
        '{"ts":2.0,"source":"wrist","key":"y","value":5.0}',
    ]


def test_without_the_extra_the_commands_name_it(plain):
    convert(str(plain), plain.with_suffix(".parquet"))
    hidden = "import sys; sys.modules['arro3'] = None; from ops.__main__ import main; main({})"
    for arguments in (
        ["convert", str(plain), str(plain.with_name("b.parquet"))],
        ["convert", str(plain.with_suffix(".parquet")), str(plain.with_name("b.ndjson"))],
        ["replay", str(plain.with_suffix(".parquet")), "--out", str(plain.with_name("out"))],
    ):
        done = subprocess.run(
            [sys.executable, "-c", hidden.format(arguments)],
            capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert "needs the extra: lumen-fusion[columnar]" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["replay", "run"])
def test_a_cut_file_is_refused_before_a_start(plain, command, capsys):
    path = plain.with_suffix(".parquet")
    convert(str(plain), path)
    path.write_bytes(path.read_bytes()[:-9])
    config, out = plain.with_name("a.yaml"), plain.with_name("out")
    config.write_text(
        f"version: 2\nstreams: [{{name: a, type: file, path: {path}}}]\n"
        f'signals: {{p: {{members: {{"a:x": {{}}}}}}}}\noutput: {{dir: {out}}}\n'
    )
    arguments = ["replay", str(path), "--out", str(out)] if command == "replay" else None
    with pytest.raises(SystemExit) as ended:
        main(arguments or ["run", str(config)])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"lumen: {path}: cut off")
    assert not list(out.glob("*.jsonl"))
