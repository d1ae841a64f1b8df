"""Cost of an hour of the live page in the browser.

`python -m ops.bench.page [--minutes N] [--csv FILE]`: two phones and an engine, played by this
machine, are fused at 100 ticks a second; real headless Chromium shows the page. Each minute, after
forced garbage collection, the JavaScript heap, DOM nodes, event listeners and the newest tick are
recorded. Growth is the slope of a line through the samples after the first eleven minutes, in which
the bounded histories fill.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ops.fakes.browser import browser, until
from ops.fakes.ports import free_port
from ops.text.table import table

FILLS_MIN = 11.0
CONFIG = """version: 2
rig: stage
streams:
  - {{name: phone_1, type: osc, addr: "127.0.0.1:{0}", keys: [/accxyz]}}
  - {{name: phone_2, type: osc, addr: "127.0.0.1:{1}", keys: [/accxyz]}}
  - {{name: ure, type: ure, metrics_url: "http://127.0.0.1:{2}/metrics_ure", pull_interval_s: 1}}
channels:
  "phone_?:/accxyz": {{reduce: norm, range: [0, 4]}}
  "ure:ure_pulse": {{range: [0, 4]}}
signals:
  motion:
    reference: "phone_1:/accxyz"
    members:
      "phone_1:/accxyz": {{group: sensors}}
      "phone_2:/accxyz": {{group: sensors}}
      "ure:ure_pulse": {{group: ure, lag_s: 0.0}}
resample: {{target_hz: 100, profile: low_latency}}
align: {{max_lag_s: 0.5, wait_lag_s: 0.02, window_s: 20, hop_s: 2}}
quality: {{signal: motion, window_s: 30}}
failover: {{fallback: sensors_only, rejoin_after_s: 1.0}}
exporter: {{http_port: {3}}}
output: {{dir: {4}, rotate_mb: 16, keep: 1}}
"""


class PageSample(NamedTuple):
    """One minute: heap (bytes) after garbage collection, DOM nodes, listeners and newest tick."""

    minute: float
    heap: float
    nodes: float
    listeners: float
    ts: float


def watch(
    address: str, minutes: float, report: Any = print
) -> tuple[list[PageSample], list[str], float]:
    """Return one sample a minute, the page's errors, and the time of its first picture (ms)."""
    samples: list[PageSample] = []
    errors: list[str] = []
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: errors.append(str(e)))
        page.goto(address)
        until(page, "performance.getEntriesByName('drawn').length", seconds=60)
        drawn = float(page.evaluate("performance.getEntriesByName('drawn')[0].startTime"))
        devtools = page.context.new_cdp_session(page)
        devtools.send("Performance.enable")
        began = time.monotonic()
        while True:
            devtools.send("HeapProfiler.collectGarbage")
            metrics = {
                m["name"]: m["value"] for m in devtools.send("Performance.getMetrics")["metrics"]
            }
            minute = (time.monotonic() - began) / 60
            samples.append(
                PageSample(
                    minute,
                    metrics["JSHeapUsedSize"],
                    metrics["Nodes"],
                    metrics["JSEventListeners"],
                    newest(address),
                )
            )
            report(",".join(f"{x:.2f}" for x in samples[-1]))
            if minute >= minutes:
                return samples, errors, drawn
            page.wait_for_timeout(1e3 * max(0.0, began + 60 * len(samples) - time.monotonic()))


def newest(address: str) -> float:
    """Return the time of the newest tick (s), NaN without one."""
    with urllib.request.urlopen(f"{address}state", timeout=10) as answer:
        shown = json.load(answer)["rigs"]["stage"]["ts"]
    return float("nan") if shown is None else float(shown)


def growth(samples: Sequence[PageSample], column: str) -> tuple[float, float]:
    """Return a column's slope a minute and its sd, after the histories are full."""
    settled = [s for s in samples if s.minute >= FILLS_MIN]
    if len(settled) < 4:
        return float("nan"), float("nan")
    x = np.array([s.minute for s in settled])
    y = np.array([getattr(s, column) for s in settled])
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    rest = y - y.mean() - slope * x
    return slope, float(np.sqrt(rest @ rest / (len(x) - 2) / (x @ x)))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the flow, its devices and the browser; print the figures."""
    parser = argparse.ArgumentParser(prog="ops.bench.page")
    parser.add_argument("--minutes", type=float, default=60.0, help="default %(default)s")
    args = parser.parse_args(argv)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = [free_port() for _ in range(4)]
        config = folder / "stage.yaml"
        config.write_text(CONFIG.format(*ports, folder / "out"))
        for arguments in (["simulate", "--live"], ["run"]):
            command = [sys.executable, "-m", "ops", *arguments, str(config)]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        address = f"http://127.0.0.1:{ports[3]}/"
        wait_for(address)
        print("minute,heap,nodes,listeners,ts", flush=True)
        samples, errors, drawn = watch(address, args.minutes, lambda line: print(line, flush=True))
    seconds = samples[-1].ts - samples[0].ts
    rows = []
    for column, unit in (("heap", 1024.0), ("nodes", 1.0), ("listeners", 1.0)):
        first, last = getattr(samples[0], column) / unit, getattr(samples[-1], column) / unit
        slope, sd = growth(samples, column)
        rows.append(
            (
                column + (" KiB" if unit > 1 else ""),
                f"{first:.0f}",
                f"{last:.0f}",
                f"{slope / unit:.3f} ±{sd / unit:.3f}",
            )
        )
    print(table(("", "first", "last", "a minute"), rows))
    print(
        f"{seconds * 100:.0f} ticks in {samples[-1].minute:.1f} minutes; first picture after"
        f" {drawn:.0f} ms; {len(errors)} console errors"
    )
    for error in errors[:10]:
        print(error, file=sys.stderr)


def wait_for(address: str) -> None:
    """Wait for the first tick."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if np.isfinite(newest(address)):
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise SystemExit("ops.bench.page: no tick of the flow within a minute")


if __name__ == "__main__":
    main()
