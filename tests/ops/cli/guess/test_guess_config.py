import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from configs.load import load
from ops.__main__ import main
from ops.cli.guess.config import derive, signals
from ops.cli.verify import digests
from ops.simulate.recording import make
from ops.simulate.scenario import studio
from sources.replay import RecordingsError


def record(path: Path, *channels: str, count: int = 600) -> Path:
    """Write `count` numbers of each channel, 10 a second: one movement."""
    moved = movement(np.arange(count) / 10)
    lines = [
        json.dumps({"ts": 1e9 + i / 10, "source": source, "key": key, "value": moved[i]})
        for i in range(count)
        for source, _, key in (channel.partition(":") for channel in channels)
    ]
    text = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def movement(t, seed=1):
    """A smooth function of time."""
    rng = np.random.default_rng(seed)
    hz, phase = rng.uniform(0.05, 1.2, 60), rng.uniform(0, 2 * np.pi, 60)
    return np.sin(2 * np.pi * np.outer(t, hz) + phase).sum(axis=1) / np.sqrt(30)


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz"])
def test_channels_of_one_label_that_agree_make_one_signal(tmp_path, name):
    file = record(tmp_path / name, "ure:pulse", "osc_1:/body/pulse", "ure:ure_harmony_index")
    config = load(derive([file], tmp_path / "out")).config
    members = config.signals["signal"].members
    assert {channel: m.group for channel, m in members.items()} == {
        "ure:pulse": "ure",
        "osc_1:/body/pulse": "sensors",
    }
    assert config.facts == ["ure:ure_harmony_index"]
    assert config.output.dir == str(tmp_path / "out")


def test_channels_that_share_a_key_make_a_signal_each(tmp_path):
    file = record(tmp_path / "a.ndjson", "a:acc/x", "a:acc/y", "b:acc/x", "b:acc/y", "b:alone")
    config = load(derive([file], tmp_path / "out")).config
    assert {name: list(s.members) for name, s in config.signals.items()} == {
        "x": ["a:acc/x", "b:acc/x"],
        "y": ["a:acc/y", "b:acc/y"],
        "alone": ["b:alone"],
    }


def test_without_a_shared_key_each_channel_is_a_signal():
    named = signals(["a:live", "a:value", "a:/x/value", "a:1", "b:é"])
    assert named == {
        "a_live": ["a:live"],  # rules read `live` as something else
        "value": ["a:value"],
        "a_value": ["a:/x/value"],
        "a_1": ["a:1"],
        "signal_5": ["b:é"],
    }


def test_several_recordings_become_several_streams(tmp_path):
    files = [record(tmp_path / f"{n}.ndjson", f"{n}:x") for n in ("a", "b")]
    config = load(derive(files, tmp_path / "out")).config
    assert [stream.path for stream in config.streams] == [str(file) for file in files]
    assert list(config.signals["signal"].members) == ["a:x", "b:x"]


def test_names_that_yaml_would_read_otherwise_survive(tmp_path):
    file = record(tmp_path / "a.ndjson", 'a:"{#}: \\ é', "b:- yes")
    config = load(derive([file], tmp_path / "out")).config
    members = [channel for s in config.signals.values() for channel in s.members]
    assert members == ['a:"{#}: \\ é', "b:- yes"]


def test_the_readable_part_of_a_cut_archive_is_enough(tmp_path):
    file = record(tmp_path / "a.ndjson.gz", "a:x", count=5000)
    file.write_bytes(file.read_bytes()[:-400])
    assert list(load(derive([file], tmp_path / "out")).config.signals) == ["signal"]


@pytest.mark.parametrize("content", [b"", b"\n", b"nonsense\n" * 50])
def test_a_recording_without_numbers_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "a.ndjson").write_bytes(content)
    with pytest.raises(RecordingsError) as caught:
        derive([tmp_path / "a.ndjson"], tmp_path / "out")
    assert caught.value.exit_code == 2
    assert len(caught.value.lines()) == 1


def test_a_missing_recording_is_named(tmp_path, capsys):
    with pytest.raises(RecordingsError, match=r"none\.ndjson: no such file"):
        derive([tmp_path / "none.ndjson"], tmp_path / "out")
    with pytest.raises(SystemExit) as end:
        main(["replay", str(tmp_path / "none.ndjson"), "--out", str(tmp_path / "out")])
    assert end.value.code == 2
    assert capsys.readouterr().err == f"lumen: {tmp_path}/none.ndjson: no such file\n"


