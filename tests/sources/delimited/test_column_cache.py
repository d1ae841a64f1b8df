"""A delimited file is decoded once for the guess and both passes of a run."""

import json
from pathlib import Path

import numpy as np
import pytest

from ops.__main__ import main
from ops.cli.verify import digests
from sources.delimited import TableDecoder
from sources.delimited import column_cache as remembered
from sources.opening import reader_at
from sources.rows.names import Names


@pytest.fixture(autouse=True)
def _forget():
    remembered._kept.clear()
    yield
    remembered._kept.clear()


def table(path: Path, lines=40_000, seed=1):
    """Write more than one piece of 1 MiB."""
    rng = np.random.default_rng(seed)
    t, rows = np.arange(lines) / 100, rng.normal(size=(lines, 3)).cumsum(axis=0)
    text = "".join(
        f"{x:.3f},{a:.6f},{b:.6f},{c:.6f}\n" for x, (a, b, c) in zip(t, rows, strict=True)
    )
    path.write_text("time,a,b,c\n" + text)
    return path


@pytest.fixture
def decoded(monkeypatch):
    """Count the bytes that are decoded."""
    count = []
    decode = TableDecoder.decode

    def counted(self, block, base, names):
        count.append(len(block))
        return decode(self, block, base, names)

    monkeypatch.setattr(TableDecoder, "decode", counted)
    return count


def pieces(path):
    data, at = path.read_bytes(), 0
    while at < len(data):
        end = data.rfind(b"\n", at, at + (1 << 20)) + 1
        yield data[at:end], at
        at = end


@pytest.mark.parametrize("broken", [b"", b"1.0,x,2,3\n", b"1.0,2\n"])
def test_rows_from_the_columns_are_those_of_the_decoder(tmp_path, broken):
    path = table(tmp_path / "a.csv")
    path.write_bytes(path.read_bytes() + broken)
    plain, kept = reader_at(str(path)), reader_at(str(path), keep=True)
    for _ in range(2):
        # A table of names of its own each time, others in it.
        mine, theirs = Names("studio"), Names("studio")
        assert mine[None, "z", "first"] == 0
        for block, base in pieces(path):
            a, b = plain.decode(block, base, theirs), kept.decode(block, base, mine)
            for column in ("ts", "rx", "value", "line", "seq", "stamped"):
                assert np.array_equal(getattr(a, column), getattr(b, column), equal_nan=True)
            assert [theirs.channels[i] for i in a.name if i >= 0] == [
                mine.channels[i] for i in b.name if i >= 0
            ]
            assert (a.name < 0).tolist() == (b.name < 0).tolist()


@pytest.mark.parametrize("mode", ["--hindsight", "--causal"])
def test_replay_decodes_no_line_twice(tmp_path, monkeypatch, decoded, mode):
    monkeypatch.chdir(tmp_path)
    size = table(Path("a.csv")).stat().st_size
    assert size > 1 << 20
    assert main(["replay", "a.csv", mode]) == 0
    assert sum(decoded) == size


def test_a_run_of_two_passes_decodes_once_and_one_of_one_keeps_nothing(
    tmp_path, monkeypatch, decoded
):
    monkeypatch.chdir(tmp_path)
    size = table(Path("a.csv"), 8000).stat().st_size
    for mode in ("hindsight", "causal"):
        decoded.clear()
        remembered._kept.clear()
        Path("c.yaml").write_text(
            "version: 2\nstreams: [{name: a, type: file, path: a.csv}]\n"
            f'signals: {{s: {{members: {{"a:a": {{}}}}}}}}\nmode: {mode}\noutput: {{dir: {mode}}}\n'
        )
        assert main(["run", "c.yaml"]) == 0
        assert sum(decoded) == size
        assert bool(remembered._kept) is (mode == "hindsight")


def test_results_are_the_same_bytes_with_and_without_the_columns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table(Path("a.csv"), 8000)
    assert main(["replay", "a.csv", "--out", "one"]) == 0
    monkeypatch.setattr(remembered, "MAX_FILES", 0)
    assert main(["replay", "a.csv", "--out", "two"]) == 0
    assert digests(Path("one")) == digests(Path("two"))


def test_a_file_that_has_changed_is_decoded_anew(tmp_path, decoded):
    path = table(tmp_path / "a.csv", 100)
    for seed in (1, 2):
        data = table(path, 100, seed).read_bytes()
        rows = reader_at(str(path), keep=True).decode(data, 0, Names("studio"))
        assert rows.value[:3].tolist() == [float(x) for x in data.split(b"\n")[1].split(b",")[1:]]
    assert len(decoded) == 2


def test_events_are_not_kept(tmp_path):
    (tmp_path / "a.ndjson").write_text(json.dumps({"ts": 1, "source": "a", "key": "b", "value": 1}))
    reader_at(str(tmp_path / "a.ndjson"), keep=True)
    assert not remembered._kept
