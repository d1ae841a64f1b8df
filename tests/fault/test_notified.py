"""Delivery of alerts and its delay: real Prometheus and Alertmanager, a fake Slack."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.bench.healthy import fired
from ops.bench.notified import ALERTING, Stage, episode
from ops.fakes.monitoring import AlertMessage, Slack, alertmanager, wait_for
from ops.fakes.ports import free_port
from ops.monitoring.programs import peer
from tests.support.programs import needs_peers

CONFIG = ALERTING / "alertmanager.yml"


pytestmark = needs_peers(
    "amtool", "promtool", "prometheus-alertmanager", "prometheus", "prometheus-node-exporter"
)


def amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([peer("amtool"), *arguments], capture_output=True, text=True)


def test_amtool_finds_no_fault() -> None:
    done = amtool("check-config", str(CONFIG))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["alertname=FusionDown", "severity=critical", "family=stream"], "pages"),
        (["alertname=FusionStreamLoss", "severity=warning", "family=stream"], "tickets"),
        (["alertname=WhoKnows"], "tickets"),
    ],
)
def test_what_is_critical_wakes_somebody_and_all_else_can_wait(
    labels: list[str], receiver: str
) -> None:
    done = amtool("config", "routes", "test", f"--config.file={CONFIG}", *labels)
    assert (done.returncode, done.stdout.strip()) == (0, receiver)


class Post:
    """An Alertmanager with the shipped configuration, into which a test puts alerts."""

    def __init__(self, slack: Slack, port: int) -> None:
        self.slack, self._url = slack, f"http://127.0.0.1:{port}/api/v2/alerts"

    def put(self, *alerts: dict[str, str]) -> None:
        body = [{"labels": labels, "annotations": {"summary": "here"}} for labels in alerts]
        urllib.request.urlopen(
            urllib.request.Request(
                self._url, json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
        ).close()

    def alerts_until(self, awaited: str) -> list[AlertMessage]:
        """Return all alerts received until one second after the awaited one."""
        wait_for(awaited, lambda: any(t.alert == awaited for t in self.slack.messages))
        time.sleep(1.0)
        return self.slack.messages


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    config, text = tmp_path / "alertmanager.yml", CONFIG.read_text()
    with Slack() as slack:
        for to in ("pages", "tickets"):
            (tmp_path / to).write_text(f"{slack.url}/{to}")
            text = text.replace(f"/etc/lumen/slack_{to}_url", str(tmp_path / to))
        config.write_text(text)
        port = free_port()
        with alertmanager(config, port):
            yield Post(slack, port)


def alert(name: str, severity: str, **more: str) -> dict[str, str]:
    return {"alertname": name, "severity": severity, **more}


def test_of_one_family_and_rig_the_worst_is_sent_and_strangers_are_received(post: Post) -> None:
    post.put(alert("Bad", "critical", family="phase", rig="a"), alert("Lone", "critical"))
    time.sleep(0.5)
    post.put(
        alert("Less", "warning", family="phase", rig="a"),
        alert("OtherRig", "warning", family="phase", rig="b"),
        alert("OtherFamily", "warning", family="sync", rig="a"),
        alert("NoFamily", "warning"),
    )
    post.alerts_until("OtherRig")
    received = {(t.to, t.alert) for t in post.alerts_until("NoFamily")}
    assert received == {
        ("pages", "Bad"), ("pages", "Lone"), ("tickets", "OtherRig"),
        ("tickets", "OtherFamily"), ("tickets", "NoFamily"),
    }  # fmt: skip


def test_of_a_process_that_is_gone_nothing_else_is_reported(post: Post) -> None:
    here = {"job": "fusion", "instance": "here"}
    post.put(alert("FusionDown", "critical", family="stream", **here))
    time.sleep(0.5)
    post.put(
        alert("FusionStreamLoss", "warning", family="stream", rig="a", **here),
        alert("FusionFailover", "critical", family="mode", rig="a", **here),
        alert("UreFrozen", "warning", family="ure", job="ure", instance="here"),
        alert("Elsewhere", "warning", family="stream", job="fusion", instance="there"),
    )
    post.alerts_until("UreFrozen")
    assert {t.alert for t in post.alerts_until("Elsewhere")} == {
        "FusionDown",
        "UreFrozen",
        "Elsewhere",
    }


def test_from_the_start_on_the_rules_report_each_event_and_nothing_else() -> None:
    output = fired(120.0, silent=((60.0, 85.0),))
    assert set(re.findall(r'alertname="(\w+)"', output)) == {"FusionFailover", "FusionStreamLoss"}


@pytest.mark.timeout(900)
def test_whoever_stops_is_named_within_a_minute_and_whoever_is_back_likewise(
    tmp_path: Path,
) -> None:
    with Stage(tmp_path, fast=True) as stage:
        found = episode(stage)
    assert 0 < found.first <= found.named <= 60
    assert 0 < found.resolved <= 60
