"""Payloads of MQTT messages as events."""

from __future__ import annotations

import math

import pytest

from configs.connectors.mqtt import broker_of, covers, is_filter
from sources.inbox import Message, Unread
from sources.mqtt.payload import MAX_PAYLOAD, PayloadDecoder


def decode(payload: bytes, pointer: str | None = None, retained: bool = False, held: bool = False):
    return PayloadDecoder(pointer, lambda key: held).decode("a/b", payload, retained, 5.0)


@pytest.mark.parametrize(
    ("payload", "pointer", "value", "ts"),
    [
        (b"21.5", None, 21.5, None),
        (b" -3 ", None, -3.0, None),
        (b'"open"', None, "open", None),
        (b'{"value": 2, "ts": 7.5}', None, 2.0, 7.5),
        (b'{"s": {"c/d": [1, 4]}, "ts": 9}', "/s/c~1d/1", 4.0, 9.0),
    ],
)
def test_a_payload_is_a_number_an_event_or_a_number_within_json(
    payload: bytes, pointer: str | None, value: float | str, ts: float | None
) -> None:
    message = decode(payload, pointer)
    assert isinstance(message, Message)
    assert (message.rx, message.key, message.value) == (5.0, "a/b", value)
    assert math.isnan(message.ts) if ts is None else message.ts == ts


@pytest.mark.parametrize(
    ("payload", "pointer", "reason"),
    [
        (b"on fire", None, "json"),
        (b"", None, "json"),
        (b"NaN", None, "json"),
        (b"true", None, "value"),
        (b"{}", None, "schema"),
        (b'{"value": null}', None, "value"),
        (b"7", "/a", "schema"),
        (b'{"a": [1]}', "/a/1", "schema"),
        (b'{"a": "7"}', "/a", "value"),
        (b'{"a": 7, "ts": 1e300}', "/a", "stamp"),
        (b"1" * (MAX_PAYLOAD + 1), None, "too_long"),
        (b"1" * (1 << 20), None, "too_long"),
    ],
)
def test_other_payloads_are_rejects_with_their_reason(
    payload: bytes, pointer: str | None, reason: str
) -> None:
    reject = decode(payload, pointer)
    assert isinstance(reject, Unread)
    assert (reject.reason, reject.where) == (reason, "a/b")


def test_a_retained_value_is_no_fresh_one() -> None:
    ignored = decode(b"1", retained=True)
    assert isinstance(ignored, Unread)
    assert ignored.reason == "retained"
    held = decode(b'{"value": 1, "ts": 3}', retained=True, held=True)
    assert isinstance(held, Message)
    assert held.value == 1.0
    assert math.isnan(held.ts)


def test_topic_filters_are_those_of_the_standard() -> None:
    assert all(map(is_filter, ("a", "a/b", "+", "#", "+/b/#", "a//b")))
    assert not any(map(is_filter, ("", "a#", "a/#/b", "+a", "a+/b")))
    assert covers("a/+/c", "a/b/c")
    assert covers("a/#", "a")
    assert covers("#", "a/b")
    assert not covers("a/+", "a/b/c")
    assert not covers("#", "$SYS/load")
    assert not covers("a/b", "a")


def test_a_broker_has_the_port_of_its_scheme() -> None:
    assert broker_of("mqtt://stage") == ("stage", 1883, False)
    assert broker_of("mqtts://[::1]:9") == ("::1", 9, True)
    assert broker_of("mqtts://stage/") == ("stage", 8883, True)
