"""The metrics of a shadow: the one file with the names of `fusion_shadow_*`, and their page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ops.shadow.candidate import ShadowError
from ops.shadow.comparer import Comparer
from sinks.exporter.metrics import CONTENT_TYPE
from sinks.exporter.metrics_text import Metric, MetricsText, RigSamples

TICKS = "fusion_shadow_ticks_total"
SHARE = "fusion_shadow_share"
UNREADABLE = "fusion_shadow_unreadable_total"
PATH = "/metrics_shadow"
HOST, PORT = "127.0.0.1", 9311


def page(comparer: Comparer) -> bytes:
    """Return the page of metrics."""
    ticks = [
        RigSamples(TICKS, ("verdict",), rig, [((v,), n) for v, n in counts.items()])
        for rig, counts in comparer.counts.copy().items()
    ]
    text = MetricsText().text([Metric(TICKS, "counter", "Compared ticks by verdict.", ticks)])
    for name, kind, about, value in (
        (SHARE, "gauge", "Share of the rigs that are compared.", comparer.share),
        (UNREADABLE, "counter", "Lines that are no ticks.", comparer.unreadable),
    ):
        text += f"# HELP {name} {about}\n# TYPE {name} {kind}\n{name} {value:g}\n".encode()
    return text


@contextmanager
def served(comparer: Comparer, host: str = HOST, port: int = PORT) -> Iterator[int]:
    """Serve the page until the end of the block; yield the port.

    Raises
    ------
    ShadowError
        The address is not of this machine, or the port is taken.
    """

    class _PageHandler(BaseHTTPRequestHandler):
        """Answers with the page."""

        timeout = 10.0

        def do_GET(self) -> None:
            """Answer a scrape."""
            found = self.path.partition("?")[0] == PATH
            body = page(comparer) if found else b""
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Log nothing."""

    try:
        server = ThreadingHTTPServer((host, port), _PageHandler)
    except OSError as error:
        raise ShadowError(
            f"{host}:{port}: {error.strerror}; choose another --host or --port"
        ) from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
