"""MQTT: a thread receives the topics of one broker into the inbox (MQTT 5).

A broker that is absent, refuses or ends the connection leaves the stream down; it is tried again
after 0.5 to 5 s, and the topics are subscribed anew. The session is not kept by the broker: what is
sent meanwhile is lost there, and a gap here.

Losses: those of `PayloadDecoder`, counted.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from configs.connectors.mqtt import MqttStream, broker_of
from configs.secrets import SecretError, secret
from sources.inbox import Listener
from sources.mqtt.payload import PayloadDecoder

_KEEPALIVE_S = 30
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 5.0
_LOOK_S = 0.1
_CONNECT_S = 5.0


class MqttReceiver(Listener):
    """The receiver of one MQTT stream.

    Parameters
    ----------
    config : MqttStream
    is_held : callable
        Whether a key is a held channel.
    """

    def __init__(self, config: MqttStream, is_held: Callable[[str], bool]) -> None:
        super().__init__(config.name)
        self.config = config
        self._host, self._port, self._tls = broker_of(config.broker)
        self._payloads = PayloadDecoder(config.value, is_held)
        self._refused = ""

    def facts(self) -> Sequence[str]:
        """Return the broker and its topics."""
        return self.config.broker, f"topics {', '.join(self.config.topics)}"

    def _run(self) -> None:
        """Stay connected; retry with growing pauses while the broker is not available."""
        pause = _FIRST_PAUSE_S
        while not self._stop.is_set():
            self._refused = ""
            try:
                client = self._connected()
            except (OSError, ValueError, SecretError) as error:
                self._inbox.turn(False, f"{self.config.broker}: {_why(error)}")
            else:
                ended = self._receive(client)
                if self._inbox.up:
                    pause = _FIRST_PAUSE_S
                if not self._stop.is_set():
                    self._inbox.turn(False, f"{self.config.broker}: {self._refused or ended}")
            self._stop.wait(pause)
            pause = min(2 * pause, _MAX_PAUSE_S)

    def _connected(self) -> Client:
        """Return a client with an open connection.

        Raises
        ------
        OSError, ValueError, SecretError
            The broker does not answer, or the configuration's files cannot be read.
        """
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        client.connect_timeout = _CONNECT_S
        if self.config.basic_auth is not None:
            own = self.config.basic_auth
            client.username_pw_set(own.username, secret(own.password_file).decode())
        if self._tls:
            client.tls_set_context(ssl.create_default_context(cafile=self.config.ca_file))
        client.on_connect = self._begin
        client.on_message = self._take
        client.on_subscribe = self._subscribed
        client.connect(self._host, self._port, _KEEPALIVE_S)
        return client

    def _receive(self, client: Client) -> str:
        """Receive until the connection or the run ends; return the reason."""
        try:
            while not self._stop.is_set():
                code = client.loop(_LOOK_S)
                if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
                    return "the connection ended"
                if self._refused:
                    return self._refused
            return ""
        finally:
            client.on_message = None
            client.disconnect()
            client.loop(0.0)

    def _begin(self, client: Client, _: Any, __: Any, code: Any, ___: Any) -> None:
        """Subscribe once the broker has accepted the connection."""
        if code.is_failure:
            self._refused = f"the broker refuses: {code}"
            return
        qos: int = self.config.qos
        client.subscribe([(topic, qos) for topic in self.config.topics])

    def _subscribed(self, _: Any, __: Any, ___: Any, codes: Any, ____: Any) -> None:
        refused = [
            topic for topic, code in zip(self.config.topics, codes, strict=False) if code.is_failure
        ]
        if refused:
            self._refused = f"the broker refuses {', '.join(refused)}"
        else:
            self._inbox.turn(True, ", ".join(self.facts()))

    def _take(self, _: Any, __: Any, message: MQTTMessage) -> None:
        rx = self._inbox.host()
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        self._inbox.put(
            [self._payloads.decode(topic, bytes(message.payload), bool(message.retain), rx)]
        )


def _why(error: Exception) -> str:
    if isinstance(error, socket.gaierror | ssl.SSLError):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
