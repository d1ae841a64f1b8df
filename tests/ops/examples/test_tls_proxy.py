"""The shipped TLS proxy before an exporter with a token."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from configs.outputs import ExporterConfig
from ops.fakes.ports import free_port
from ops.monitoring.programs import peer
from sinks.exporter.server import Server
from sources.osc.udp import listener
from tests.support.programs import needs_peers
from tests.support.shown import Time, events, packet, ticks
from tests.support.waiting import HUNG_S, until

SHIPPED = Path(__file__).parents[3] / "ops" / "examples" / "tls_proxy.conf"
TOKEN = "a-token-of-this-test-0123456789"
pytestmark = [
    needs_peers("nginx"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here"),
]


@pytest.fixture
def port(tmp_path):
    """Return the port of an exporter with a token."""
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    board = Time().board()
    board.update([packet(ticks(0), ends=events("osc_1"))])
    number = free_port()
    config = ExporterConfig(http_port=number, token_file=str(tmp_path / "token"))
    server = Server(config, board, listener)
    server.start()
    yield number
    server.stop()


@pytest.fixture
def proxy(tmp_path, port):
    """Return the address of a proxy with the shipped configuration, and what trusts it."""
    folder = tmp_path / "proxy"
    folder.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    secure, text = free_port(), SHIPPED.read_text()
    text, listens = re.subn(r"listen 9443 ssl;", f"listen 127.0.0.1:{secure} ssl;", text)
    text, passes = re.subn(r"http://127\.0\.0\.1:9310;", f"http://127.0.0.1:{port};", text)
    assert listens == passes == 1
    # Limits of a person's use, not of this test.
    (folder / "nginx.conf").write_text(text.replace("rate=20r/s", "rate=2r/m").replace(
        "burst=40", "burst=6"))  # fmt: skip
    process = subprocess.Popen(
        [peer("nginx"), "-p", folder, "-c", folder / "nginx.conf"], stderr=subprocess.PIPE
    )
    context = ssl.create_default_context(cafile=str(folder / "cert.pem"))

    until(lambda: _listens(secure) or process.poll() is not None)
    assert process.poll() is None, process.stderr.read()
    yield f"https://localhost:{secure}", context
    process.terminate()
    process.communicate(timeout=HUNG_S)


def _listens(port):
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def get(url, context, method="GET", **headers):
    request = urllib.request.Request(url, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=HUNG_S, context=context) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_the_proxy_passes_the_token_and_nothing_but_reads(proxy):
    url, context = proxy
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    status, body = get(f"{url}/metrics_fusion", context, **bearer)
    assert status == 200
    assert b"fusion_mode" in body
    assert get(f"{url}/state", context)[0] == 401
    assert get(f"{url}/healthz", context) == (200, b"ok\n")
    assert get(f"{url}/state", context, "POST", **bearer)[0] == 403
    assert get(f"{url}/state", context, "HEAD", **bearer) == (200, b"")
    answers = [get(f"{url}/healthz", context)[0] for _ in range(4)]
    assert answers[-1] == 429, "the rate of one client is limited here"
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        get(f"{url}/healthz", ssl.create_default_context())
