"""How soon somebody is told that all sensors have stopped, and that they are back.

    python -m ops.bench.notified [--runs 20]

A real live run, its sensors played by another process, scraped by a Prometheus with the shipped
configuration and rules, which tells an Alertmanager with the shipped configuration; what that
posts to Slack comes to this process instead. Only addresses and paths are replaced. Whoever is
told of a sensor is told its name: first by the mode, then of each stream.
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
failover: {{stale_after_s: 1.0, rejoin_after_s: {rejoin}}}   # a busy machine may hold its breath
exporter: {{http_port: {fusion}}}
output: {{dir: "{folder}/out"}}
"""
_MAX_S = 180.0
_ASKED = {"FusionFailover", "FusionStreamLoss"}


class Episode(NamedTuple):
    """How long it took: from the stop to the first word of it, and until each sensor was named;
    from the return until all of that was resolved. And what else was told.
    """

    first: float
    named: float
    resolved: float
    also: tuple[str, ...]


class Stage:
    """A run that is watched, in a folder of its own.

    Parameters
    ----------
    folder : Path
    fast : bool
        For a look in passing: all that is done every 5 s is done every second, and a sensor that
        is back is taken in after a second.
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
            for name, port in (("fusion", 9310), ("ure", 9305), ("node", 9100),
                               ("alertmanager", 9093))
        }  # fmt: skip
        watching = Path(shutil.copytree(MONITORING, folder / "prometheus")) / "prometheus.yml"
        _replace(watching, {"  # - rules/heart": "  - rules/heart", "  # - job": "  - job",
                            "  #   static": "    static"})  # fmt: skip
        _replace(watching, addresses)
        if self._fast:
            _replace(watching, {"scrape_timeout: 4s": "scrape_timeout: 1s"})
            for path in (watching, watching.parent / "rules" / "fusion.yml"):
                _replace(path, {"interval: 5s": "interval: 1s"})
        telling = Path(shutil.copytree(ALERTING, folder / "alertmanager")) / "alertmanager.yml"
        secrets = {f"/etc/lumen/slack_{to}_url": to for to in ("pages", "tickets")}
        for to in secrets.values():
            (folder / to).write_text(f"{self.slack.url}/{to}\n")
        _replace(telling, {path: str(folder / to) for path, to in secrets.items()})

        enter(alertmanager(telling, ports["alertmanager"]))
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
        """Play streams in a process of its own until the end of the block."""
        spawn = multiprocessing.get_context("spawn")
        process = spawn.Process(target=_play, args=(self._live, streams, self._began), daemon=True)
        process.start()
        try:
            yield
        finally:
            process.kill()
            process.join()

    def back(self) -> float:
        """Start the sensors; return when (s since 1970): they speak about a second later."""
        now = time.time()
        self._sensors.enter_context(self._playing(*SENSORS))
        return now

    def stop(self) -> float:
        """End the sensors; return when (s since 1970)."""
        now = time.time()
        self._sensors.close()
        return now

    def fused(self) -> bool:
        """Whether the newest tick is."""
        state = json.loads(self._ask("fusion", "/state") or "{}")
        return bool(state) and state["rigs"]["studio"]["mode"] == "fused"

    def _ask(self, program: str, path: str) -> bytes | None:
        """Return a page of a program, None where there is none."""
        try:
            url = f"http://127.0.0.1:{self._ports[program]}{path}"
            with urllib.request.urlopen(url, timeout=5.0) as answer:
                page: bytes = answer.read()
                return page
        except OSError:
            return None

    def quiet(self) -> bool:
        """Whether there is nothing to be told of sensors that stopped, and all is taken back."""
        page = self._ask("prometheus", "/api/v1/alerts")
        if page is None:
            return False
        alerts = {alert["labels"]["alertname"] for alert in json.loads(page)["data"]["alerts"]}
        newest = {(t.alert, t.summary): t.status for t in self.slack.told if t.alert in _ASKED}
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
            raise ValueError(f"{path}: there is no {old} to be replaced")
        text = text.replace(old, new)
    path.write_text(text, "utf-8")


def episode(stage: Stage) -> Episode:
    """Stop the sensors until each of them is named, and let them come back.

    Raises
    ------
    TimeoutError
        Nobody is told within three minutes.
    """
    # Budgets of 30 days that are minutes old are used up soon: of them it may be spoken.
    wait_for("quiet", stage.quiet, _MAX_S)
    told, before = stage.slack.told, len(stage.slack.told)
    asked = ("FusionFailover ", *(f"FusionStreamLoss Stream {sensor} " for sensor in SENSORS))

    def first(status: str, since: float) -> list[float]:
        """Return how long after a moment each was first said to be so; infinity: not yet."""
        return [
            min((t.at - since for t in told[before:]
                 if t.at >= since and t.status == status and said in f"{t.alert} {t.summary}"),
                default=inf)
            for said in asked
        ]  # fmt: skip

    stopped = stage.stop()
    wait_for("told", lambda: max(first("firing", stopped)) < inf, _MAX_S)
    returned = stage.back()
    wait_for("resolved", lambda: max(first("resolved", returned)) < inf, _MAX_S)
    also = {t.alert for t in told[before:]} - _ASKED
    named, resolved = first("firing", stopped), max(first("resolved", returned))
    return Episode(min(named), max(named), resolved, tuple(sorted(also)))


def main() -> int:
    """Stop and return often, and say how long it took; 1 if it was ever longer than a minute."""
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
            begun = ", ".join(sorted({f"{t.alert}: {t.summary}" for t in stage.slack.told}))
            print(f"told in {args.healthy_s:g} s of a normal start: {begun or 'nothing'}")
            episodes = []
            for i in range(args.runs):
                time.sleep(random.Random(i).uniform(0.0, 5.0))  # no step with the scrapes
                episodes.append(episode(stage))
                print(i + 1, episodes[-1], file=sys.stderr, flush=True)
    print(_summary(episodes))
    return int(any(max(e.named, e.resolved) > 60.0 for e in episodes))


def _summary(episodes: list[Episode]) -> str:
    rows = [
        (said, *(f"{x:.1f}" for x in (min(column), sum(column) / len(column), max(column))),
         f"{sum(x <= 60.0 for x in column)} of {len(column)}",
         f"{sum(x <= 15.0 for x in column)} of {len(column)}")
        for said, column in (
            ("stop to the first word of it", [e.first for e in episodes]),
            ("stop to the last sensor's name", [e.named for e in episodes]),
            ("return to all resolved", [e.resolved for e in episodes]),
        )
    ]  # fmt: skip
    also = sorted({alert for e in episodes for alert in e.also})
    shown = table(("seconds from", "least", "mean", "most", "within 60", "within 15"), rows)
    return f"{shown}\ntold besides: {', '.join(also) or 'nothing'}"


if __name__ == "__main__":
    raise SystemExit(main())
