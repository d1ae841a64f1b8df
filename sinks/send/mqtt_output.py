"""MQTT out: a thread publishes ticks, values and findings of all rigs to one broker.

A broker that is absent, refuses or ends the connection is tried again after 0.5 to 5 s; the flow
does not notice. Then the newest states are sent anew, and the findings that waited.

Losses: findings that the outbox had no room for, that the broker refused, or that wait at the end;
counted, with a line. Cost for the flow: the expressions of `map`, and storing a reference.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from contextlib import suppress

from configs.connectors.mqtt import MqttDestination
from configs.inert import inert
from configs.secrets import SecretError
from operators.records import Packet
from operators.settings.plan import Plan
from sinks.send.mqtt_outbox import MqttOutbox, Outgoing
from sinks.send.mqtt_session import MqttSession
from sinks.send.packet_sender import PacketSender
from sinks.send.send import ExpressionMap

_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 5.0
_LOOK_S = 0.05
_END_S = 0.7
"""Time at the end for what waits."""


class MqttSender(PacketSender):
    """The destination of one broker.

    Parameters
    ----------
    config : MqttDestination
    plan : Plan
    """

    def __init__(self, config: MqttDestination, plan: Plan) -> None:
        super().__init__(config.name)
        self._config, self._plan = config, plan
        self._outbox = MqttOutbox(config.topic)
        self._expressions: dict[str, ExpressionMap] = {}
        self._fresh: dict[str, Outgoing] = {}
        self._up: bool | None = None
        self._why = ""
        self._refused = 0
        self._reported: set[str] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"send {self.name}", daemon=True)

    @property
    def missed(self) -> int:
        """Findings that were dropped."""
        return self._outbox.dropped + self._refused

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def take(self, packet: Packet) -> None:
        """Store the newest tick and the findings of a packet."""
        if packet.fused is not None and len(packet.fused):
            values: dict[str, float] = {}
            if self._config.map:
                if packet.rig not in self._expressions:
                    self._expressions[packet.rig] = ExpressionMap(self._config, self._plan)
                values = self._expressions[packet.rig].values(packet.fused)
            self._outbox.put_ticks(packet.rig, packet.fused, values)
        for record in packet.evidence:
            self._outbox.put_finding(record)

    def stop(self) -> None:
        """Publish what waits, and disconnect, within a second; may be called twice."""
        if self._stopped.is_set() or not self._thread.is_alive():
            return
        self._stopped.set()
        self._thread.join(1.0)
        lost = self.missed + self._outbox.waiting()
        if lost:
            sys.stderr.write(f"lumen: {self.name}: {lost} findings were not sent\n")

    def _run(self) -> None:
        """Stay connected; retry with growing pauses while the broker is not available."""
        pause = _FIRST_PAUSE_S
        while not self._stopped.is_set():
            session, began = MqttSession(self._config), time.monotonic()
            try:
                session.open()
                why = self._publish(session)
            except (OSError, ValueError, SecretError) as error:
                why = _why(error)
            if self._stopped.is_set():
                return
            if self._up and time.monotonic() >= began + _MAX_PAUSE_S:
                pause = _FIRST_PAUSE_S
            self._set_up(False, f"{self._config.broker}: {why}")
            self._stopped.wait(pause)
            pause = min(2 * pause, _MAX_PAUSE_S)

    def _publish(self, session: MqttSession) -> str:
        """Publish until the connection or the run ends; return the reason."""
        self._fresh = {message.topic: message for message in self._outbox.kept()}
        period = 1 / self._config.rate_hz
        due, why = time.monotonic(), ""
        try:
            while not (why or self._stopped.is_set()):
                why = session.loop(min(_LOOK_S, period))
                if session.accepted and not self._up:
                    self._set_up(True, f"{self._config.broker}, {self._config.topic}/#")
                now = time.monotonic()
                if session.accepted and now >= due and self._renew():
                    # Even on average, and never two at once after a gap.
                    due = max(due + period, now + period / 2)
                self._send(session)
            if not why:
                why = self._finish(session)
            return why
        finally:
            self._outbox.put_back(session.undelivered())
            with suppress(OSError, ValueError):
                session.close(time.monotonic() + _END_S / 2)

    def _renew(self) -> bool:
        """Replace what was not sent yet by what is newer; return whether anything is."""
        newest = self._outbox.take_newest()
        self._fresh.update((message.topic, message) for message in newest)
        return bool(newest)

    def _send(self, session: MqttSession) -> None:
        """Publish findings first, then what is fresh, while there is room."""
        while session.room and (finding := self._outbox.next_finding()) is not None:
            session.publish(finding)
        while session.room and self._fresh:
            session.publish(self._fresh.pop(next(iter(self._fresh))))
        for message, why in session.refused:
            self._refused += message.finding
            if why not in self._reported:
                self._reported.add(why)
                topic = inert(message.topic)
                sys.stderr.write(f"lumen: {self.name}: {topic} is not taken: {why}\n")
        session.refused.clear()

    def _finish(self, session: MqttSession) -> str:
        """Publish what waits at the end, for a short time."""
        end, why = time.monotonic() + _END_S / 2, ""
        self._renew()
        while session.accepted and not why and time.monotonic() < end:
            self._send(session)
            if session.idle and not self._fresh and not self._outbox.waiting():
                break
            why = session.loop(0.02)
        return why

    def _set_up(self, up: bool, why: str) -> None:
        if up != self._up or (not up and why != self._why):
            state = "publishes" if up else "is silent"
            # One write, so that lines of other threads do not cut it.
            sys.stderr.write(f"lumen: {self.name} {state}: {why}\n")
        self._up, self._why = up, why


def _why(error: Exception) -> str:
    if isinstance(error, socket.gaierror | ssl.SSLError):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
