"""The parts of a report that come from recordings and long files."""

import html
import json

import pytest

from configs.inputs import UreStream
from configs.schema import Config
from configs.signals import MemberConfig, SignalConfig
from ops.fakes.xdf_files import XdfFileStream, regular, write
from ops.report.nominal_rates import headers, rates
from ops.results.lines import LineReader, TickLine
from tests.ops.report.run_lines import START, SYNC, TICKS, fill, tick, written


def test_a_stretch_of_a_long_file_is_found_without_reading_the_rest(tmp_path):
    lines = [tick(i / 5) for i in range(20_000)]
    out = fill(tmp_path / "out", fused=lines)
    found = [
        line.ts - START
        for line in LineReader(out).near("fused", TickLine, START + 2000, START + 2010)
    ]
    assert found[0] < 1900
    assert found[-1] == pytest.approx(2130, abs=0.3)
    assert len(found) < 4000
    assert {i / 5 for i in range(10_000, 10_050)} <= {round(at, 1) for at in found}


def test_nominal_rates_are_the_stated_rates(tmp_path):
    path = tmp_path / "take.xdf"
    host = regular(50.0, 5.0)
    streams = [
        XdfFileStream("eeg:1", host, rate_hz=50.0), XdfFileStream("markers", host),
        XdfFileStream("twin", host, rate_hz=10.0), XdfFileStream("twin", host, rate_hz=20.0),
    ]  # fmt: skip
    write(path, *streams)
    size = path.stat().st_size
    asked = UreStream(name="ure", metrics_url="http://127.0.0.1:1/", pull_interval_s=4.0)
    signals = {"s": SignalConfig(members={"a:x": MemberConfig()})}
    config = Config(version=2, streams=[asked], signals=signals)
    run = {"recordings": [{"path": str(path), "bytes": size}, {"path": "gone.xdf", "bytes": 1}]}
    assert rates(config, run) == {"ure": 0.25, "eeg_1": 50.0}
    path.write_bytes(path.read_bytes()[:-9])
    assert headers(path) == {"eeg_1": 50.0}
    assert rates(None, run) == {}, "it has changed since"


def test_remarks_and_unread_clocks_of_a_recording_are_stated(tmp_path, text_only):
    out = fill(tmp_path / "out", fused=TICKS, sync=SYNC)
    remarks = [
        "stamps of b lie 1.688e9 s from its clock's readings: Unix time beside machine time?",
        "a: its clock was never read; taken to be the recorder's",
    ]
    run = {"recordings": [{"path": "take.xdf", "bytes": 1, "remarks": remarks}]}
    (out / "run.json").write_text(json.dumps(run))
    page, methods = written(out)
    assert all(html.escape(remark, quote=True) in page for remark in remarks)
    assert "The clocks of a were never read" in methods
    run["recordings"][0]["remarks"] = []
    (out / "run.json").write_text(json.dumps(run))
    page, methods = written(out)
    assert "two-way readings" in methods and "never read" not in methods + page
