"""MQTT out against mosquitto: retained states, findings in order, brokers away, stuck, refusing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.connectors.mqtt import MqttDestination, MqttStream, is_topic
from configs.inputs import BasicAuth
from configs.schema import Config
from operators.lines import EvidenceRecord
from operators.records import Fused, FusedSignal, Packet
from sinks.files.encode import fused_lines
from sinks.send.mqtt_outbox import MAX_FINDINGS, MqttOutbox, Outgoing
from sinks.send.mqtt_output import MqttSender
from sinks.send.mqtt_topics import level
from sinks.send.packet_send import packet_senders
from sources.inbox import Inbox, Message
from sources.mqtt.mqtt import MqttReceiver
from tests.support.mosquitto import MOSQUITTO, Broker, Ends, Listener
from tests.support.programs import PEERS, environment, needs
from tests.support.waiting import HUNG_S, until

real = needs(MOSQUITTO)
CONFIG = msgspec.convert(
    {
        "version": 2,
        "streams": [{"name": "a", "type": "osc", "addr": "127.0.0.1:9000"}],
        "signals": {"pulse": {"members": {"a:/x": {}}}},
    },
    Config,
)


def fused(*value: float, first: int = 0, signals: int = 1) -> Fused:
    """Ticks at 5 Hz from tick `first` on."""
    k = len(value)
    ts, whole = (first + np.arange(k)) / 5, np.zeros(k, np.int64)
    columns = (np.array(value), ts, ts, whole, whole, np.ones((k, 1)))
    names = ["pulse", *(f"s{n}" for n in range(signals - 1))]
    made = tuple(FusedSignal(name, ("a:/x",), *columns) for name in names)
    five = np.tile([0.1, 0.2, 0.3, 0.9, 0.25], (k, 1))
    return Fused(ts, ts, whole, whole + 1, made, five, five, five, np.empty((k, 0)), (), ts, ts)


def finding(n: int, rig: str = "stage") -> EvidenceRecord:
    return EvidenceRecord(
        ts=float(n), rig=rig, rule="r", kind="risk", state="firing", severity=None, risk=None,
        action=None, quote=None, facts={}, since=float(n),
    )  # fmt: skip


def packet(ticks: Fused | None = None, *findings: EvidenceRecord, rig: str = "stage") -> Packet:
    return Packet(rig, 0.0, False, np.empty(0), fused=ticks, evidence=findings)


@pytest.fixture
def begun() -> Iterator[Ends]:
    """What a test has to end."""
    ends: Ends = []
    yield ends
    for end in reversed(ends):
        end()


@pytest.fixture
def broker(tmp_path: Path, begun: Ends) -> Broker:
    broker = Broker(tmp_path)
    broker.start()
    begun.append(broker.stop)
    return broker


def sending(begun: Ends, broker: Broker, **more) -> MqttSender:
    config = MqttDestination(name="house", broker=broker.url, **{"rate_hz": 100.0, **more})
    sender = MqttSender(config, CONFIG.plan())
    sender.start()
    begun.append(sender.stop)
    return sender


@real
def test_a_state_is_retained_with_its_time_and_a_finding_is_not(
    broker: Broker, begun: Ends
) -> None:
    early = Listener(begun, broker)
    sender = sending(begun, broker)
    ticks = fused(1.0, 2.5, first=7)
    sender.take(packet(ticks, finding(3)))
    until(lambda: len(early.messages) >= 3)
    assert json.loads(early.payloads("lumen/stage/evidence")[0])["since"] == 3.0
    late = Listener(begun, broker)
    until(lambda: len(late.messages) >= 2)
    assert {x.topic: bool(x.retain) for x in late.messages} == {
        "lumen/status": True, "lumen/stage/state": True
    }  # fmt: skip
    assert late.payloads("lumen/status") == [b"online"]
    state = late.payloads("lumen/stage/state")[0]
    assert state + b"\n" == fused_lines(ticks, "stage").splitlines(keepends=True)[1]
    shown = json.loads(state)
    assert (shown["ts"], shown["mode"]) == (1.6, "fused")
    assert (shown["signals"]["pulse"]["value"], shown["signals"]["pulse"]["sd"]) == (2.5, 1.6)


@real
def test_an_end_sends_what_waits_and_then_that_it_is_offline(broker: Broker, begun: Ends) -> None:
    seen = Listener(begun, broker)
    sender = sending(begun, broker, rate_hz=0.001)
    until(lambda: seen.payloads("lumen/status"))
    sender.take(packet(fused(1.0)))
    until(lambda: seen.payloads("lumen/stage/state"))
    sender.take(packet(fused(9.0), *map(finding, range(10))))
    sender.stop()
    sender.stop()
    until(lambda: seen.payloads("lumen/status") == [b"online", b"offline"])
    assert seen.messages[-1].topic == "lumen/status"
    assert json.loads(seen.payloads("lumen/stage/state")[-1])["signals"]["pulse"]["value"] == 9.0
    since = [json.loads(x)["since"] for x in seen.payloads("lumen/stage/evidence")]
    assert since == list(map(float, range(10)))
    assert sender.missed == 0


KILLED = """
import sys, time
from tests.sinks.send import test_mqtt_out as t
config = t.MqttDestination(name="house", broker=sys.argv[1], rate_hz=100.0)
sender = t.MqttSender(config, t.CONFIG.plan())
sender.start()
sender.take(t.packet(t.fused(1.0)))
time.sleep(600)
"""


@real
def test_a_killed_run_is_offline_by_its_last_will(broker: Broker, begun: Ends) -> None:
    seen = Listener(begun, broker)
    run = subprocess.Popen([sys.executable, "-c", KILLED, broker.url])
    begun.append(run.wait)
    begun.append(run.kill)
    until(lambda: seen.payloads("lumen/stage/state"), process=run)
    run.kill()
    until(lambda: seen.payloads("lumen/status") == [b"online", b"offline"])


@real
def test_a_broker_that_comes_late_gets_the_newest_states_and_the_last_findings(
    tmp_path: Path, begun: Ends, capfd: pytest.CaptureFixture[str]
) -> None:
    broker = Broker(tmp_path)
    sender = sending(begun, broker)
    more = 100
    for n in range(MAX_FINDINGS + more):
        sender.take(packet(fused(float(n)), finding(n)))
    shown: list[str] = []
    until(lambda: shown.append(capfd.readouterr().err) or "refused" in "".join(shown))
    assert sender.missed == more
    # The listener is there before: a fresh broker keeps states alone.
    broker.start()
    begun.append(broker.stop)
    seen = Listener(begun, broker)
    until(lambda: seen.payloads("lumen/stage/state"))
    until(lambda: sender._outbox.waiting() == 0)
    sender.take(packet(None, finding(-1)))
    until(lambda: json.loads((seen.payloads("lumen/stage/evidence") or [b'{"since": 0}'])[-1])
          ["since"] == -1.0)  # fmt: skip
    since = [json.loads(x)["since"] for x in seen.payloads("lumen/stage/evidence")][:-1]
    assert since == [float(n) for n in range(MAX_FINDINGS + more - len(since), MAX_FINDINGS + more)]
    (state,) = set(seen.payloads("lumen/stage/state"))
    assert json.loads(state)["signals"]["pulse"]["value"] == MAX_FINDINGS + more - 1


@real
def test_a_broker_that_has_lost_its_states_gets_them_again(broker: Broker, begun: Ends) -> None:
    sender = sending(begun, broker)
    for rig in ("one", "two"):
        sender.take(packet(fused(1.0), rig=rig))
    seen = Listener(begun, broker)
    until(lambda: {f"lumen/{rig}/state" for rig in ("one", "two")} <= _topics(seen))
    broker.stop()
    broker.start()
    again = Listener(begun, broker)
    until(lambda: {"lumen/one/state", "lumen/two/state", "lumen/status"} <= _topics(again))
    assert again.payloads("lumen/status")[-1] == b"online"


def _topics(seen: Listener) -> set[str]:
    return {message.topic for message in seen.messages}


@real
@pytest.mark.parametrize("qos", [0, 1])
def test_a_stuck_broker_holds_nothing_up_and_gets_the_newest_afterwards(
    broker: Broker, begun: Ends, qos: int
) -> None:
    seen = Listener(begun, broker)
    sender = sending(begun, broker, qos=qos)
    until(lambda: seen.payloads("lumen/status"))
    broker.freeze(True)
    ticks = fused(1.0, signals=200)
    for n in range(2_000):  # 400 rigs of 40 kB: more than the connection holds
        sender.take(packet(ticks, finding(n), rig=f"rig {n % 400}"))
    sender.take(packet(fused(7.0), rig="last"))
    until(lambda: sender._fresh)  # there is no room
    assert sender._outbox.waiting() + sender.missed > 0
    broker.freeze(False)
    until(lambda: seen.payloads("lumen/last/state"))
    if qos:
        until(lambda: len(seen.payloads("lumen/stage/evidence")) == 2_000)
    assert sender.missed == 0


@real
def test_states_are_sent_no_faster_than_configured(broker: Broker, begun: Ends) -> None:
    seen = Listener(begun, broker)
    sender = sending(begun, broker, rate_hz=5.0)
    until(lambda: seen.payloads("lumen/status"))
    began, n = time.monotonic(), 0
    while len(seen.payloads("lumen/stage/state")) < 4:
        n += 1
        sender.take(packet(fused(float(n))))
        time.sleep(0.002)
        assert n < HUNG_S / 0.002
    assert len(seen.payloads("lumen/stage/state")) <= (time.monotonic() - began) * 5 + 2


@real
def test_expressions_are_numbers_on_topics_of_their_own(broker: Broker, begun: Ends) -> None:
    seen = Listener(begun, broker)
    sender = sending(begun, broker, map={"level/twice": "2 * pulse", "mean": "mean(pulse, 1s)"})
    until(lambda: seen.payloads("lumen/status"))
    sender.take(packet(fused(1.0, 2.0, 6.0)))
    sender.take(packet(fused(float("nan"), first=3), rig="unknown"))
    until(lambda: seen.payloads("lumen/unknown/state"))
    assert seen.payloads("lumen/stage/level/twice") == [b"12.0"]
    assert seen.payloads("lumen/stage/mean") == [b"3.0"]
    assert not seen.payloads("lumen/unknown/level/twice")
    late = Listener(begun, broker)
    until(lambda: "lumen/unknown/state" in _topics(late))
    assert "lumen/stage/mean" not in _topics(late)


RIGS = ("a/b", "a", "+", "#", "%2F", "%", "\0", "", "\x1b[2J", "\ufffe", "무대", "$SYS", " ", "a b")


@real
def test_each_rig_has_topics_of_its_own_whatever_its_name(broker: Broker, begun: Ends) -> None:
    seen = Listener(begun, broker)
    sender = sending(begun, broker)
    for n, rig in enumerate(RIGS):
        sender.take(packet(fused(float(n)), rig=rig))
    until(lambda: len({t for t in _topics(seen) if t.endswith("/state")}) == len(RIGS))
    found = {x.topic: json.loads(x.payload) for x in seen.messages if x.topic.endswith("/state")}
    assert {x["rig"] for x in found.values()} == set(RIGS)
    assert found["lumen/무대/state"]["rig"] == "무대"
    assert found["lumen/a%2Fb/state"]["rig"] == "a/b"


@given(st.lists(st.text(max_size=20), unique=True, max_size=20))
def test_names_become_levels_of_a_topic_one_to_one(names: list[str]) -> None:
    levels = [level(name) for name in names]
    assert len(set(levels)) == len(names)
    assert all(is_topic(f"lumen/{each}/state") and "/" not in each for each in levels)


@real
def test_a_wrong_password_is_named_and_not_shown(
    tmp_path: Path, begun: Ends, capfd: pytest.CaptureFixture[str]
) -> None:
    passwords, own = tmp_path / "passwords", tmp_path / "own"
    passwords.touch(mode=0o600)
    subprocess.run(
        [PEERS / "usr/bin/mosquitto_passwd", "-b", passwords, "lumen", "right"],
        env=environment(tmp_path), check=True, capture_output=True,
    )  # fmt: skip
    broker = Broker(tmp_path, "allow_anonymous false", f"password_file {passwords}")
    broker.start()
    begun.append(broker.stop)
    own.write_text("wrong\n")
    sender = sending(begun, broker, basic_auth=BasicAuth(username="lumen", password_file=str(own)))
    shown: list[str] = []
    until(lambda: shown.append(capfd.readouterr().err) or "Not authorized" in "".join(shown))
    assert "wrong" not in "".join(shown)
    assert f"lumen: house is silent: {broker.url}: the broker refuses" in "".join(shown)
    own.write_text("right\n")
    sender.take(packet(fused(1.0)))
    until(lambda: shown.append(capfd.readouterr().err) or "publishes" in "".join(shown))


@real
def test_a_topic_that_the_broker_does_not_allow_is_counted_and_the_rest_is_sent(
    tmp_path: Path, begun: Ends, capfd: pytest.CaptureFixture[str]
) -> None:
    rights = tmp_path / "rights"
    rights.write_text("topic readwrite lumen/+/state\ntopic readwrite lumen/status\ntopic read #\n")
    rights.chmod(0o600)
    broker = Broker(tmp_path, "allow_anonymous true", f"acl_file {rights}")
    broker.start()
    begun.append(broker.stop)
    seen = Listener(begun, broker)
    sender = sending(begun, broker)
    sender.take(packet(fused(1.0), finding(1), finding(2)))
    until(lambda: seen.payloads("lumen/stage/state"))
    until(lambda: sender.missed == 2)
    text = capfd.readouterr().err
    assert text.count("lumen/stage/evidence is not taken: Not authorized") == 1


@real
def test_a_message_beyond_the_brokers_bound_is_left_out_and_the_rest_is_sent(
    tmp_path: Path, begun: Ends, capfd: pytest.CaptureFixture[str]
) -> None:
    broker = Broker(tmp_path, "allow_anonymous true", "max_packet_size 2000")
    broker.start()
    begun.append(broker.stop)
    seen = Listener(begun, broker)
    sender = sending(begun, broker)
    sender.take(packet(fused(1.0, signals=100), rig="large"))
    sender.take(packet(fused(1.0), rig="small"))
    until(lambda: seen.payloads("lumen/small/state"))
    shown: list[str] = []
    until(lambda: shown.append(capfd.readouterr().err) or "more than 2000" in "".join(shown))
    assert seen.payloads("lumen/status") == [b"online"]


@real
def test_an_mqtt_stream_reads_a_fused_value_with_its_time(broker: Broker, begun: Ends) -> None:
    config = MqttStream(
        name="m", broker=broker.url, topics=["lumen/+/state"], value="/signals/pulse/value"
    )
    receiver, inbox = MqttReceiver(config, lambda key: False), Inbox("m")
    receiver.start(inbox)
    begun.append(receiver.stop)
    until(lambda: inbox.up)
    sending(begun, broker).take(packet(fused(4.5, first=10)))
    found: list[Message] = []
    until(lambda: found.extend(x for x in inbox.take() if isinstance(x, Message)) or found)
    assert (found[0].key, found[0].value, found[0].ts) == ("lumen/stage/state", 4.5, 2.0)


def test_findings_that_were_under_way_come_first_on_the_next_connection() -> None:
    outbox = MqttOutbox("p")
    for n in range(4):
        outbox.put_finding(finding(n))
    state = Outgoing("p/stage/state", b"{}", retain=True)
    under_way = [outbox.next_finding(), state, outbox.next_finding()]
    outbox.put_back([x for x in under_way if x is not None])
    found = [outbox.next_finding() for _ in range(4)]
    assert [json.loads(x.payload)["since"] for x in found if x] == [0.0, 1.0, 2.0, 3.0]
    assert outbox.next_finding() is None


def test_a_replay_at_speed_0_publishes_nothing() -> None:
    house = MqttDestination(name="house", broker="mqtt://127.0.0.1:9")
    live = msgspec.structs.replace(CONFIG, send=[house])
    assert packet_senders(live, float) is not None
    files = [{"name": "a", "type": "file", "path": "x.ndjson"}]
    replay = msgspec.convert({**msgspec.to_builtins(live), "streams": files}, Config)
    assert packet_senders(replay, float) is None
