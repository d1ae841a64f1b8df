"""Two-way readings of live sources: a constant delay of the path, without and with them."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from configs.load import load
from flows.pipeline import Pipeline
from operators.events import READING_KEY
from ops.fakes.ports import free_port
from sources.host.host_clock import HostClock
from sources.host.shutdown import Shutdown
from sources.live.live import LivePartition
from sources.replay.replay import ReplayPartition
from tests.support.json_lines import json_lines
from tests.support.slow_relay import relaying
from tests.support.waiting import HUNG_S, until

DELAY_S = 0.040
GRAIN_S = 0.010
"""Tolerance of the clocks of a test, besides what the readings state."""
READINGS, SAMPLES = 4, 100
TRIES = 3


class UnsteadyError(Exception):
    """The machine stood still so that arrivals look like a reset of the source's clock."""


def steadily(folder: Path, prove: Callable[[Path], None]) -> None:
    """Prove in a folder of its own, again where the machine was unsteady."""
    for number in range(TRIES):
        place = folder / str(number)
        place.mkdir()
        try:
            prove(place)
        except UnsteadyError:
            continue
        return
    pytest.skip("a machine under so much load that arrivals look like resets of a clock")


@dataclass
class Followed:
    """The clock of the source at the end of a replay."""

    offset_s: float
    sd_s: float
    resets: int
    ends: dict[tuple[str, str], int]
    """Rows by channel and end."""


class Recorded:
    """A live source on a tape, and its replays."""

    def __init__(self, folder: Path, stream: str, key: str) -> None:
        self.folder, self.channel = folder, f"s:{key}"
        self.host = HostClock()
        self.rest = f'signals: {{level: {{members: {{"{self.channel}": {{}}}}}}}}\n'
        self.stream = f"{{name: s, type: {stream}}}"

    def record(self, sends: Callable[[], object]) -> None:
        """Record until the sender has sent all, and enough is on the tape."""
        path = self.folder / "live.yaml"
        tap = f"tap: {{dir: {self.folder}/tap}}\n"
        path.write_text(f"version: 2\nstreams: [{self.stream}]\n{self.rest}{tap}")
        loaded, shutdown = load(path), Shutdown()
        part = LivePartition(loaded.config, loaded.fingerprint, host=self.host, shutdown=shutdown)
        failed: list[BaseException] = []

        def send() -> None:
            try:
                sends()
            except BaseException as error:
                failed.append(error)

        sender = threading.Thread(target=send)
        sender.start()
        end = time.monotonic() + HUNG_S
        try:
            while True:
                part.next_batch()
                if not sender.is_alive() and (failed or self.is_enough()):
                    shutdown.request()
                assert time.monotonic() < end, "hung"
        except StopIteration:
            pass
        finally:
            part.close()
            sender.join()
        assert not failed, failed

    def lines(self) -> list[dict]:
        (tape,) = (self.folder / "tap").glob("2*")
        return [line for file in sorted(tape.glob("*.ndjson")) for line in json_lines(file)]

    def readings(self) -> list[list[float]]:
        return [x["value"] for x in self.lines() if x.get("key") == READING_KEY]

    def is_enough(self) -> bool:
        samples = sum(x.get("source") == "s" for x in self.lines()) - len(self.readings())
        return len(self.readings()) >= READINGS and samples >= SAMPLES

    def followed(self, readings: bool) -> Followed:
        """Replay the tape, with the readings or without them."""
        tape = self.folder / f"{readings}.ndjson"
        kept = [x for x in self.lines() if readings or x.get("key") != READING_KEY]
        tape.write_text("".join(f"{json.dumps(x)}\n" for x in kept))
        path = self.folder / f"{readings}.yaml"
        path.write_text(
            f"version: 2\nstreams: [{{name: t, type: file, path: {tape}}}]\n{self.rest}"
        )
        loaded = load(path)
        part = ReplayPartition(loaded.config)
        batches = []
        with pytest.raises(StopIteration):
            while True:
                batches += [batch for _, batch in part.next_batch()]
        part.close()
        packets = list(Pipeline(loaded).run(batches))
        known = [
            x for p in packets for x in p.sync
            if x.channel == self.channel and x.offset_s is not None
        ]  # fmt: skip
        ends: dict[tuple[str, str], int] = {}
        for e in (e for p in packets for e in p.ends):
            at = e.channel, e.end
            ends[at] = ends.get(at, 0) + len(e.watermark)
        last = known[-1]
        return Followed(last.offset_s, last.offset_sd_s, last.clock_resets, ends)

    def assert_corrected(self, truth_s: float, out_s: float, most_wrong_s: float) -> None:
        """Without readings the offset contains the delay of the way out, with them it does not.

        Parameters
        ----------
        truth_s : float
            Host - source.
        out_s : float
            Least delay of a row.
        most_wrong_s : float
            Half the difference of the ways out and back.
        """
        one_way, two_way = self.followed(readings=False), self.followed(readings=True)
        self.assert_all_are_used(two_way)
        if one_way.resets:
            raise UnsteadyError
        assert not two_way.resets, "readings make a reset that the arrivals do not show"
        assert one_way.offset_s - truth_s > out_s - GRAIN_S
        error = two_way.offset_s - truth_s
        # A loaded machine makes single exchanges longer, and states so.
        halves = [half for _, half in self.readings()]
        slow = max(halves) - min(halves)
        assert abs(error - most_wrong_s) < GRAIN_S + slow
        assert abs(error) <= 2 * two_way.sd_s + 1e-3
        assert abs(error) <= max(halves) + 1e-3
        assert one_way.offset_s - two_way.offset_s > out_s - most_wrong_s - GRAIN_S - slow

    def assert_all_are_used(self, found: Followed) -> None:
        """Each row has one end; both elements of each reading are used."""
        for name in {name for name, _ in found.ends}:
            count = {end: n for (of, end), n in found.ends.items() if of == name}
            assert count.pop("received") == sum(count.values()), name
        for i in range(2):
            name = f"s:{READING_KEY}[{i}]"
            assert found.ends[name, "used"] == len(self.readings())
            assert found.ends[name, "received"] == len(self.readings())


