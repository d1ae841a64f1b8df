"""A real exporter, not written by us, as a URE."""

from __future__ import annotations

import subprocess
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from configs.inputs import UreStream
from ops.fakes.monitoring import answers
from ops.fakes.ports import free_port
from ops.monitoring.programs import peer
from sources.inbox import Inbox, Message, StreamChange, Unread
from sources.ure import UreScraper
from sources.ure.exposition import PageDecoder
from sources.ure.http_get import Deadline, HttpEndpoint
from tests.support.programs import needs_peers
from tests.support.waiting import until

NAME = "prometheus-node-exporter"
pytestmark = needs_peers(NAME)


@pytest.fixture(scope="module")
def url():
    port = free_port()
    process = subprocess.Popen(
        [peer(NAME), f"--web.listen-address=127.0.0.1:{port}", "--web.telemetry-path=/metrics_ure"],
        stderr=subprocess.DEVNULL,
    )
    try:
        page = f"http://127.0.0.1:{port}/metrics_ure"
        until(lambda: answers(page), process=process)
        yield page
    finally:
        process.terminate()
        process.wait()


def test_its_page_is_read_as_the_reference_parser_reads_it(url):
    answer = HttpEndpoint(url).get(Deadline(10.0, lambda: False))
    received = PageDecoder().decode(answer.page, 1.0, url)
    reference = [
        sample.value
        for family in text_string_to_metric_families(answer.page.decode())
        for sample in family.samples
    ]

    assert len(received) > 100
    assert sorted(x.value for x in received if isinstance(x, Message)) == sorted(reference)


def test_wanted_series_are_received_pull_after_pull(url):
    inbox = Inbox("ure")
    keys = ["node_load1", "node_cpu_seconds_total{*", "go_info*"]
    stream = UreScraper(
        UreStream(name="ure", metrics_url=url, pull_interval_s=0.5, timeout_s=0.5, keys=keys)
    )
    stream.start(inbox)
    time.sleep(2.2)
    stream.stop()
    items = inbox.take()

    received = [x for x in items if isinstance(x, Message)]
    pulls = {x.rx for x in received if x.key == "node_load1"}
    assert len(pulls) >= 3
    assert 'node_cpu_seconds_total{cpu="0",mode="idle"}' in {x.key for x in received}
    assert {x.reason for x in items if isinstance(x, Unread)} == {"filtered"}
    assert [x.up for x in items if isinstance(x, StreamChange)] == [True]
