"""Bringing the dashboards to a Grafana: a small stand-in for its HTTP API, since there is none."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ops.fakes.ports import free_port
from ops.monitoring.grafana.load import main
from tests.dashboards.looked import DASHBOARDS

TOKEN = "glsa_right"


class Grafana(HTTPServer):
    """Takes dashboards; `answer` and `headers` in place of its own, where they are set."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Api)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.kept, self.asked, self.answer, self.headers = {}, 0, None, {}


class Api(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.asked += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.answer:
            return self.reply(*self.server.answer)
        if self.path != "/api/dashboards/db":
            return self.reply(404, {"message": "Not found"})
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self.reply(401, {"message": "Unauthorized"})
        made = body["dashboard"]
        if made["uid"] in self.server.kept and not body["overwrite"]:
            return self.reply(412, {"status": "name-exists"})
        self.server.kept[made["uid"]] = made
        return self.reply(200, {"uid": made["uid"], "url": f"/d/{made['uid']}/x", "version": 1})

    def reply(self, status, body):
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def grafana():
    with Grafana() as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield server
        server.shutdown()
        serving.join()


def brought(url, token=TOKEN):
    return main({"GRAFANA_URL": url, "GRAFANA_TOKEN": token})


def test_all_dashboards_are_uploaded_and_their_addresses_printed(grafana, capsys):
    assert brought(f"{grafana.url}/") == 0
    assert grafana.kept == {d["uid"]: {**d, "id": None} for d in DASHBOARDS}
    assert f"{grafana.url}/d/lumen-overview/x\n" in capsys.readouterr().out


def test_what_is_there_already_is_replaced(grafana):
    assert [brought(grafana.url), brought(grafana.url)] == [0, 0]
    assert grafana.asked == 2 * len(DASHBOARDS)


def refused(capsys, url, token=TOKEN):
    """Return the one line of a refusal, without where."""
    assert brought(url, token) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert token not in err
    return err.split(f"to {url}: ")[1].rstrip()


def test_a_wrong_token_is_reported(grafana, capsys):
    assert refused(capsys, grafana.url, "glsa_wrong") == "$GRAFANA_TOKEN is not valid there"


def test_a_wrong_path_is_reported(grafana, capsys):
    message = refused(capsys, f"{grafana.url}/grafana")
    assert message == "no Grafana answers there: does $GRAFANA_URL lack a path?"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((403, {}), "$GRAFANA_TOKEN may not write dashboards: it needs the role Editor"),
        ((412, {}), "the dashboard is provisioned there, and cannot be replaced from outside"),
        ((500, {}), "the answer is 500 Internal Server Error"),
        ((200, b"<html>"), "the server there is no Grafana"),
        ((200, []), "the server there is no Grafana"),
        ((200, b"\xff"), "the server there is no Grafana"),
    ],
)
def test_any_other_answer_is_one_line(grafana, capsys, answer, message):
    grafana.answer = answer
    assert refused(capsys, grafana.url) == message


def test_the_token_is_not_carried_elsewhere(grafana, capsys):
    grafana.answer, grafana.headers = (302, {}), {"Location": f"{grafana.url}/login"}
    assert refused(capsys, grafana.url) == "the answer is 302 Found"
    assert grafana.asked == 1


def test_nobody_there_is_one_line(capsys):
    url = f"http://127.0.0.1:{free_port()}"
    assert refused(capsys, url) == "[Errno 111] Connection refused"


def test_an_address_without_a_scheme_is_reported(capsys):
    assert brought("127.0.0.1:3000") == 2
    message = "lumen: $GRAFANA_URL has to begin with http:// or https://\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("url", ["http://[1", "http://a b", "https://127.0.0.1:1"])
def test_what_is_no_address_is_one_line(capsys, url):
    assert refused(capsys, url)


def test_what_is_missing_is_named_with_an_example(capsys):
    assert main({"GRAFANA_TOKEN": TOKEN}) == 2
    message = "lumen: $GRAFANA_URL is not set: for instance GRAFANA_URL=http://127.0.0.1:3000\n"
    assert capsys.readouterr().err == message
