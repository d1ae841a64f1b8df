"""Which channels `lumen replay` proposes as members of one signal, and what it leaves apart."""

import json
import re

import numpy as np
import pytest

from configs.load import load
from ops.cli.guess.agreement import CommonGrid
from ops.cli.guess.config import derive
from ops.fakes.xdf_files import XdfFileStream, regular, write

SECONDS = 90.0


def movement(seed):
    rng = np.random.default_rng(seed)
    hz, phase = rng.uniform(0.05, 1.2, 60), rng.uniform(0, 2 * np.pi, 60)
    return lambda t: np.sin(2 * np.pi * np.outer(t, hz) + phase).sum(axis=1) / np.sqrt(30)


def stream(name, *, seed=5, lag=0.0, hz=50.0, labels=("x",), **what):
    host = regular(hz, SECONDS)
    values = np.stack([movement(seed)(host - lag - 0.01 * k) for k in range(len(labels))], 1)
    return XdfFileStream(name, host, hz, labels=labels, values=values, **what)


def guessed(tmp_path, *streams):
    """Return the configuration for streams of one file, and the sentences beside it."""
    write(tmp_path / "a.xdf", *streams)
    shown = []
    path = derive([tmp_path / "a.xdf"], tmp_path / "out", show=shown.append)
    return load(path).config, "\n".join([*shown, ""])


def members(config):
    return [list(s.members) for s in config.signals.values()]


def test_a_label_and_agreement_make_one_signal(tmp_path):
    config, shown = guessed(tmp_path, stream("a"), stream("b", lag=0.4))
    assert members(config) == [["a:x", "b:x"]]
    assert "labelled 'x'; correlation 1.00 at a lag of +0.40 s" in shown


def test_a_label_without_agreement_makes_no_signal_and_is_reported(tmp_path):
    config, shown = guessed(tmp_path, stream("a"), stream("b", seed=6))
    assert members(config) == [["a:x"], ["b:x"]]
    line = re.search(r"to fuse them: (signals: .*)\.\n", shown)[1]
    text = (tmp_path / "out.yaml").read_text()
    cut = text.index("signals:\n"), text.index("facts:")
    (tmp_path / "mended.yaml").write_text(text[: cut[0]] + line + "\n" + text[cut[1] :])
    assert members(load(tmp_path / "mended.yaml").config) == [["a:x", "b:x"]]


def test_generated_names_are_never_grouped_and_reported(tmp_path):
    config, shown = guessed(tmp_path, stream("a", labels=("",)), stream("b", labels=("",)))
    assert members(config) == [["a:ch1"], ["b:ch1"]]
    assert "a:ch1 and b:ch1 agree (correlation 1.00" in shown
    assert 'signals: {ch1: {members: {"a:ch1": {group: sensors}, "b:ch1"' in shown


@pytest.mark.parametrize(("kinds", "count"), [(("Pulse", "pulse"), 1), (("Pulse", "Gaze"), 2)])
def test_a_type_counts_for_the_only_channel_of_a_stream(tmp_path, kinds, count):
    streams = [
        stream(name, labels=(label,), content=kind)
        for name, label, kind in zip("ab", ("bpm", "rate"), kinds, strict=True)
    ]
    config, _ = guessed(tmp_path, *streams)
    assert len(members(config)) == count


def test_a_type_does_not_count_for_streams_of_several_channels(tmp_path):
    streams = stream("a", labels=("C3", "C4"), content="EEG"), stream("b", labels=("Fz",))
    config, _ = guessed(tmp_path, *streams)
    assert members(config) == [["a:C3"], ["a:C4"], ["b:Fz"]]


def test_codes_without_a_rate_are_facts(tmp_path):
    rng = np.random.default_rng(4)
    host = np.sort(5000 + rng.uniform(0, SECONDS, 29))
    codes = XdfFileStream("codes", host, 0.0, "int32", ("",), values=rng.integers(1, 5, (29, 1)))
    config, shown = guessed(tmp_path, codes, stream("a", labels=("",) * 3))
    assert members(config) == [["a:ch1"], ["a:ch2"], ["a:ch3"]]
    assert "codes:ch1" in config.facts
    assert "codes:ch1 is held, and a fact (nominal_srate 0, int32, " in shown
    assert 'members: {"codes:ch1": {group: sensors}}' in shown


def test_where_all_is_held_that_is_measured(tmp_path):
    host = np.sort(5000 + np.random.default_rng(4).uniform(0, SECONDS, 29))
    codes = XdfFileStream("codes", host, 0.0, "int32", ("c",), values=np.arange(29)[:, None] % 4)
    config, _ = guessed(tmp_path, codes)
    assert members(config) == [["codes:c"]]
    assert config.channels["codes:c"].kind == "held"


def test_a_dense_stream_without_a_rate_is_sampled_and_reported(tmp_path):
    gaze = stream("gaze")
    gaze.rate_hz = 0.0
    config, shown = guessed(tmp_path, gaze, stream("a"))
    assert members(config) == [["a:x", "gaze:x"]]
    assert 'channels: {"gaze:x": {kind: held}}' in shown


def test_a_lag_beyond_the_usual_widens_the_search(tmp_path):
    config, _ = guessed(tmp_path, stream("a"), stream("b", lag=11.0))
    assert members(config) == [["a:x", "b:x"]]
    assert 12 <= config.align.max_lag_s <= 13


def test_columns_without_a_header_are_not_grouped_and_titles_are(tmp_path):
    t = np.arange(0, 60, 0.05)
    for name, lag in (("a", 0.0), ("b", 0.3)):
        rows = [f"{x + 1.7e9:.3f},{v:.5f}" for x, v in zip(t, movement(5)(t - lag), strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join(rows))
        (tmp_path / f"{name}2.csv").write_text("\n".join(["time,Pulse (bpm)", *rows]))
    bare = derive([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "bare")
    titled = derive([tmp_path / "a2.csv", tmp_path / "b2.csv"], tmp_path / "titled")
    assert members(load(bare).config) == [["a:column_2"], ["b:column_2"]]
    assert members(load(titled).config) == [["a2:Pulse (bpm)", "b2:Pulse (bpm)"]]


def test_a_break_in_a_name_stays_in_its_comment(tmp_path):
    t = np.arange(0, 60, 0.1)
    lines = [
        json.dumps({"ts": x + 1.7e9, "source": s, "key": "/a\nversion: 3", "value": v})
        for x, v in zip(t.tolist(), movement(5)(t).tolist(), strict=True)
        for s in "ab"
    ]
    (tmp_path / "a.ndjson").write_text("\n".join(lines))
    config = load(derive([tmp_path / "a.ndjson"], tmp_path / "out")).config
    assert members(config) == [["a:/a\nversion: 3", "b:/a\nversion: 3"]]


@pytest.mark.parametrize("low_hz", [0.02, 0.2])
def test_unrelated_movements_do_not_agree(low_hz):
    rng, grid, t = np.random.default_rng(7), CommonGrid(0.0, 120.0), np.arange(0, 120, 0.02)
    for k in range(20):
        hz, phase = rng.uniform(low_hz, 10 * low_hz, 40), rng.uniform(0, 2 * np.pi, 40)
        grid.add(f"{k}", t, np.sin(2 * np.pi * np.outer(t, hz) + phase).sum(axis=1))
    pairs = [(a, b) for b in range(20) for a in range(b)]
    assert sum(grid.agreement(f"{a}", f"{b}").agree for a, b in pairs) <= 1