def test_midi_is_not_fused_with_measurements(tmp_path):
    keys = ("midi:cc/1/7", "midi:pitch/1", "midi:note/1/60", "midi:clock", "imu:x")
    config = load(derive([record(tmp_path / "a.ndjson", *keys)], tmp_path / "out")).config
    assert config.facts == ["midi:cc/1/7", "midi:pitch/1"]
    assert [list(s.members) for s in config.signals.values()] == [["imu:x"], ["midi:clock"]]


def test_a_recording_in_two_files_replays_to_the_same_bytes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make(studio(40.0), 1).write(tmp_path / "take.ndjson")
    lines = (tmp_path / "take.ndjson").read_bytes().splitlines(keepends=True)
    engine = b'"source":"ure"'
    Path("a.ndjson").write_bytes(b"".join(x for x in lines if engine in x))
    Path("b.ndjson").write_bytes(b"".join(x for x in lines if engine not in x))
    assert main(["replay", "take.ndjson", "--out", "one"]) == 0
    text = capsys.readouterr().out
    assert "osc_1:/body/pulse" in text
    assert "Account of events, balanced\n" in text
    assert text.rstrip().endswith("lumen run one.yaml")
    assert main(["replay", "a.ndjson", "b.ndjson", "--out", "two"]) == 0
    one, two = digests(Path("one")), digests(Path("two"))
    assert one["fused"] != "empty"
    assert [one[name] for name in ("fused", "sync")] == [two[name] for name in ("fused", "sync")]


def test_a_member_in_another_unit_is_learnt(tmp_path):
    file = tmp_path / "two.ndjson"
    rows = [
        {
            "ts": 1.7e9 + i / 10,
            "source": source,
            "key": "acc",
            "value": value,
            "meta": {"unit": unit},
        }
        for i, value in enumerate(movement(np.arange(600) / 10).tolist())
        for source, unit in (("a", "m/s2"), ("b", "g"), ("c", "m/s2"))
    ]
    file.write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    config = load(str(derive([file], tmp_path / "out"))).config
    learnt = {name for name, channel in config.channels.items() if channel.learnt}
    assert learnt == {"b:acc"}


def lines(path: Path, *values: object, key: str = "/p") -> Path:
    """Write one event a value."""
    events = ({"ts": 1e9 + i, "source": "s", "key": key, "value": v} for i, v in enumerate(values))
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def test_numbers_with_a_decimal_comma_are_named_before_and_after(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commas = [f"{i / 7:.3f}".replace(".", ",") for i in range(200)]
    good = record(tmp_path / "good.ndjson", "a:/p", count=200)
    assert main(["replay", str(lines(tmp_path / "b.ndjson", *commas)), str(good)]) == 0
    shown = capsys.readouterr()
    text = "s:/p: 200 texts are numbers with a decimal comma ('0,000')"
    assert text in shown.err
    assert text in shown.out


def test_texts_and_whole_numbers_are_no_remark(tmp_path):
    file = lines(tmp_path / "a.ndjson", *range(2**53 - 20, 2**53), "a,b", "1,2,3", "go")
    remarks = []
    derive([file], tmp_path / "out", warn=remarks.append)
    assert not remarks


def test_integers_beyond_two_to_the_53_are_named(tmp_path):
    file = lines(tmp_path / "a.ndjson", *range(2**60, 2**60 + 20))
    remarks = []
    derive([file], tmp_path / "out", warn=remarks.append)
    assert "s:/p: 20 integers beyond 2^53" in remarks[0]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "empty"),
        (b"time,value\n1,2\n" * 20, "no line is an event (json)"),
        (b'{"ts": 1, "source": "s", "key": "k", "value": ""}\n' * 20, "markers only (20 texts)"),
        (b"\x00\x01" * 300, "no line is an event"),
    ],
)
def test_a_file_without_numbers_is_refused_with_its_reason(tmp_path, content, text):
    file = tmp_path / "a.ndjson"
    file.write_bytes(content)
    with pytest.raises(RecordingsError) as refused:
        derive([file], tmp_path / "out")
    assert text in refused.value.lines()[0]
