"""Time until a notification that all sensors have stopped, and until that of their return.

    python -m ops.bench.notified [--runs 20]

A real live run with sensors of another process is scraped by a Prometheus with the shipped
configuration and rules. Prometheus notifies an Alertmanager with the shipped configuration, whose
posts to Slack reach this process instead. Only addresses and paths are replaced. The first
notification is on the mode; further ones name each stream.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from math import inf
from pathlib import Path
from typing import NamedTuple

import msgspec

from configs.load import load
from ops.fakes.monitoring import (
    ROOT,
    Slack,
    alertmanager,
    node_exporter,
    prometheus,
    running,
    wait_for,
)
from ops.fakes.ports import free_port
from ops.monitoring.programs import PeerError
from ops.simulate.live import play
from ops.text.table import table

MONITORING, ALERTING = (
    ROOT / "ops" / "monitoring" / "prometheus",
    ROOT / "ops" / "monitoring" / "alertmanager",
)
SENSORS = ("osc_1", "osc_2")
DEVICES_LOG = "devices.log"
LIVE = """version: 2
rig: studio
streams:
  - {{name: ure, type: ure, metrics_url: "http://127.0.0.1:{ure}/metrics_ure",
     pull_interval_s: 0.5, timeout_s: 0.5}}
  - {{name: osc_1, type: osc, addr: "127.0.0.1:{osc_1}", keys: [/pulse]}}
  - {{name: osc_2, type: osc, addr: "127.0.0.1:{osc_2}", keys: [/pulse]}}
signals:
  pulse:
    reference: "osc_1:/pulse"
    members:
      "ure:ure_pulse": {{group: ure, lag_s: 0.0}}
      "osc_1:/pulse":  {{group: sensors, lag_s: 0.05}}
      "osc_2:/pulse":  {{group: sensors, lag_s: 0.1}}
facts: ["ure:ure_phase_diff_mean", "ure:ure_harmony_index", "ure:ure_coherence_level",
        "ure:ure_residual_entropy_last"]
