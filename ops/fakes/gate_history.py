"""A real Prometheus with a history in which every gate is GO, and a page to change.

The records of the error budgets have the samples of a month, but one each half second: a real month
is 360 blocks on the disk. What is covered is counted in samples.

The shipped rules run as they are, but for intervals and holds of a second, so that a trigger
shows at once. The page is scraped each second; what is changed on it is seen from then on.
"""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from configs.thresholds import OBJECTIVES
from ops.fakes.monitoring import prometheus
from ops.fakes.ports import free_port
from ops.gate.gates import SAMPLE_S
from ops.monitoring.programs import peer
from ops.monitoring.prometheus.generate import FOLDER
from ops.shadow.comparer import VERDICTS

RIG = 'rig="studio"'
BEFORE_S = 1_000.0
"""Length of the history of the page (s)."""
BUDGET_D = 30
STEP_S, BUDGET_STEP_S = 15.0, 0.5
TICKS_HZ = 5.0


def names() -> dict[str, float]:
    """Return each series of the page with its value, or its rate (1/s) for a counter."""
    found = {
        'duri_heartbeat_ok{metric_realm="prod"}': 1.0,
        f"fusion_lyapunov_v{{{RIG}}}": 0.1,
        "fusion_store_up{}": 1.0,
        "fusion_store_lag_seconds{}": 2.0,
        "fusion_drill_p95_seconds{}": 45.0,
        "fusion_drill_sound{}": 1.0,
        "fusion_drills_recent{}": 24.0,
        f"fusion_last_tick_timestamp_seconds{{{RIG}}}": 1.0,
    }
    for verdict in VERDICTS:
        series = f'fusion_shadow_ticks_total{{{RIG},verdict="{verdict}"}}'
        found[series] = TICKS_HZ if verdict == "identical" else 0.0
    for slo in OBJECTIVES:
        found[f'fusion_slo_ticks_total{{{RIG},slo="{slo}"}}'] = TICKS_HZ
        found[f'fusion_slo_bad_ticks_total{{{RIG},slo="{slo}"}}'] = 0.0
    return found


class ChangedPage:
    """The page: its series go on from their history.

    Attributes
    ----------
    values : dict
        Gauges; counters are kept in `counts`.
    counts : dict
        Counters. An entry may be raised.
    """

    def __init__(self, end: float) -> None:
        every = names()
        self._rates = {s: rate for s, rate in every.items() if "_total{" in s}
        self.values = {s: value for s, value in every.items() if s not in self._rates}
        self.counts = {s: rate * BEFORE_S for s, rate in self._rates.items()}
        self._end = end
        self.port = free_port()

    def text(self) -> str:
        """Return the page now."""
        since = max(time.time() - self._end, 0.0)
        counts = {s: n + self._rates[s] * since for s, n in self.counts.items()}
        return "".join(f"{s} {value:.3f}\n" for s, value in (self.values | counts).items())

    def history(self) -> Iterator[str]:
        """Yield the lines of the history up to the end, in the form of OpenMetrics."""
        place = f'job="fusion",instance="127.0.0.1:{self.port}"'
        for series, given in names().items():
            name, _, labels = series.removesuffix("}").partition("{")
            labels = f"{{{place}{',' if labels else ''}{labels}}}"
            for k in range(int(BEFORE_S / STEP_S) + 1):
                at = self._end - BEFORE_S + k * STEP_S
                value = given * (k * STEP_S) if series in self._rates else given
                yield f"{name}{labels} {value:.3f} {at:.3f}"
                if name == "fusion_lyapunov_v":
                    yield f"fusion:lyapunov_v_mean_5m{labels} {value:.3f} {at:.3f}"
        for k in range(BUDGET_D * 86_400 // SAMPLE_S, 0, -1):
            at = self._end - k * BUDGET_STEP_S
            for slo in OBJECTIVES:
                labels = f'{{{RIG},slo="{slo}"}}'
                yield f"slo:ticks:increase5m{labels} {TICKS_HZ * SAMPLE_S} {at:.3f}"
                yield f"slo:bad_ticks:increase5m{labels} 0 {at:.3f}"
        yield "# EOF"

    @contextmanager
    def served(self) -> Iterator[None]:
        """Serve the page until the end of the block."""
        page = self

        class _ScrapeHandler(BaseHTTPRequestHandler):
            """Answers a scrape."""

            def do_GET(self) -> None:
                """Answer with the page."""
                body = page.text().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Log nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", self.port), _ScrapeHandler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()


def rules(folder: Path) -> None:
    """Write the shipped rules with intervals and holds of a second."""
    folder.mkdir()
    for path in FOLDER.iterdir():
        text = re.sub(r"interval: \w+", "interval: 1s", path.read_text("utf-8"))
        (folder / path.name).write_text(re.sub(r"for: \w+", "for: 1s", text), "utf-8")


@contextmanager
def watched_month(folder: Path) -> Iterator[tuple[str, ChangedPage]]:
    """Run a Prometheus with the history; yield its address and the page.

    Raises
    ------
    PeerError
        prometheus or promtool is missing.
    """
    page = ChangedPage(time.time() - 2.0)
    (folder / "history").write_text("\n".join(page.history()) + "\n", "utf-8")
    subprocess.run(
        [peer("promtool"), "tsdb", "create-blocks-from", "openmetrics",
         folder / "history", folder / "tsdb"],
        check=True, capture_output=True,
    )  # fmt: skip
    rules(folder / "rules")
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
        "rule_files: [rules/*.yml]\n"
        "scrape_configs:\n"
        "  - job_name: fusion\n"
        f'    static_configs: [{{targets: ["127.0.0.1:{page.port}"]}}]\n',
        "utf-8",
    )
    port = free_port()
    flags = ("--storage.tsdb.retention.time=60d",)
    with page.served(), prometheus(folder / "prometheus.yml", port, flags):
        yield f"http://127.0.0.1:{port}", page
