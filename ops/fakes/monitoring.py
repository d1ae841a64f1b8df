"""Prometheus and what belongs to it, on this machine alone, for as long as they are looked at."""

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
    """Whether a page is there."""
    try:
        with urllib.request.urlopen(url, timeout=2.0):
            return True
    except OSError:
        return False


def wait_for(what: str, true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until it is true.

    Raises
    ------
    TimeoutError
        It is not in time; `what` says what was waited for.
    """
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)


@contextmanager
def running(
    command: Sequence[str], log: Path, ready: Callable[[], bool], cwd: Path = ROOT
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the end of the block.

    Raises
    ------
    RuntimeError
        It ends before it is ready; the end of its log says why.
    """
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=cwd)

    def there() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]}: {log.read_text(errors='replace')[-2000:]}")
        return ready()

    try:
        wait_for(command[0], there)
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
    """Run a Prometheus; what it keeps lies beside its configuration."""
    command = (
        peer("prometheus"), f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}",
        f"--storage.tsdb.path={config.parent / 'tsdb'}", *flags,
    )  # fmt: skip
    ready = f"http://127.0.0.1:{port}/-/ready"
    with running(command, config.parent / "prometheus.log", lambda: answers(ready)) as process:
        yield process


@contextmanager
def alertmanager(config: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run an Alertmanager; what it keeps lies beside its configuration."""
    command = (
        peer("prometheus-alertmanager"), f"--config.file={config}",
        f"--storage.path={config.parent / 'alerts'}", f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    )  # fmt: skip
    ready, log = f"http://127.0.0.1:{port}/-/ready", config.parent / "alertmanager.log"
    # One that was fetched finds its templates from there alone.
    with running(
        command, log, lambda: answers(ready), cwd=_FETCHED if _FETCHED.exists() else ROOT
    ) as process:
        yield process


@contextmanager
def node_exporter(textfile: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a node exporter that shows a folder, and itself."""
    command = (
        peer("prometheus-node-exporter"), "--collector.disable-defaults", "--collector.textfile",
        f"--collector.textfile.directory={textfile}", f"--web.listen-address=127.0.0.1:{port}",
    )  # fmt: skip
    page = f"http://127.0.0.1:{port}/metrics"
    with running(command, textfile.parent / "node.log", lambda: answers(page)) as process:
        yield process


class AlertMessage(NamedTuple):
    """An alert in a message: when it came (s since 1970), to whom, and what it said."""

    at: float
    to: str
    status: str
    alert: str
    summary: str


class Slack:
    """Hears what is posted to webhooks of its own.

    Attributes
    ----------
    told : list of Told
        In the order in which it came.
    """

    def __init__(self) -> None:
        told = self.told = list[AlertMessage]()

        class _HookHandler(BaseHTTPRequestHandler):
            """Takes a message apart."""

            def do_POST(self) -> None:
                """Take it, and say so."""
                now = time.time()
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for attachment in message["attachments"]:
                    for found in _LINE.findall(attachment["text"]):
                        told.append(AlertMessage(now, self.path.strip("/"), *found))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _HookHandler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Slack:
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()
