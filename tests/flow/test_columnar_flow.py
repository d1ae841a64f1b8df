"""Results of columnar recordings, beside those of the same lines."""

import gzip
import json
from pathlib import Path

import pytest

from flows.run import execute
from ops.cli.convert import convert
from sources.columnar import columnar_recording, columnar_writer

ROOT = Path(__file__).parents[2]
LIVE = b"""{"ts":17300000
{"tick":1730000001.5,"rig":"studio","turned":{"source":"osc_1","up":true}}
{"tick":1730000001.6,"rig":"studio"}
{"control":"bridge.release","rx":1730000001.65,"rig":"studio","by":"ann"}
{"control":"bridge.release","rx":1730000001.65,"rig":"nowhere","by":"ann"}
{"control":"bridge.explode","rx":1730000001.65,"rig":"studio","by":"ann"}
{"ts":1730000001.5,"source":"osc_1","key":"/acc","value":[1.0,null,3.0],"meta":{"rx":1730000001.7}}
{"lost":{"reason":"osc","source":"osc_2","where":"127.0.0.1:9","sample":"AAEC","count":3}}
{"ts":1730000001.8,"source":"osc_1","key":"/text","value":"go","meta":{"own_time":false}}
"""


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """The first minute of the demo with the lines of a live tape among them."""
    folder = tmp_path_factory.mktemp("lines")
    packed = ROOT / "configs" / "recordings" / "demo.ndjson.gz"
    demo = gzip.decompress(packed.read_bytes()).splitlines(True)[:7000]
    path = folder / "given.ndjson"
    path.write_bytes(b"".join([*demo[:300], LIVE, *demo[300:]]))
    return path


CONFIG = """version: 2
streams: [{{name: demo, type: file, path: {path}, batch_lines: {lines}}}]
signals:
  pulse:
    reference: "ure:pulse"
    members:
      "ure:pulse": {{group: ure}}
      "osc_1:/body/pulse": {{group: sensors}}
      "osc_2:/wrist/pulse": {{group: sensors}}
channels: {{"osc_1:/acc": {{reduce: norm}}, "osc_1:/text": {{}}}}
align: {{max_lag_s: 2.0, window_s: 30, hop_s: 5}}
evidence: {{rules: [{root}/configs/rules/risk_map.yaml]}}
mode: {mode}
output: {{dir: {out}}}
"""


def results(path, folder, mode, lines=10_000):
    """Return the files of results, and the dead letters without places in the file itself."""
    folder.mkdir()
    config, out = folder / "run.yaml", folder / "out"
    text = CONFIG.format(path=path, lines=lines, root=ROOT, mode=mode, out=out)
    config.write_text(text)
    execute(config)
    found = {file.name: file.read_bytes() for file in out.glob("*.jsonl")}
    dead = [json.loads(line) for line in found.pop("dead.jsonl").splitlines()]
    for letter in dead:
        if letter["where"].startswith(str(path)):
            letter["where"] = "at its place"
    return found, dead


@pytest.mark.parametrize("mode", ["causal", "hindsight"])
def test_results_of_columns_are_those_of_the_same_lines(lines, tmp_path, monkeypatch, mode):
    canonical = tmp_path / "canonical.ndjson"
    convert(str(lines), canonical)
    expected, dead = results(canonical, tmp_path / "lines", mode)
    assert len(expected["fused.jsonl"]) > 10_000
    assert {"json", "value", "osc"} <= {letter["reason"] for letter in dead}
    for rows, ending in ((1000, ".parquet"), (1 << 20, ".parquet"), (700, ".arrow")):
        monkeypatch.setattr(columnar_writer, "GROUP_ROWS", rows)
        monkeypatch.setattr(columnar_writer, "BATCH_ROWS", rows)
        path = tmp_path / f"rows_{rows}{ending}"
        convert(str(lines), path)
        for batch_rows, batch_lines in ((16_384, 10_000), (333, 77)):
            monkeypatch.setattr(columnar_recording, "BATCH_ROWS", batch_rows)
            folder = tmp_path / f"out_{rows}_{batch_rows}"
            found, letters = results(path, folder, mode, batch_lines)
            assert found == expected
            assert letters_of(letters) == letters_of(dead)


def letters_of(dead):
    """Return dead letters; an element of an array is at the place of its array."""
    return [letter | {"where": ""} if letter["reason"] == "value" else letter for letter in dead]