def prove_lsl(folder: Path) -> None:
    from pylsl import local_clock

    from tests.support.lsl_sender import LslSender

    name = f"t{uuid4().hex[:12]}"
    run = Recorded(folder, f"lsl, stream: {name}", "a")
    outlet = LslSender(name, channels=1, rate_hz=100.0, labels=["a"])

    def sends() -> None:
        while not run.is_enough():
            outlet.load(100.0, 1.0, ahead_s=-DELAY_S)
            outlet.sent()

    try:
        run.record(sends)
    finally:
        outlet.end()
    looks = [(run.host(), local_clock(), run.host()) for _ in range(100)]
    before, clock, after = min(looks, key=lambda look: look[2] - look[0])
    run.assert_corrected((before + after) / 2 - clock, DELAY_S, most_wrong_s=0.0)


def test_a_delay_of_lsl_stamps_is_corrected_by_its_readings(tmp_path: Path) -> None:
    pytest.importorskip("pylsl")
    steadily(tmp_path, prove_lsl)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), HUNG_S).close()
    except ConnectionError:
        return False
    return True


def exchange(connection, clock: Callable[[], float]) -> None:
    """Ping, and send the reading."""
    connection.send(json.dumps({"ping": clock()}))
    answer, back = json.loads(connection.recv(timeout=HUNG_S)), clock()
    there, home = answer["received"] - answer["ping"], back - answer["sent"]
    reading = [(there - home) / 2, (there + home) / 2]
    connection.send(json.dumps({"key": READING_KEY, "value": reading, "ts": back}))


def prove_websocket(folder: Path, out_s: float, back_s: float) -> None:
    from websockets.sync.client import connect

    port = free_port()
    run = Recorded(folder, f'websocket, addr: "127.0.0.1:{port}"', "/a")

    def clock() -> float:
        return run.host() - 5000.0

    def sends(relayed: int) -> None:
        until(lambda: listens(port))
        with connect(f"ws://127.0.0.1:{relayed}", open_timeout=HUNG_S) as connection:
            for n in range(150):
                if n % 25 == 0:
                    exchange(connection, clock)
                connection.send(json.dumps({"key": "/a", "value": n, "ts": clock()}))
                time.sleep(0.01)
            exchange(connection, clock)

    with relaying(port, out_s, back_s) as relayed:
        run.record(lambda: sends(relayed))
    run.assert_corrected(5000.0, out_s, (out_s - back_s) / 2)


@pytest.mark.parametrize(("out_s", "back_s"), [(0.040, 0.040), (0.060, 0.020)])
def test_a_delay_of_a_websocket_client_is_corrected_by_its_readings(
    tmp_path: Path, out_s: float, back_s: float
) -> None:
    pytest.importorskip("websockets")
    steadily(tmp_path, lambda folder: prove_websocket(folder, out_s, back_s))
