"""`lumen serve`: a history without a flow, in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from ops.fakes.ports import free_port
from tests.support.stored import History
from tests.support.waiting import HUNG_S, until

ROOT = Path(__file__).parents[3]
TOKEN = "a-token-of-this-test-0123456789"


def get(url, token=TOKEN):
    asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(asked, timeout=HUNG_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def answers(url):
    with suppress(OSError):
        return get(url)[0] == 200
    return False


@pytest.fixture
def folder(tmp_path):
    history = History(tmp_path / "history.sqlite")
    history.add(0, 100)
    history.store.close()
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "run.yaml").write_text(
        "version: 2\n"
        'streams: [{name: o, type: osc, addr: "127.0.0.1:9"}]\n'
        'signals: {pulse: {members: {"o:/x": {}}}}\n'
        'store: {dsn: "sqlite:history.sqlite"}\n'
        "exporter: {token_file: token}\n"
    )
    return tmp_path


@pytest.fixture
def serve(folder):
    """Return what starts `lumen serve`; all are ended."""
    processes = []

    def _serve(*arguments):
        command = [sys.executable, "-m", "ops", "serve", *arguments]
        processes.append(
            subprocess.Popen(command, cwd=folder, env={"PYTHONPATH": str(ROOT)},
                             stderr=subprocess.PIPE, text=True)
        )  # fmt: skip
        return processes[-1]

    yield _serve
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_history_is_served_until_a_signal(serve, end):
    port = free_port()
    process = serve("run.yaml", "--port", str(port))
    url = f"http://127.0.0.1:{port}"
    until(lambda: answers(f"{url}/readyz") or process.poll() is not None)
    assert process.poll() is None
    status, body = get(f"{url}/v1/history/ticks?rig=r&limit=3")
    assert (status, [json.loads(line)["ts"] for line in body.splitlines()]) == (200, [0, 0.2, 0.4])
    assert get(f"{url}/v1/rigs", "wrong")[0] == 401
    assert get(f"{url}/metrics_fusion")[0] == get(f"{url}/state")[0] == 404
    process.send_signal(end)
    assert process.communicate(timeout=HUNG_S)[1] == f"lumen: history at {url}/v1/rigs\n"
    assert process.returncode == 0


def refused(serve, *arguments):
    process = serve(*arguments)
    error = process.communicate(timeout=HUNG_S)[1]
    assert process.returncode == 2
    assert error.count("\n") == 1
    return error


def test_what_cannot_be_served_is_refused_in_one_line(serve, folder):
    config = (folder / "run.yaml").read_text()
    (folder / "none.yaml").write_text(config.replace("store:", "#"))
    assert "none.yaml has no key store" in refused(serve, "none.yaml")
    assert "--port has to be" in refused(serve, "run.yaml", "--port", "70000")
    (folder / "token").chmod(0o644)
    assert "run.yaml:5:24: the token file token may be read by others" in refused(serve, "run.yaml")
    (folder / "token").chmod(0o600)
    port = free_port()
    first = serve("run.yaml", "--port", str(port))
    until(lambda: answers(f"http://127.0.0.1:{port}/healthz") or first.poll() is not None)
    assert f":{port} is taken" in refused(serve, "run.yaml", "--port", str(port))


def test_a_history_that_is_not_there_yet_is_served_when_it_is(serve, folder):
    (folder / "history.sqlite").rename(folder / "later.sqlite")
    port = free_port()
    process = serve("run.yaml", "--port", str(port))
    url = f"http://127.0.0.1:{port}"
    until(lambda: answers(f"{url}/healthz") or process.poll() is not None)
    assert get(f"{url}/v1/rigs")[0] == get(f"{url}/readyz")[0] == 503
    (folder / "later.sqlite").rename(folder / "history.sqlite")
    assert get(f"{url}/readyz")[0] == 200
    assert b'"rig":"r"' in get(f"{url}/v1/rigs")[1]
