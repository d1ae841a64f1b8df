"""The whole flow through the engine, on batches made by hand."""

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import timedelta
from functools import partial

import bytewax.operators as op
import msgspec
import numpy as np
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, cluster_main, run_main

from configs.load import load
from flows.fusion import stations
from flows.stations import Settings
from operators.engine import step
from operators.types import ENDS
from sinks.files.encode import packet_lines
from tests.support.signals import START, Source, every, movement, studio

SECONDS = 60.0
CONFIG = """\
version: 2
streams: [{name: never, type: file, path: NEVER}]
signals:
  pulse:
    reference: "ure:pulse"
    members:
      "ure:pulse": {group: ure}
      "osc_1:/pulse": {group: sensors}
      "osc_2:/pulse": {group: sensors, lag_s: 0.2, lag_sd_s: 0.001}
align: {max_lag_s: 1.0, window_s: 20, hop_s: 5}
evidence: {rules: [RULES]}
"""
RULES = '[{name: incomplete, when: "live < 3", for_s: 1, risk: incomplete}]'


def performer(seed):
    """Two sensors, of which one has to be found, the other falls silent, and the engine."""
    return studio(
        Source(source="ure", key="pulse", rate_hz=20.0),
        Source(source="osc_1", offset_s=3.2, skew_ppm=80.0, lag_s=0.3, duplicates=3, far=2),
        Source(source="osc_2", rate_hz=31.0, lag_s=0.2, silent=((40.0, 50.0),), wild=1),
        seconds=SECONDS, seed=seed, rejects=2,
    )  # fmt: skip


def of(rig, batch, rows):
    return [(rig, replace(piece, rig=rig)) for piece in every(batch, rows)]


@pytest.fixture
def loaded(tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    config = tmp_path / "config.yaml"
    (tmp_path / "never.ndjson").touch()
    text = CONFIG.replace("RULES", str(rules)).replace("NEVER", str(tmp_path / "never.ndjson"))
    config.write_text(text)
    return load(config)


def through(loaded, items, out, keep=False):
    dataflow = Dataflow("test")
    received = op.input("receive", dataflow, TestingSource(items))
    station = partial(step, fingerprint=loaded.fingerprint, keep=keep)
    fused = stations(received, station, Settings.of(loaded.config, loaded.rules))
    op.output("sinks", fused, TestingSink(out))
    return dataflow


def fused(loaded, items, run=run_main, **how):
    """Return, by rig and kind of file, the lines that come out."""
    out = []
    run(through(loaded, items, out), **how)
    return lines(out)


def lines(out):
    texts = defaultdict(list)
    for rig, packet in out:
        for stem, text in packet_lines(packet):
            texts[rig, stem] += text.splitlines()
    return texts


def test_several_streams_become_one_signal(loaded):
    lines_of = fused(loaded, of("studio", performer(0), 700))
    ticks = [msgspec.json.decode(line) for line in lines_of["studio", "fused"]]
    assert len(ticks) == pytest.approx(SECONDS * 5, abs=2)
    late = [t for t in ticks if t["ts"] > START + 30]
    assert Counter(t["mode"] for t in late) == {"fused": len(late)}
    value = np.array([t["signals"]["pulse"]["value"] for t in late])
    clean = movement(0)(np.array([t["ts"] for t in late]) - START)
    assert np.sqrt(np.mean((value - clean) ** 2)) < 0.06
    printed = {
        line["channel"]: line
        for line in map(msgspec.json.decode, lines_of["studio", "sync"])
    }  # fmt: skip
    osc = printed["osc_1:/pulse"]
    assert osc["lag_s"] == pytest.approx(0.3, abs=0.01)
    assert osc["offset_s"] == pytest.approx(3.2 - SECONDS * 80e-6, abs=1e-3)
    assert any(t["live"] == 2 for t in late), "one was silent"
    evidence = [msgspec.json.decode(line) for line in lines_of["studio", "evidence"]]
    assert [e["state"] for e in evidence] == ["firing", "resolved", "firing"]
    assert [START + 30 < e["ts"] < START + 42 for e in evidence] == [False, False, True]


def test_every_event_has_one_end(loaded):
    out = []
    batch = performer(0)
    run_main(through(loaded, of("studio", batch, 700), out))
    counts = Counter()
    for _, packet in out:
        for ends in packet.ends:
            counts[ends.end] += len(ends.watermark)
    assert counts["received"] == len(batch.ts) + len(batch.rejects)
    assert counts["received"] == sum(counts[end] for end in ENDS[1:])
    assert counts["duplicate"] == 3
    assert sum(packet.end for _, packet in out) == 1


def test_it_does_not_matter_how_rows_come_in_batches(loaded):
    whole = fused(loaded, of("studio", performer(0), 100_000))
    assert fused(loaded, of("studio", performer(0), 37)) == whole


def test_two_rigs_on_two_workers_give_the_results_of_each_alone(loaded):
    pieces = [of("left", performer(0), 500), of("right", performer(1), 500)]
    mixed = [item for both in zip(*pieces, strict=False) for item in both]
    mixed += [item for some in pieces for item in some[min(map(len, pieces)) :]]
    alone = {k: v for some in pieces for k, v in fused(loaded, some).items()}
    assert alone["left", "fused"] != alone["right", "fused"]
    cluster = fused(loaded, mixed, cluster_main, addresses=[], proc_id=0, worker_count_per_proc=2)
    assert cluster == alone


def test_a_run_that_pauses_goes_on_where_it_was(loaded, tmp_path):
    items = of("studio", performer(0), 300)
    whole = fused(loaded, items)
    init_db_dir(tmp_path, 1)
    paused = [*items[:7], TestingSource.EOF(), *items[7:12], TestingSource.EOF(), *items[12:]]
    out = []
    for _ in range(4):  # the last finds nothing left to do
        run_main(
            through(loaded, paused, out, keep=True),
            epoch_interval=timedelta(0),
            recovery_config=RecoveryConfig(tmp_path, timedelta(0)),
        )
    assert lines(out) == whole
