import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.request import urlopen

import pytest

from ops.fakes.monitoring import alertmanager
from ops.fakes.ports import free_port
from ops.monitoring.alertmanager.announce import AnnounceError, alert, announce, main
from tests.support.programs import needs_peers

CONFIG = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"


class Taken(BaseHTTPRequestHandler):
    """An Alertmanager that takes lists only, as the real one does."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.taken.append((self.path, body))
        code = 200 if isinstance(body, list) and not self.server.refuses else 400
        self.send_response(code)
        self.end_headers()
        self.wfile.write(b"" if code == 200 else b'"bad\nlabel"')

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with HTTPServer(("127.0.0.1", 0), Taken) as server:
        server.taken, server.refuses = [], False
        server.url = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server
        server.shutdown()
        serving.join()


def test_a_list_of_one_alert_is_brought(server):
    announce(f"{server.url}/", "critical")
    ((path, (sent,)),) = server.taken
    assert path == "/api/v2/alerts"
    assert sent["labels"] == {"alertname": "AlertTest", "family": "test", "severity": "critical"}
    begins, ends = (datetime.fromisoformat(sent[at]) for at in ("startsAt", "endsAt"))
    assert (ends - begins).total_seconds() == 60


def test_a_refused_alert_is_reported_in_one_line(server):
    server.refuses = True
    with pytest.raises(AnnounceError, match=r'answers 400: "bad label"$'):
        announce(server.url, "warning")


def test_a_missing_alertmanager_is_reported_in_one_line(monkeypatch, capsys):
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setattr("sys.argv", ["announce", "--url", url])
    assert main() == 1
    assert capsys.readouterr().err == (
        f"lumen: no Alertmanager answers at {url}: [Errno 111] Connection refused\n"
    )


@needs_peers("prometheus-alertmanager")
def test_a_real_alertmanager_takes_it(tmp_path):
    (tmp_path / "alertmanager.yml").write_text(CONFIG)
    port = free_port()
    with alertmanager(tmp_path / "alertmanager.yml", port):
        announce(f"http://127.0.0.1:{port}", "warning")
        with urlopen(f"http://127.0.0.1:{port}/api/v2/alerts") as answer:
            (seen,) = json.load(answer)
    assert seen["labels"] == alert("warning", datetime.now(UTC))["labels"]
