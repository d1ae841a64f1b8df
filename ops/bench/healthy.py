"""An hour without faults must fire no alert, by the shipped rules and promtool.

    python -m ops.bench.healthy [--seconds 3600] [--silent FROM TO]

The simulated hour includes the start: an engine and two sensors with their own clocks and lags, and
a few readings lost, doubled or thrown off. It runs through the flow like a live run, and its page
of metrics is scraped every 5 s of its time; the series of the engine and of the node exporter are
added. All series become one unit test of all rule files, in which no alert may fire. `--silent`
stops the sensors, so that alerts do fire.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import bytewax.operators as op
import yaml
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream
from bytewax.testing import TestingSink, run_main
from prometheus_client.parser import text_string_to_metric_families

from configs.load import load
from flows.fusion import stations
from flows.stations import Settings
from operators.engine import step
from operators.records import Packet
from ops.fakes.monitoring import ROOT
from ops.monitoring import heartbeat
from ops.monitoring.programs import PeerError, peer
from ops.simulate.recording import FACTS, START, SimulatedRecording, make
from ops.simulate.scenario import Scenario, Sensor, Span
from sinks.exporter.live_state import LiveState
from sinks.exporter.metrics import MetricsPage
from sources.replay import Replay

RULES = ROOT / "ops" / "monitoring" / "prometheus" / "rules"
EVERY_S = 5.0
MISSED = 2
BEFORE_S = (MISSED - 0.5) * EVERY_S
"""Prometheus and node exporter start earlier than the flow, by `MISSED` failed scrapes (s)."""
BEAT_S = 30.0
MACHINE_S = 0.02
"""Delay (s) from the end of a block until its ticks are written."""
STREAMS = {
    "recorded": '  - {{name: hour, type: file, path: "{path}", speed: 0}}',
    "live": """\
  - {{name: ure, type: ure, metrics_url: "http://127.0.0.1:9305/metrics_ure"}}
  - {{name: osc_1, type: osc, addr: "127.0.0.1:9000"}}
  - {{name: osc_2, type: osc, addr: "127.0.0.1:9001"}}""",
}
CONFIG = """version: 2
rig: studio
streams:
{streams}
signals:
  pulse:
    reference: "osc_1:/pulse"
    members:
      "ure:ure_pulse": {{group: ure}}
      "osc_1:/pulse":  {{group: sensors}}
      "osc_2:/pulse":  {{group: sensors}}
facts: ["ure:ure_phase_diff_mean", "ure:ure_harmony_index", "ure:ure_coherence_level",
        "ure:ure_residual_entropy_last"]
