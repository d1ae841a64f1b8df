"""Receivers of connectors under a steady load: sent against received, and the share of a core.

    python -m ops.bench.connectors [--seconds 20]

Each receiver runs in a process of its own with an inbox that is emptied as a flow does; the sender
is a process of its own too. `lost` is sent less received; `cpu` the receiver's CPU time over the
time of sending. MQTT: 5,000 messages a second, QoS 0, through mosquitto (`make peers`). WebSocket:
20,000 events a second in arrays of 20. LSL: 32 channels at 500 Hz, 16,000 events a second. OSC over
TCP: 20,000 messages a second, SLIP, in writes of 20.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from configs.connectors.lsl import LslStream
from configs.connectors.mqtt import MqttStream
from configs.connectors.websocket import WebSocketStream
from configs.inputs import OscStream
from configs.schema import LiveStream
from operators.events import READING_KEY
from ops.fakes.lsl_network import alone, load, outlet
from ops.fakes.ports import free_port
from ops.text.table import table
from sinks.send.destination import packed
from sinks.send.osc_tcp import slip
from sources.inbox import Inbox, Message
from sources.live.live import stream_of

_PEERS = Path(__file__).parents[2] / ".peers"
_QUIET_S = 3.0
RATES = {"mqtt": 5_000, "websocket": 20_000, "osc over tcp": 20_000, "lsl": 16_000}
LSL_CHANNELS = 32


def stream(name: str, port: int) -> LiveStream:
    """Return the stream of a connector at a port of this machine."""
    if name == "mqtt":
        return MqttStream(name="m", broker=f"mqtt://127.0.0.1:{port}", topics=["bench"])
    if name == "osc over tcp":
        return OscStream(name="o", addr=f"tcp://127.0.0.1:{port}")
    if name == "lsl":
        return LslStream(name="l", stream=f"bench-{port}")
    return WebSocketStream(name="w", addr=f"127.0.0.1:{port}")


def received(receiver: Any, started: Callable[[], object], wanted: int) -> dict[str, float]:
    """Receive until all have arrived or nothing more does; return counts and CPU time."""
    inbox = Inbox(receiver.name)
    receiver.start(inbox)
    served = isinstance(receiver.config, LslStream)  # there is nothing to connect to before
    if served:
        started()
    while not inbox.up:
        time.sleep(0.01)
    cpu = time.process_time()
    if not served:
        started()
    count, newest = 0, time.monotonic()
    while count < wanted and time.monotonic() < newest + _QUIET_S:
        found = sum(isinstance(x, Message) and x.key != READING_KEY for x in inbox.take())
        if found:
            count, newest = count + found, time.monotonic()
        time.sleep(0.02)
    cpu = time.process_time() - cpu
    receiver.stop()
    return {"received": count, "dropped": inbox.dropped, "cpu": cpu}


def send_mqtt(port: int, count: int, rate: int) -> None:
    """Publish numbers at a steady rate."""
    from paho.mqtt.client import Client, MQTTv5
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", port)
    client.loop_start()
    began = time.monotonic()
    for i in range(count):
        _pace(began + i / rate)
        last = client.publish("bench", str(i))
    last.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


def send_websocket(port: int, count: int, rate: int) -> None:
    """Send arrays of 20 events at a steady rate."""
    from websockets.sync.client import connect

    with connect(f"ws://127.0.0.1:{port}", compression=None) as connection:
        began = time.monotonic()
        for i in range(0, count, 20):
            _pace(began + i / rate)
            part = [{"key": "/x", "value": i + j, "ts": i / rate} for j in range(20)]
            connection.send(json.dumps(part))


def send_lsl(port: int, count: int, rate: int) -> None:
    """Push samples at a steady rate, once somebody receives."""
    hz = rate / LSL_CHANNELS
    one = outlet({"name": f"bench-{port}", "channels": LSL_CHANNELS, "rate_hz": hz})
    assert one.wait_for_consumers(60)
    load(one, LSL_CHANNELS, hz, count / rate)
    time.sleep(60)  # until all has been received, and this is ended


def send_osc(port: int, count: int, rate: int) -> None:
    """Send SLIP packets of one float each at a steady rate."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        began = time.monotonic()
        for i in range(0, count, 20):
            _pace(began + i / rate)
            connection.sendall(b"".join(slip(packed("/x", float(i + j))) for j in range(20)))


def _pace(due: float) -> None:
    if (wait := due - time.monotonic()) > 0.001:
        time.sleep(wait)


def _broker(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start mosquitto on loopback."""
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nuser root\n"
    )
    libraries = ":".join(map(str, _PEERS.glob("usr/lib/*-linux-gnu*")))
    return subprocess.Popen(
        [_PEERS / "usr/sbin/mosquitto", "-c", config],
        env={"LD_LIBRARY_PATH": libraries},
        stderr=subprocess.DEVNULL,
    )


def measured(name: str, seconds: float) -> tuple[str, ...]:
    """Return a row of the table."""
    port, rate = free_port(), RATES[name]
    count = int(rate * seconds)
    with tempfile.TemporaryDirectory(prefix="lumen-") as folder:
        alone(Path(folder))
        broker = _broker(Path(folder), port) if name == "mqtt" else None
        senders: list[subprocess.Popen[bytes]] = []

        def start() -> None:
            command = [sys.executable, "-m", __spec__.name, "--send", name, str(port), str(count)]
            senders.append(subprocess.Popen(command))

        began = time.monotonic()
        try:
            found = received(stream_of(stream(name, port)), start, count)
        finally:
            for process in (*senders, *([broker] if broker else [])):
                process.terminate()
                process.wait()
        took = time.monotonic() - began
    lost = count - found["received"]
    share = found["cpu"] / took
    per_event = found["cpu"] / max(found["received"], 1) * 1e6
    row = (name, f"{rate:,}", f"{count:,}", f"{lost:,.0f}", f"{found['dropped']:,.0f}")
    return (*row, f"{share:.0%}", f"{per_event:.1f}")


def main() -> None:
    """Measure, or send as the other side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--only", choices=RATES, help="one connector")
    parser.add_argument("--send", nargs=3, metavar=("NAME", "PORT", "COUNT"))
    args = parser.parse_args()
    if args.send:
        name, port, count = args.send[0], int(args.send[1]), int(args.send[2])
        senders = {
            "mqtt": send_mqtt,
            "websocket": send_websocket,
            "osc over tcp": send_osc,
            "lsl": send_lsl,
        }
        senders[name](port, count, RATES[name])
        return
    head = ("connector", "events/s", "sent", "lost", "dropped", "core", "us/event")
    names = [args.only] if args.only else list(RATES)
    print(table(head, [measured(name, args.seconds) for name in names]))


if __name__ == "__main__":
    main()
