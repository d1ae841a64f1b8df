"""One connection to an MQTT broker that is published to (MQTT 5).

At most `WINDOW` messages of QoS 1 are under way, and nothing is added while the connection takes no
data: what waits is the outbox's, which replaces and bounds it.

The last will sets the destination's own topic to `offline` where the connection is lost.
"""

from __future__ import annotations

import ssl
import time
from typing import Any

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from configs.connectors.mqtt import MqttDestination, broker_of
from configs.secrets import secret
from sinks.send.mqtt_outbox import Outgoing
from sinks.send.mqtt_topics import OFFLINE, ONLINE, status_topic

WINDOW = 20
"""Messages under way; the receive maximum of common brokers."""
_KEEPALIVE_S = 15
_CONNECT_S = 5.0
_HEAD = 32
"""Bytes of a message beside topic and payload, at most."""


class MqttSession:
    """A connection; `open` is the only call that may wait.

    Parameters
    ----------
    config : MqttDestination

    Attributes
    ----------
    accepted : bool
        The broker has accepted the connection.
    refused : list of (message, reason)
        Messages that the broker does not take.
    """

    def __init__(self, config: MqttDestination) -> None:
        self._config = config
        self._status = status_topic(config.topic)
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        self._under_way: dict[int, Outgoing] = {}
        self._largest: int | None = None
        self._opened = 0.0
        self._why = ""
        self.accepted = False
        self.refused: list[tuple[Outgoing, str]] = []

    def open(self) -> None:
        """Connect, for at most five seconds an address of the host.

        Raises
        ------
        OSError, ValueError, SecretError
            The broker does not answer, or the configuration's files cannot be read.
        """
        host, port, tls = broker_of(self._config.broker)
        client = self._client
        client.connect_timeout = _CONNECT_S
        client.max_inflight_messages_set(WINDOW)
        if self._config.basic_auth is not None:
            own = self._config.basic_auth
            client.username_pw_set(own.username, secret(own.password_file).decode())
        if tls:
            client.tls_set_context(ssl.create_default_context(cafile=self._config.ca_file))
        client.will_set(self._status, OFFLINE, qos=1, retain=True)
        client.on_connect = self._begin
        client.on_publish = self._delivered
        client.connect(host, port, _KEEPALIVE_S)
        self._opened = time.monotonic()

    @property
    def room(self) -> bool:
        """Whether a message can be added."""
        return self.accepted and len(self._under_way) < WINDOW and not self._client.want_write()

    @property
    def idle(self) -> bool:
        """Whether all is delivered."""
        return not self._under_way and not self._client.want_write()

    def publish(self, message: Outgoing) -> None:
        """Publish a message; one that the broker would not take is refused."""
        size = len(message.topic.encode()) + len(message.payload) + _HEAD
        if self._largest is not None and size > self._largest:
            self.refused.append((message, f"{size} bytes, more than {self._largest}"))
            return
        qos: int = self._config.qos
        sent = self._client.publish(message.topic, message.payload, qos, message.retain)
        if qos:
            self._under_way[sent.mid] = message

    def loop(self, seconds: float) -> str:
        """Exchange data for at most this long (s); return why the connection has ended, if so."""
        if self._client.loop(seconds) != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return self._why or "the connection ended"
        if not (self.accepted or self._why) and time.monotonic() > self._opened + _CONNECT_S:
            return f"no answer in {_CONNECT_S:g} s"
        return self._why

    def undelivered(self) -> list[Outgoing]:
        """Return the messages under way, in their order."""
        return list(self._under_way.values())

    def close(self, end: float) -> None:
        """Announce the end and disconnect, by a time (monotonic s)."""
        if self.accepted:
            self._client.publish(self._status, OFFLINE, qos=1, retain=True)
            self._client.disconnect()
        while self._client.want_write() and time.monotonic() < end:
            if self._client.loop(0.02) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                break
        self._client.loop(0.0)

    def _begin(self, client: Client, _: Any, __: Any, code: Any, properties: Any) -> None:
        if code.is_failure:
            self._why = f"the broker refuses: {code}"
            return
        self._largest = getattr(properties, "MaximumPacketSize", None)
        self.accepted = True
        client.publish(self._status, ONLINE, qos=1, retain=True)

    def _delivered(self, _: Any, __: Any, mid: int, code: Any, ___: Any) -> None:
        message = self._under_way.pop(mid, None)
        if message is not None and code.is_failure:
            self.refused.append((message, str(code)))
