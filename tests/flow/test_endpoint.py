"""The endpoint of a whole flow in a process of its own, over the shipped recording."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ops.bench.osc_fuzz import message
from ops.fakes.ports import free_port
from sinks.exporter.metrics import AGE, FAMILIES, LATENESS
from tests.support.waiting import HUNG_S

ROOT = Path(__file__).parents[2]
_NAMES = """
fusion_coherence_level fusion_harmony_index fusion_phase_diff_mean fusion_stream_ingest_total
fusion_sync_quality fusion_entropy_ratio fusion_mode fusion_live_channels fusion_signal_value
fusion_signal_sd fusion_channel_weight fusion_clock_offset_seconds fusion_clock_skew_ppm
fusion_clock_resets_total fusion_lag_seconds fusion_lag_sd_seconds fusion_lag_confidence
fusion_sync_error_bound_seconds fusion_sync_estimate_bound_seconds fusion_slo_uncompared_ticks_total
fusion_stream_expected fusion_stream_up fusion_stream_age_seconds
fusion_stream_last_event_timestamp_seconds fusion_last_tick_timestamp_seconds fusion_events_total
fusion_events_discarded_total fusion_ticks_total fusion_slo_ticks_total
fusion_slo_bad_ticks_total fusion_tick_lateness_seconds_bucket fusion_tick_lateness_seconds_sum
fusion_tick_lateness_seconds_count fusion_build_info
"""
"""What users, rules and dashboards read."""


@pytest.fixture
def port():
    return free_port()


def write(path, out, speed, port=None):
    text = (ROOT / "configs" / "fusion.yaml").read_text().replace("speed: 0", f"speed: {speed}")
    text = text.replace("{dir: out,", f"{{dir: {out},")
    path.write_text(text + (f"exporter: {{http_port: {port}}}\n" if port else ""))
    return path


def start(config):
    return subprocess.Popen(
        [sys.executable, "-m", "bytewax.run", f"flows.fusion:flow({str(config)!r})"],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip


def scrape(port):
    """Return the samples by name, none where nobody answers."""
    found = {}
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/metrics_fusion", timeout=HUNG_S
        ) as page:
            text = page.read().decode()
    except OSError:
        return {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def test_every_metric_exists_counts_only_rise_and_a_second_run_is_refused(tmp_path, port):
    process = start(write(tmp_path / "a.yaml", tmp_path / "a", 30, port))
    seen, counts, second = set(), {}, None
    try:
        while process.poll() is None:
            found = scrape(port)
            seen |= found.keys()
            for name, samples in found.items():
                for s in samples if name.endswith(("_total", "_bucket", "_count")) else ():
                    key = (name, *sorted(s.labels.items()))
                    assert s.value >= counts.get(key, 0), key
                    counts[key] = s.value
            if found and second is None:
                other = start(write(tmp_path / "b.yaml", tmp_path / "b", 0, port))
                second = other.communicate(timeout=60)[1]
                assert other.returncode == 2
            time.sleep(0.1)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert second == (
        f"lumen: exporter: 127.0.0.1:{port} is taken by process {process.pid} (python)\n"
    )
    assert seen >= set(_NAMES.split())
    ours = {family.name for family in FAMILIES} | {AGE}
    assert {name for name in seen if not name.startswith(LATENESS)} == ours
    assert counts["fusion_events_total", ("end", "used"), ("rig", "studio"), ("stream", "ure")] > 0


def test_the_bytes_are_those_of_a_run_without_it(tmp_path, port):
    folders = []
    for name, has in (("with", port), ("without", None)):
        folders.append(tmp_path / name)
        process = start(write(tmp_path / f"{name}.yaml", folders[-1], 0, has))
        while process.poll() is None:
            scrape(port)
        process.communicate()
        assert process.returncode == 0
    ours, theirs = (
        {path.name: path.read_bytes() for path in folder.glob("*.jsonl")} for folder in folders
    )
    assert ours == theirs
    assert len(ours["fused.jsonl"]) > 100_000


LIVE = """version: 2
streams: [{{name: osc_1, type: osc, addr: "127.0.0.1:{port}"}}]
signals: {{pulse: {{members: {{"osc_1:/v": {{lag_s: 0.0}}}}}}}}
resample: {{target_hz: 20}}
exporter: {{http_port: {port}}}
output: {{dir: {folder}/live}}
"""


def test_a_live_run_shows_its_streams_and_how_late_ticks_are(tmp_path, port):
    (tmp_path / "live.yaml").write_text(LIVE.format(port=port, folder=tmp_path))
    process = start(tmp_path / "live.yaml")
    found = {}

    def value(name):
        return found[name][0].value if name in found else 0.0

    try:
        end = time.monotonic() + 30
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while value(f"{LATENESS}_count") < 20 and time.monotonic() < end:
                sender.sendto(message("/v", "f", b"\x3f\x80\0\0"), ("127.0.0.1", port))
                found = scrape(port)
                time.sleep(0.05)
        assert value(f"{LATENESS}_count") >= 20
        assert 0 < value(f"{LATENESS}_sum") / value(f"{LATENESS}_count") < HUNG_S
        assert value("fusion_stream_up") == 1
        assert value("fusion_stream_age_seconds") < HUNG_S
        assert abs(value("fusion_stream_last_event_timestamp_seconds") - time.time()) < HUNG_S
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0
