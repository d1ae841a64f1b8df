"""The shipped live example must fire no shipped alert, beside a real Prometheus.

    python -m ops.bench.quiet [--seconds 600] [--config configs/live.yaml]

`lumen run` runs the configuration and `lumen simulate --live` plays its devices; a Prometheus with
the shipped configuration and rules scrapes both. Only addresses and folders are replaced. Printed
are the alerts that were pending or firing, and for how long, the machine's load, and the answer of
`lumen watch --once --judge` at the end. Exit code 1: an alert fired, or a threshold is not met.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec

from ops.bench.moved import PAGE, moved
from ops.fakes.monitoring import ROOT, answers, prometheus, running
from ops.fakes.ports import free_port
from ops.monitoring.programs import PeerError
from ops.text.table import table

RULES = ROOT / "ops" / "monitoring" / "prometheus"
_EVERY_S = 5.0
_TAIL = 3_000


class Fired(NamedTuple):
    """An alert: name, labels, state (`pending` or `firing`), and duration of the state (s)."""

    name: str
    labels: str
    state: str
    seconds: float


def watching(folder: Path, ports: dict[int, int]) -> Path:
    """Copy the shipped Prometheus configuration and rules; return the path of the copy."""
    copy = Path(shutil.copytree(RULES, folder / "prometheus")) / "prometheus.yml"
    text = copy.read_text("utf-8")
    for old, new in ports.items():
        text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
    copy.write_text(text, "utf-8")
    return copy


class AlertSeries(msgspec.Struct):
    """A series of an answer, and its newest sample."""

    metric: dict[str, str]
    value: tuple[float, str]


class Result(msgspec.Struct):
    """The series of an answer."""

    result: list[AlertSeries]


class Answer(msgspec.Struct):
    """Answer of Prometheus to a query."""

    data: Result


def asked(port: int, query: str) -> list[AlertSeries]:
    """Return the series of a query."""
    path = urllib.parse.urlencode({"query": query})
    url = f"http://127.0.0.1:{port}/api/v1/query?{path}"
    with urllib.request.urlopen(url, timeout=10.0) as answer:
        return msgspec.json.decode(answer.read(), type=Answer).data.result


def alerts(port: int, seconds: float) -> list[Fired]:
    """Return the alerts of the last `seconds`."""
    found = []
    for series in asked(port, f"count_over_time(ALERTS[{int(seconds) + 1}s])"):
        labels = {**series.metric}
        name, state = labels.pop("alertname"), labels.pop("alertstate")
        text = ", ".join(f"{k}={v}" for k, v in sorted(labels.items()))
        found.append(Fired(name, text, state, float(series.value[1]) * _EVERY_S))
    return sorted(found, key=lambda each: (each.state, each.name, each.labels))


def watch(folder: Path, config: Path, seconds: float) -> tuple[list[Fired], bool]:
    """Run a configuration with its devices beside a Prometheus; return its alerts, and whether
    the smoke test passed.
    """
    path, ports = moved(folder, config.stem, config.read_text("utf-8"), ROOT)
    page = ports[PAGE]
    lumen = (sys.executable, "-m", "ops")
    with ExitStack() as stack:
        enter = stack.enter_context
        prometheus_port = free_port()
        enter(
            running(
                (*lumen, "simulate", "--live", str(path)),
                folder / "devices.log",
                lambda: (folder / "devices.log").stat().st_size > 0,
            )
        )
        ready = f"http://127.0.0.1:{page}/healthz"
        enter(running((*lumen, "run", str(path)), folder / "run.log", lambda: answers(ready)))
        enter(prometheus(watching(folder, ports), prometheus_port))
        began = time.monotonic()
        while (left := began + seconds - time.monotonic()) > 0:
            time.sleep(min(left, 60.0))
            now = [a for a in alerts(prometheus_port, seconds) if a.state == "firing"]
            print(
                f"{time.monotonic() - began:5.0f} s, load {os.getloadavg()[0]:.1f}:"
                f" {len(now)} fired",
                file=sys.stderr,
            )
        found = alerts(prometheus_port, seconds)
        smoke = subprocess.run(
            (*lumen, "watch", "--once", "--judge", f"http://127.0.0.1:{page}"),
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        print(smoke.stdout + smoke.stderr)
    print((folder / "run.log").read_text("utf-8", "replace")[-_TAIL:], file=sys.stderr)
    return found, smoke.returncode == 0


def main() -> int:
    """Watch, and print the alerts; return 1 if one fired or the smoke test failed."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.bench.quiet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="default %(default)s")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "live.yaml")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            found, good = watch(Path(folder), args.config, args.seconds)
        except PeerError as error:
            print(f"lumen: {error}", file=sys.stderr)
            return 2
    fired = [each for each in found if each.state == "firing"]
    if found:
        rows = [(a.name, a.labels, a.state, f"{a.seconds:.0f}") for a in found]
        print(table(("alert", "labels", "state", "seconds"), rows))
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"{args.config.name}, {args.seconds:g} s at load {load}: {len(fired)} alerts fired")
    return int(bool(fired) or not good)


if __name__ == "__main__":
    raise SystemExit(main())
