"""Prometheus, Alertmanager, node exporter and a webhook receiver on loopback, for tests."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from ops.monitoring.programs import peer

ROOT = Path(__file__).resolve().parents[2]
_FETCHED = ROOT / ".peers"
_LINE = re.compile(r"^\*(firing|resolved) (\w+)\* (.*)$", re.MULTILINE)


def answers(url: str) -> bool:
    """Whether a page answers."""
    try:
        with urllib.request.urlopen(url, timeout=2.0):
            return True
    except OSError:
        return False


def wait_for(name: str, holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until a condition holds.

    Raises
    ------
    TimeoutError
        The condition does not hold in time; the message begins with `name`.
    """
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"{name}: not within {seconds:g} s")
        time.sleep(0.05)


@contextmanager
def running(
    command: Sequence[str], log: Path, ready: Callable[[], bool], cwd: Path = ROOT
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the end of the block.

    Raises
    ------
    RuntimeError
        The program ended before it was ready; the message is the end of its log.
    """
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=cwd)

    def started() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]}: {log.read_text(errors='replace')[-2000:]}")
        return ready()

    try:
        wait_for(command[0], started)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def prometheus(
    config: Path, port: int, flags: Sequence[str] = ("--web.enable-lifecycle",)
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Prometheus; its data lie beside its configuration."""
    command = (
        peer("prometheus"),
        f"--config.file={config}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--storage.tsdb.path={config.parent / 'tsdb'}",
        *flags,
    )
    ready = f"http://127.0.0.1:{port}/-/ready"
    with running(command, config.parent / "prometheus.log", lambda: answers(ready)) as process:
        yield process


@contextmanager
def alertmanager(config: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run an Alertmanager; its data lie beside its configuration."""
    command = (
        peer("prometheus-alertmanager"),
        f"--config.file={config}",
        f"--storage.path={config.parent / 'alerts'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    )
    ready, log = f"http://127.0.0.1:{port}/-/ready", config.parent / "alertmanager.log"
    # A fetched Alertmanager finds its templates only from its own folder.
    with running(
        command, log, lambda: answers(ready), cwd=_FETCHED if _FETCHED.exists() else ROOT
    ) as process:
        yield process


@contextmanager
def node_exporter(textfile: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a node exporter that exports a textfile folder."""
    command = (
        peer("prometheus-node-exporter"),
        "--collector.disable-defaults",
        "--collector.textfile",
        f"--collector.textfile.directory={textfile}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    page = f"http://127.0.0.1:{port}/metrics"
    with running(command, textfile.parent / "node.log", lambda: answers(page)) as process:
        yield process


class AlertMessage(NamedTuple):
    """An alert in a message: arrival (s since 1970), receiver, status, name and summary."""

    at: float
    to: str
    status: str
    alert: str
    summary: str


class Slack:
    """Receiver of webhooks in Slack's format.

    Attributes
    ----------
    messages : list of AlertMessage
        In order of arrival.
    """

    def __init__(self) -> None:
        messages = self.messages = list[AlertMessage]()

        class _HookHandler(BaseHTTPRequestHandler):
            """Parses posted messages."""

            def do_POST(self) -> None:
                """Record the alerts of a message, and confirm it."""
                now = time.time()
                post = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for attachment in post["attachments"]:
                    for found in _LINE.findall(attachment["text"]):
                        messages.append(AlertMessage(now, self.path.strip("/"), *found))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *args: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _HookHandler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Slack:
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()
