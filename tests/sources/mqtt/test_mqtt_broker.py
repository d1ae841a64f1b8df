"""The MQTT receiver against mosquitto: refused, restarted, flooded; retained and repeated."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from configs.connectors.mqtt import MqttStream
from configs.inputs import BasicAuth
from sources.inbox import Inbox, Message, StreamChange, Unread
from sources.mqtt.mqtt import MqttReceiver
from tests.support.mosquitto import MOSQUITTO, Broker, publisher
from tests.support.programs import PEERS, environment, needs
from tests.support.waiting import until

pytestmark = needs(MOSQUITTO)


@pytest.fixture
def begun() -> Iterator[list[Callable[[], object]]]:
    """What a test has to end."""
    ends: list[Callable[[], object]] = []
    yield ends
    for end in reversed(ends):
        end()


@pytest.fixture
def broker(tmp_path: Path, begun: list) -> Broker:
    broker = Broker(tmp_path)
    broker.start()
    begun.append(broker.stop)
    return broker


def receiving(
    begun: list, broker: Broker, held: bool = False, **more
) -> tuple[MqttReceiver, Inbox]:
    config = MqttStream(name="m", broker=broker.url, topics=["stage/#"], **more)
    receiver, inbox = MqttReceiver(config, lambda key: held), Inbox("m")
    receiver.start(inbox)
    begun.append(receiver.stop)
    return receiver, inbox


def events(items: list) -> list[Message]:
    return [item for item in items if isinstance(item, Message)]


def test_messages_arrive_once_and_in_order(broker: Broker, begun: list) -> None:
    _, inbox = receiving(begun, broker)
    until(lambda: inbox.up)
    sender = publisher(begun, broker)
    for i in range(500):
        sender.publish("stage/level", str(i), qos=0)
    sender.publish("elsewhere", "1")
    taken: list = []
    until(lambda: taken.extend(events(inbox.take())) or len(taken) >= 500)
    assert [message.value for message in taken] == list(map(float, range(500)))
    assert {message.key for message in taken} == {"stage/level"}


def test_a_retained_message_is_ignored_for_sampled_and_taken_for_held(
    broker: Broker, begun: list
) -> None:
    sender = publisher(begun, broker)
    sender.publish("stage/level", '{"value": 3, "ts": 5}', qos=1, retain=True).wait_for_publish(60)
    _, sampled = receiving(begun, broker)
    _, held = receiving(begun, broker, held=True)
    got: list = []
    until(lambda: got.extend(x for x in sampled.take() if isinstance(x, Unread)) or got)
    assert [(x.reason, x.where) for x in got] == [("retained", "stage/level")]
    values: list = []
    until(lambda: values.extend(events(held.take())) or values)
    assert values[0].value == 3.0
    assert values[0].ts != values[0].ts
    sender.publish("stage/level", "4", qos=1, retain=True)
    fresh: list = []
    until(lambda: fresh.extend(events(sampled.take())) or fresh)
    assert fresh[0].value == 4.0


def test_a_broker_that_restarts_is_down_and_up_again(broker: Broker, begun: list) -> None:
    _, inbox = receiving(begun, broker)
    until(lambda: inbox.up)
    broker.stop()
    until(lambda: not inbox.up)
    assert broker.url in inbox.why
    broker.start()
    until(lambda: inbox.up)
    sender = publisher(begun, broker)
    sender.publish("stage/level", "7")
    taken: list = []
    until(lambda: taken.extend(inbox.take()) or events(taken))
    turns = [item.up for item in taken if isinstance(item, StreamChange)]
    assert turns[-3:] == [True, False, True]


def test_an_absent_broker_leaves_the_stream_down(tmp_path: Path, begun: list) -> None:
    receiver, inbox = receiving(begun, Broker(tmp_path))
    until(lambda: "refused" in inbox.why)
    assert not inbox.up
    receiver.stop()


def test_a_wrong_password_is_named_and_not_shown(tmp_path: Path, begun: list) -> None:
    passwords, own = tmp_path / "passwords", tmp_path / "own"
    tool = PEERS / "usr/bin/mosquitto_passwd"
    passwords.touch(mode=0o600)
    subprocess.run(
        [tool, "-b", passwords, "lumen", "right"], env=environment(tmp_path), check=True,
        capture_output=True,
    )  # fmt: skip
    broker = Broker(tmp_path, "allow_anonymous false", f"password_file {passwords}")
    broker.start()
    begun.append(broker.stop)
    own.write_text("wrong\n")
    _, inbox = receiving(
        begun, broker, basic_auth=BasicAuth(username="lumen", password_file=str(own))
    )
    until(lambda: "Not authorized" in inbox.why)
    assert "wrong" not in inbox.why
    own.write_text("right\n")
    until(lambda: inbox.up)


@pytest.mark.parametrize("payload", [b"on fire", b"NaN", b"[1, NaN]", b"", b"\xff\xfe", b"{"])
def test_a_payload_that_is_no_json_is_one_dead_letter_and_the_next_is_used(
    broker: Broker, begun: list, payload: bytes
) -> None:
    _, inbox = receiving(begun, broker)
    until(lambda: inbox.up)
    sender = publisher(begun, broker)
    sender.publish("stage/level", payload, qos=1)
    sender.publish("stage/level", "2", qos=1)
    taken: list = []
    until(lambda: taken.extend(inbox.take()) or events(taken))
    found = [(x.reason, x.where) for x in taken if isinstance(x, Unread)]
    assert found == [("json", "stage/level")]
    assert events(taken)[0].value == 2.0


def test_a_broker_that_is_stuck_and_comes_back_loses_nothing(broker: Broker, begun: list) -> None:
    _, inbox = receiving(begun, broker, qos=1)
    until(lambda: inbox.up)
    sender = publisher(begun, broker)
    broker.freeze(True)
    for i in range(100):
        sender.publish("stage/level", str(i), qos=1)
    broker.freeze(False)
    taken: list = []
    until(lambda: taken.extend(events(inbox.take())) or len(taken) >= 100)
    assert [message.value for message in taken] == list(map(float, range(100)))


def test_ten_thousand_topics_and_a_large_payload_are_counted(broker: Broker, begun: list) -> None:
    _, inbox = receiving(begun, broker)
    until(lambda: inbox.up)
    sender = publisher(begun, broker)
    sender.publish("stage/large", bytes(1 << 20), qos=1)
    for i in range(10_000):
        sender.publish(f"stage/{i}", "1", qos=1)
    taken: list = []
    until(lambda: taken.extend(inbox.take()) or len(events(taken)) >= 10_000)
    assert len({message.key for message in events(taken)}) == 10_000
    assert [x.reason for x in taken if isinstance(x, Unread)] == ["too_long"]
