"""Mosquitto on loopback (`make peers`), and clients of it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from ops.fakes.ports import free_port
from tests.support.programs import PEERS, environment
from tests.support.waiting import until

MOSQUITTO = PEERS / "usr/sbin/mosquitto"
Ends = list[Callable[[], object]]
"""What a test has to end, in order of their beginning."""


class Broker:
    """A mosquitto on loopback."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.port = free_port()
        self._folder = folder
        self._lines = lines or ("allow_anonymous true",)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        config = self._folder / "mosquitto.conf"
        user = f"user {Path.home().owner()}"
        text = [f"listener {self.port} 127.0.0.1", user, "max_queued_messages 0", *self._lines]
        config.write_text("\n".join(text) + "\n")
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", config], env=environment(self._folder),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def freeze(self, frozen: bool) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None:
            self.freeze(False)
            self._process.kill()
            self._process.wait()


def publisher(begun: Ends, broker: Broker) -> Client:
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.max_queued_messages_set(0)
    client.max_inflight_messages_set(1000)

    def connected() -> bool:
        try:
            client.connect("127.0.0.1", broker.port)
        except OSError:
            return False
        return True

    until(connected)
    client.loop_start()
    begun.append(client.loop_stop)
    begun.append(client.disconnect)
    until(client.is_connected)
    return client


class Listener:
    """A client that keeps what it receives."""

    def __init__(self, begun: Ends, broker: Broker, topics: str = "#") -> None:
        self.messages: list[MQTTMessage] = []
        self.client = publisher(begun, broker)
        self.client.on_message = lambda _, __, message: self.messages.append(message)
        done: list[object] = []
        self.client.on_subscribe = lambda *_: done.append(None)
        self.client.subscribe(topics, qos=1)
        until(lambda: done)

    def payloads(self, topic: str) -> list[bytes]:
        """Return the payloads of a topic so far."""
        return [bytes(x.payload) for x in self.messages if x.topic == topic]