failover: {{stale_after_s: 1.0, rejoin_after_s: {rejoin}}}   # a busy machine may pause
exporter: {{http_port: {fusion}}}
output: {{dir: "{folder}/out"}}
"""
_MAX_S = 180.0
_ASKED = {"FusionFailover", "FusionStreamLoss"}


class Episode(NamedTuple):
    """Times (s) from the stop to the first notification and to the last sensor's name, and from
    the return until all alerts were resolved; other alerts.
    """

    first: float
    named: float
    resolved: float
    also: tuple[str, ...]


class Stage:
    """A monitored run in a folder of its own.

    Parameters
    ----------
    folder : Path
    fast : bool
        For a quick test: intervals of 5 s become 1 s, and a returned sensor rejoins after 1 s.
    """

    def __init__(self, folder: Path, *, fast: bool = False) -> None:
        self.slack = Slack()
        self._folder, self._fast, self._began = folder, fast, time.time()
        self._stack, self._sensors = ExitStack(), ExitStack()
        names = ("fusion", "ure", *SENSORS, "node", "prometheus", "alertmanager")
        self._ports = {name: free_port() for name in names}

    def __enter__(self) -> Stage:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *args: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        folder, ports, enter = self._folder, self._ports, self._stack.enter_context
        enter(self.slack)
        textfile = folder / "textfile"
        textfile.mkdir()
        live = folder / "live.yaml"
        live.write_text(LIVE.format(folder=folder, rejoin=1 if self._fast else 10, **ports))
        self._live = live
        addresses = {
            f"127.0.0.1:{port}": f"127.0.0.1:{ports[name]}"
            for name, port in (
                ("fusion", 9310),
                ("ure", 9305),
                ("node", 9100),
                ("alertmanager", 9093),
            )
        }
        watching = Path(shutil.copytree(MONITORING, folder / "prometheus")) / "prometheus.yml"
        _replace(
            watching,
            {
                "  # - rules/heart": "  - rules/heart",
                "  # - job": "  - job",
                "  #   static": "    static",
            },
        )
        _replace(watching, addresses)
        if self._fast:
            _replace(watching, {"scrape_timeout: 4s": "scrape_timeout: 1s"})
            for path in (watching, watching.parent / "rules" / "fusion.yml"):
                _replace(path, {"interval: 5s": "interval: 1s"})
        alerting = Path(shutil.copytree(ALERTING, folder / "alertmanager")) / "alertmanager.yml"
        secrets = {f"/etc/lumen/slack_{to}_url": to for to in ("pages", "tickets")}
        for to in secrets.values():
            (folder / to).write_text(f"{self.slack.url}/{to}\n")
        _replace(alerting, {path: str(folder / to) for path, to in secrets.items()})

        enter(alertmanager(alerting, ports["alertmanager"]))
        enter(node_exporter(textfile, ports["node"]))
        enter(prometheus(watching, ports["prometheus"]))
        beat = (sys.executable, "-m", "ops.monitoring.heartbeat", f"--dir={textfile}", "--every=10")
        enter(running(beat, folder / "heartbeat.log", lambda: any(textfile.glob("*.prom"))))
        enter(self._playing("ure"))
        enter(self._sensors)
        self.back()
        run = (sys.executable, "-m", "ops", "run", str(live))
        enter(running(run, folder / "run.log", lambda: self._ask("fusion", "/readyz") is not None))
        try:
            wait_for("the first fused tick", self.fused, _MAX_S)
        except TimeoutError as error:
            for log in ("run.log", DEVICES_LOG):
                error.add_note((folder / log).read_text("utf-8", "replace"))
            raise

    @contextmanager
    def _playing(self, *streams: str) -> Iterator[None]:
        """Play streams in a separate process until the end of the block."""
        spawn = multiprocessing.get_context("spawn")
        process = spawn.Process(target=_play, args=(self._live, streams, self._began), daemon=True)
        process.start()
        try:
            yield
        finally:
            process.kill()
            process.join()

    def back(self) -> float:
        """Start the sensors; return the time (s since 1970). They send about a second later."""
        now = time.time()
        self._sensors.enter_context(self._playing(*SENSORS))
        return now

    def stop(self) -> float:
        """End the sensors; return the time (s since 1970)."""
        now = time.time()
        self._sensors.close()
        return now

    def fused(self) -> bool:
        """Whether the newest tick is fused."""
        state = json.loads(self._ask("fusion", "/state") or "{}")
        return bool(state) and state["rigs"]["studio"]["mode"] == "fused"

    def _ask(self, program: str, path: str) -> bytes | None:
        """Return a page of a program, None without an answer."""
        try:
            url = f"http://127.0.0.1:{self._ports[program]}{path}"
            with urllib.request.urlopen(url, timeout=5.0) as answer:
                page: bytes = answer.read()
                return page
        except OSError:
            return None

    def quiet(self) -> bool:
        """Whether no sensor alert fires, and all notifications are resolved."""
        page = self._ask("prometheus", "/api/v1/alerts")
        if page is None:
            return False
        alerts = {alert["labels"]["alertname"] for alert in json.loads(page)["data"]["alerts"]}
        newest = {(t.alert, t.summary): t.status for t in self.slack.messages if t.alert in _ASKED}
        return _ASKED.isdisjoint(alerts) and "firing" not in newest.values()


def _play(config: Path, streams: tuple[str, ...], began: float) -> None:
    """Play some streams of a configuration, until killed."""
    whole = load(config).config
    ours = [stream for stream in whole.streams if stream.name in streams]
    with (
        (config.parent / DEVICES_LOG).open("a", buffering=1, encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        play(msgspec.structs.replace(whole, streams=ours), began=began)


def _replace(path: Path, by: Mapping[str, str]) -> None:
    text = path.read_text("utf-8")
    for old, new in by.items():
        if old not in text:
            raise ValueError(f"{path}: {old} is missing")
        text = text.replace(old, new)
    path.write_text(text, "utf-8")


def episode(stage: Stage) -> Episode:
    """Stop the sensors until each is named, then start them again.

    Raises
    ------
    TimeoutError
        There is no notification within three minutes.
    """
    # Error budgets of a run of minutes are used up soon, so their alerts are permitted.
    wait_for("quiet", stage.quiet, _MAX_S)
    messages, before = stage.slack.messages, len(stage.slack.messages)
    asked = ("FusionFailover ", *(f"FusionStreamLoss Stream {sensor} " for sensor in SENSORS))

    def first(status: str, since: float) -> list[float]:
        """Return the time from `since` to the first message of each alert; infinity without one."""
        return [
            min(
                (
                    t.at - since
                    for t in messages[before:]
                    if t.at >= since and t.status == status and name in f"{t.alert} {t.summary}"
                ),
                default=inf,
            )
            for name in asked
        ]

    stopped = stage.stop()
    wait_for("notified", lambda: max(first("firing", stopped)) < inf, _MAX_S)
    returned = stage.back()
    wait_for("resolved", lambda: max(first("resolved", returned)) < inf, _MAX_S)
    also = {t.alert for t in messages[before:]} - _ASKED
    named, resolved = first("firing", stopped), max(first("resolved", returned))
    return Episode(min(named), max(named), resolved, tuple(sorted(also)))


def main() -> int:
    """Run the episodes and print their times; return 1 if one was longer than a minute."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.notified", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="default %(default)s")
    parser.add_argument("--healthy-s", type=float, default=60.0, help="before; default %(default)s")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            stage = Stage(Path(folder))
        except PeerError as error:
            print(f"lumen: {error}", file=sys.stderr)
            return 2
        with stage:
            time.sleep(args.healthy_s)
            begun = ", ".join(sorted({f"{t.alert}: {t.summary}" for t in stage.slack.messages}))
            print(f"notified in {args.healthy_s:g} s of a normal start: {begun or 'nothing'}")
            episodes = []
            for i in range(args.runs):
                time.sleep(random.Random(i).uniform(0.0, 5.0))  # a random phase to the scrapes
                episodes.append(episode(stage))
                print(i + 1, episodes[-1], file=sys.stderr, flush=True)
    print(_summary(episodes))
    return int(any(max(e.named, e.resolved) > 60.0 for e in episodes))


def _summary(episodes: list[Episode]) -> str:
    rows = [
        (
            name,
            *(f"{x:.1f}" for x in (min(column), sum(column) / len(column), max(column))),
            f"{sum(x <= 60.0 for x in column)} of {len(column)}",
            f"{sum(x <= 15.0 for x in column)} of {len(column)}",
        )
        for name, column in (
            ("stop to the first notification", [e.first for e in episodes]),
            ("stop to the last sensor's name", [e.named for e in episodes]),
            ("return to all resolved", [e.resolved for e in episodes]),
        )
    ]
    also = sorted({alert for e in episodes for alert in e.also})
    shown = table(("seconds from", "least", "mean", "most", "within 60", "within 15"), rows)
    return f"{shown}\nalso notified: {', '.join(also) or 'nothing'}"


if __name__ == "__main__":
    raise SystemExit(main())
