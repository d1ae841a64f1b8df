"""OSC from a sender of others: `oscsend` of liblo (`make peers`)."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from configs.schema import OscStream
from sources.inbox import Heard, Inbox, Refused
from sources.osc import Osc

PEERS = Path(__file__).parents[2] / ".peers"
OSCSEND = PEERS / "usr" / "bin" / "oscsend"
pytestmark = pytest.mark.skipif(not OSCSEND.exists(), reason="no oscsend: make peers")


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def heard(port: int, *messages: tuple[str, ...]) -> list[Heard | Refused]:
    """Return what a stream hears of messages (address, types, values) sent one by one."""
    libraries = str(next(PEERS.glob("usr/lib/*/")))
    inbox, stream = Inbox("osc"), Osc(OscStream(name="osc", addr=f"127.0.0.1:{port}"))
    stream.start(inbox)
    try:
        end = time.monotonic() + 5.0
        while not inbox.up:
            assert time.monotonic() < end
            time.sleep(0.005)
        for message in messages:
            subprocess.run(
                (str(OSCSEND), "127.0.0.1", str(port), *message), check=True, timeout=10,
                env={**os.environ, "LD_LIBRARY_PATH": libraries},
            )  # fmt: skip
        time.sleep(0.1)
    finally:
        stream.stop()
    return [x for x in inbox.take() if isinstance(x, Heard | Refused)]


def test_numbers_of_every_type_and_text_are_heard(port: int) -> None:
    items = heard(
        port, ("/a", "i", "-7"), ("/b", "f", "0.5"), ("/c", "d", "0.1"),
        ("/d", "h", "123456789012"), ("/e", "fff", "1", "2", "3"), ("/f", "s", "verse"),
    )  # fmt: skip
    assert [(x.key, x.value) for x in items if isinstance(x, Heard)] == [
        ("/a", -7.0), ("/b", 0.5), ("/c", 0.1), ("/d", 123456789012.0), ("/e", (1.0, 2.0, 3.0)),
        ("/f", "verse"),
    ]  # fmt: skip
    # A message on its own has no timetag: no clock of its own.
    assert all(math.isnan(x.ts) for x in items if isinstance(x, Heard))


def test_a_truth_and_what_is_not_a_number_are_refused_and_counted(port: int) -> None:
    items = heard(port, ("/yes", "T"), ("/nothing", "N"), ("/on", "f", "1"))
    assert [type(x) for x in items] == [Refused, Refused, Heard]
