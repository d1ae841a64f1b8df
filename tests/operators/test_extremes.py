"""The bounds of the configuration: each number has two, and the last that pass can be run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from configs.document import ConfigError
from configs.load import load
from configs.schema import Config

ROOT = Path(__file__).parents[2]
BASE = f"""version: 2
streams: [{{name: demo, type: file, path: {ROOT}/configs/recordings/demo.ndjson.gz}}]
signals: {{pulse: {{members: {{"ure:pulse": {{group: ure}}, "osc_1:/body/pulse": {{}}}}}}}}
"""


def numbers(node: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the numbers of a JSON Schema, each with the name of its parent."""
    if isinstance(node, list):
        for part in node:
            yield from numbers(part, name)
    elif isinstance(node, dict):
        if node.get("type") in ("number", "integer"):
            yield name, node
        for key, part in node.items():
            inside = {"properties": f"{name}.", "$defs": ""}.get(key)
            if inside is None:
                yield from numbers(part, name)
            else:
                for key, inner in part.items():
                    yield from numbers(inner, inside + key)


def test_every_number_of_the_configuration_has_a_lower_and_an_upper_bound() -> None:
    found = list(numbers(msgspec.json.schema(Config), ""))
    assert len(found) > 40
    for name, node in found:
        assert {"minimum", "exclusiveMinimum"} & set(node), name
        assert {"maximum", "exclusiveMaximum"} & set(node), name


@pytest.mark.parametrize(
    "rest",
    [
        "quality: {window_s: 1.0e+300}",
        "quality: {window_s: 1.0e+8}",
        "quality: {hop_s: 1.0e-9}",
        "align: {hop_s: 1.0e-9}",
        "align: {window_s: 1.0e+8}",
        "align: {window_s: 3600, search_hz: 1000}",
        "resample: {wait_s: 1.0e+8}",
        "collect: {block_s: 1.0e-9}",
        "output: {sync_every_s: 1.0e-9}",
        "drift: {max_disorder_s: 1.0e+8}",
        "failover: {min_streams: 9223372036854775807}",
    ],
)
def test_a_value_beyond_memory_or_time_is_refused(tmp_path: Path, rest: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"{BASE}{rest}\n")
    with pytest.raises(ConfigError, match="expected"):
        load(path)


def test_the_extreme_legal_values_run(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"""{BASE}quality: {{window_s: 3600, hop_s: 0.1}}
align: {{window_s: 3600, max_lag_s: 1799, hop_s: 0.1, kalman: {{q: 1.0e+15, r: 1.0e+15}}}}
drift: {{max_disorder_s: 3600, max_delay_s: 86400}}
channels: {{"ure:pulse": {{gain: 1.0e+300, offset: -1.0e+300, range: [-1.0e+300, 1.0e+300]}}}}
failover: {{stale_after_s: 86400, rejoin_after_s: 86400, min_streams: 65536}}
weights: {{ure: 1.0e+15, sensors: 1.0e+15}}
output: {{dir: {tmp_path}/out, sync_every_s: 0.01, rotate_mb: 1.0e+6, keep: 1000000}}
""")
    run = subprocess.run(
        [sys.executable, "-m", "ops", "run", str(path)],
        cwd=ROOT,
        timeout=300,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]


@pytest.mark.parametrize(
    "fault",
    [
        'streams: [{name: "demo\\n", type: file, path: x}]',
        'streams: [{name: o, type: osc, addr: "127.0.0.1:9000\\n"}]',
        'streams: [{name: u, type: ure, metrics_url: "http://127.0.0.1:9305/m\\n"}]',
        'send: [{name: s, type: osc, to: "127.0.0.1:9001\\n", map: {/x: pulse}}]',
        'exporter: {path: "/metrics\\n"}',
        'rig: "studio\\n"',
    ],
)
def test_a_text_with_a_trailing_line_feed_is_refused(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "c.yaml"
    lines = BASE.splitlines()
    if fault.startswith("streams"):
        lines[1] = fault
    else:
        lines.append(fault)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert "expected" in str(refused.value)
    assert "(?!" not in str(refused.value)
    place = str(refused.value).partition(": ")[0]
    path.write_text(path.read_text().replace("\\n", ""))
    try:
        load(path)
    except ConfigError as other:  # a recording that is not there, a member without a stream
        assert f"{place}: " not in str(other)
