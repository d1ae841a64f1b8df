"""A whole run between two topics of mosquitto: bad payloads in, an exact account, states out."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.json_lines import json_lines
from tests.support.mosquitto import MOSQUITTO, Broker, Ends, Listener, publisher
from tests.support.programs import needs
from tests.support.waiting import HUNG_S, until

ROOT = Path(__file__).parents[2]
pytestmark = needs(MOSQUITTO)
BAD = (b"on fire", b"NaN", b'{"value": NaN}', b"{", b"true", b'{"value": null}', bytes(1 << 20))
REASONS = {"json": 4, "value": 2, "too_long": 1}


@pytest.fixture
def begun() -> Iterator[Ends]:
    """What a test has to end."""
    ends: Ends = []
    yield ends
    for end in reversed(ends):
        end()


def test_each_message_has_its_end_in_the_account_and_the_result_is_published(
    tmp_path: Path, begun: Ends
) -> None:
    broker = Broker(tmp_path)
    broker.start()
    begun.append(broker.stop)
    sender, seen = publisher(begun, broker), Listener(begun, broker, "lumen/#")
    yesterday = json.dumps({"value": 99, "ts": time.time() - 86_400})
    for topic in ("stage/a", "stage/old"):
        sender.publish(topic, yesterday, qos=1, retain=True).wait_for_publish(HUNG_S)
    out, config = tmp_path / "out", tmp_path / "c.yaml"
    config.write_text(
        "version: 2\nrig: stage+1\n"
        f'streams: [{{name: m, type: mqtt, broker: "{broker.url}", topics: ["stage/#"], qos: 1}}]\n'
        'signals: {level: {members: {"m:stage/a": {}, "m:stage/b": {}}}}\n'
        f'send: [{{name: house, type: mqtt, broker: "{broker.url}", rate_hz: 20}}]\n'
        f"output: {{dir: {out}}}\n"
    )
    run = subprocess.Popen([sys.executable, "-m", "ops", "run", str(config)], cwd=ROOT)
    begun.append(run.wait)
    begun.append(run.terminate)

    def subscribed() -> bool:
        sender.publish("stage/probe", '"here"', qos=1).wait_for_publish(HUNG_S)
        return bool(json_lines(out / "markers.jsonl"))

    until(subscribed, process=run, every_s=0.1)
    good = twice = 0
    while not seen.payloads("lumen/stage%2B1/state"):
        good += 1
        event = json.dumps({"value": good % 50, "ts": time.time(), "seq": good})
        for topic in ("stage/a", "stage/b"):
            sender.publish(topic, event, qos=1)
            if good % 4 == 0:
                twice += 1
                sender.publish(topic, event, qos=1)
        time.sleep(0.01)
        assert good < HUNG_S / 0.01
    for payload in BAD:
        sender.publish("stage/a", payload, qos=1).wait_for_publish(HUNG_S)
    wanted = 2 * good + twice + len(BAD)
    until(lambda: _rejected(out) == REASONS, process=run)
    run.terminate()
    assert run.wait(HUNG_S) == 0
    until(lambda: seen.payloads("lumen/status") == [b"online", b"offline"])
    probes = len(json_lines(out / "markers.jsonl"))
    account = json.loads((out / "run.json").read_text())
    assert account["balanced"]
    (found,) = (x for name, x in account["account"]["by_source"].items() if name == "m")
    assert found["received"] == wanted + probes + 2
    assert (found["duplicate"], found["rejected"], found["ignored"]) == (twice, len(BAD), 2)
    state = json.loads(seen.payloads("lumen/stage%2B1/state")[-1])
    assert state["rig"] == "stage+1"
    assert state["ts"] in {line["ts"] for line in json_lines(out / "fused.jsonl")}


def _rejected(out: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for line in json_lines(out / "dead.jsonl"):
        if line["reason"] in REASONS:
            found[line["reason"]] += line["count"]
    return found