collect: {{block_s: 0.05}}
output: {{dir: "{folder}/out"}}
"""
_JOBS = {
    job: {"job": job, "instance": f"127.0.0.1:{port}"}
    for job, port in (("fusion", 9310), ("ure", 9305), ("node", 9100))
}
Labels: TypeAlias = Mapping[str, str]
_STALE = "stale"


class Scraped:
    """Series in Prometheus: one value for each scrape, or none."""

    def __init__(self) -> None:
        self.count = 0
        self._series: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = {}

    def scrape(self, *pages: tuple[str, Labels, float]) -> None:
        """Add a scrape: name, labels and value of each sample."""
        for name, labels, value in pages:
            key = name, tuple(sorted(labels.items()))
            series = self._series.setdefault(key, ["_"] * self.count)
            series.append(f"{value:.10g}")
        self.count += 1
        for series in self._series.values():
            if len(series) < self.count:
                series.append("_" if series[-1] in ("_", _STALE) else _STALE)

    def test(self, rules: list[Path]) -> str:
        """Return a unit test in which nothing fires."""
        return yaml.safe_dump(
            {
                "rule_files": [str(path) for path in rules],
                "evaluation_interval": f"{EVERY_S:g}s",
                "tests": [
                    {
                        "interval": f"{EVERY_S:g}s",
                        "input_series": [
                            {"series": _selector(name, labels), "values": " ".join(values)}
                            for (name, labels), values in self._series.items()
                        ],
                        "promql_expr_test": [
                            {
                                "expr": "sum by (alertname, severity)"
                                f' (count_over_time(ALERTS{{alertstate="firing"}}[{self._s}s]))',
                                "eval_time": f"{self._s}s",
                                "exp_samples": [],
                            }
                        ],
                    }
                ],
            },
            width=1_000_000,
        )

    @property
    def _s(self) -> int:
        return int(self.count * EVERY_S)


def _selector(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    text = ",".join(f'{key}="{value}"' for key, value in labels)
    return f"{name}{{{text}}}"


def hour(seconds: float, silent: tuple[Span, ...] = ()) -> SimulatedRecording:
    """Return a recording of an engine and two healthy sensors; `silent` spans have no sensors."""
    return make(
        Scenario(
            seconds=seconds,
            sensors=(
                Sensor("ure", "ure_pulse", 10.0, "ure", stamped=False),
                Sensor(
                    "osc_1",
                    "/pulse",
                    50.0,
                    offset_s=-3.2,
                    skew_ppm=87.0,
                    lag_s=0.18,
                    loss=0.01,
                    duplicates=20,
                    silent=silent,
                ),
                Sensor(
                    "osc_2",
                    "/pulse",
                    31.7,
                    offset_s=7.9,
                    skew_ppm=-140.0,
                    lag_s=0.42,
                    loss=0.01,
                    outliers=0.001,
                    silent=silent,
                ),
            ),
            facts_every_s=2.0,
        ),
        seed=1,
    )


def scraped(recording: SimulatedRecording, folder: Path) -> Scraped:
    """Run a recording through the flow; scrape its page and the others every 5 s."""
    path = folder / "hour.ndjson"
    recording.write(path)
    loaded, live = (
        load(_config(folder, name, STREAMS[name].format(path=path))) for name in STREAMS
    )
    now = START
    board = LiveState(live.config, clock=lambda: now, wall=lambda: now)
    page, found = MetricsPage(board), Scraped()
    for k in range(MISSED):
        found.scrape(("up", _JOBS["fusion"], 0.0), *_others(recording, k * EVERY_S))

    def publish(packet: Packet) -> tuple[()]:
        """Publish a packet, after all earlier scrapes."""
        nonlocal now
        while (
            due := START + found.count * EVERY_S - BEFORE_S
        ) < packet.watermark and not packet.end:
            now = due
            found.scrape(*_page(page), *_others(recording, found.count * EVERY_S))
        now = packet.watermark + MACHINE_S
        board.update([packet])
        return ()

    flow = Dataflow("healthy")
    received: KeyedStream[Any] = op.input("receive", flow, Replay(loaded.config))
    station = partial(step, fingerprint=loaded.fingerprint, keep=False)
    evidenced = stations(received, station, Settings.of(loaded.config, loaded.rules))
    op.output("nowhere", op.flat_map_value("publish", evidenced, publish), TestingSink([]))
    run_main(flow)
    return found


def _config(folder: Path, name: str, streams: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(CONFIG.format(streams=streams, folder=folder), "utf-8")
    return path


def _page(page: MetricsPage) -> Iterator[tuple[str, Labels, float]]:
    """Yield the samples of the flow; times count from the start of Prometheus."""
    yield "up", _JOBS["fusion"], 1.0
    for family in text_string_to_metric_families(page.text().decode()):
        for sample in family.samples:
            moment = re.search("_timestamp_seconds$", sample.name)
            value = sample.value - (START - BEFORE_S if moment else 0.0)
            yield sample.name, sample.labels | _JOBS["fusion"], value


def _others(recording: SimulatedRecording, at: float) -> Iterator[tuple[str, Labels, float]]:
    """Yield the samples of engine and node exporter, `at` s after the start of Prometheus."""
    rows = recording.rows
    there = rows.rx <= at - BEFORE_S
    yield "up", _JOBS["ure"], 1.0
    for k, (_, key) in enumerate(recording.names):
        mine = rows.value[there & (rows.name == k)]
        if key in FACTS and len(mine):
            yield key, _JOBS["ure"], float(mine[-1])
    beats, realm = int(at / BEAT_S), {heartbeat.REALM: "prod"}
    yield "up", _JOBS["node"], 1.0
    yield "node_textfile_scrape_error", _JOBS["node"], 0.0
    yield heartbeat.SEQ, _JOBS["node"] | realm, beats + 1.0
    yield heartbeat.TS, _JOBS["node"] | realm, beats * BEAT_S


def fired(seconds: float, silent: tuple[Span, ...] = ()) -> str:
    """Return the output of promtool on fired alerts, empty if none fired.

    Raises
    ------
    PeerError
        promtool is missing.
    """
    promtool = peer("promtool")
    with tempfile.TemporaryDirectory() as name:
        found, test = scraped(hour(seconds, silent), Path(name)), Path(name) / "healthy.yml"
        test.write_text(found.test(sorted(RULES.glob("*.yml"))), "utf-8")
        command = (promtool, "test", "rules", str(test))
        done = subprocess.run(command, capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


def main() -> int:
    """Run the hour; return 1 if an alert fires."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.bench.healthy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=3600.0, help="default %(default)s")
    parser.add_argument("--silent", type=float, nargs=2, metavar=("FROM", "TO"))
    args = parser.parse_args()
    try:
        found = fired(args.seconds, (tuple(args.silent),) if args.silent else ())
    except PeerError as error:
        print(f"lumen: {error}", file=sys.stderr)
        return 2
    print(f"{args.seconds:g} s: {found or 'nothing fired'}")
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())
