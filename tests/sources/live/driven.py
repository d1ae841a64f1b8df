"""A live partition whose streams and clocks a test drives."""

import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest

from configs.schema import Config
from operators.events import Batch
from sources.host.host_clock import HostClock
from sources.host.shutdown import Shutdown
from sources.inbox import Commanded, Message, Unread
from sources.live.live import LivePartition
from sources.replay.replay import ReplayPartition

START = 1_750_000_000.0


def config(*streams, **more):
    return msgspec.convert(
        {
            "version": 2,
            "streams": streams or [{"name": "a", "type": "osc", "addr": "127.0.0.1:9000"}],
            "signals": {"pulse": {"members": {"a:x": {}}}},
        }
        | more,
        Config,
    )


class Sender:
    """A stream whose events a test sends."""

    def __init__(self, name="a"):
        self.name = name
        self.running = False

    def start(self, inbox):
        self.inbox, self.running = inbox, True
        inbox.turn(True, "a test")

    def stop(self):
        self.running = False

    def facts(self):
        return ()

    def send(self, rx, value, key="x", ts=float("nan")):
        self.inbox.put([Message(START + rx, key, value, START + ts)])


class Clock:
    """A monotonic time, and the step of the wall clock (s)."""

    def __init__(self, at=0.0, ahead=0.0):
        self.now, self.ahead = at, ahead

    def __call__(self):
        return self.now

    def steady(self):
        return round(self.now * 1e9)

    def wall(self):
        return round(START) * 10**9 + self.steady() + round(self.ahead * 1e9)


class Live:
    """A partition whose streams and clocks are a test's."""

    def __init__(
        self,
        *names,
        state=None,
        at=0.0,
        tap=None,
        ahead=0.0,
        boot="this",
        recovering=False,
        block=None,
    ):
        self.streams = [Sender(name) for name in names or ("a",)]
        self.clock = Clock(at, ahead)
        self.waited = []
        self.shutdown = Shutdown()
        self.host = HostClock(self.clock.wall, self.clock.steady, boot)
        more = {} if tap is None else {"tap": {"dir": str(tap)}}
        more |= {} if block is None else {"collect": {"block_s": block}}
        self.part = LivePartition(
            config(**more),
            "print",
            state,
            self.streams,
            self.clock,
            self.host,
            self.waited.append,
            recovering=recovering,
            shutdown=self.shutdown,
        )

    def batches(self, at=None):
        self.clock.now = self.clock.now if at is None else at
        return [batch for rig, batch in self.part.next_batch()]

    def drain(self):
        """Read the tape as far as it goes."""
        found = []
        while self.part.next_awake() is None:
            found += self.batches()
        return found


def rows(batches):
    """Return the rows: channel (or `tick`), arrival and value."""
    found = []
    for batch in batches:
        for name, rx, value in zip(batch.name, batch.rx, batch.value, strict=True):
            channel = ":".join(batch.names[name]) if name >= 0 else "tick"
            found.append((channel, round(rx - START, 6), value if name >= 0 else None))
    return found


def events(batches):
    return [row for row in rows(batches) if row[0] != "tick"]


def send_all(live, count, begin=0.0):
    """Let streams send all kinds of items; return the batches."""
    a, b = live.streams
    found = []
    for i in range(count):
        t = begin + i * 0.013
        a.send(t, float(i), ts=t - 3.3)
        if i % 3 == 0:
            b.send(t + 0.001, (1.0, float("nan"), float(i)), key="/acc")
        if i % 7 == 0:
            b.send(t + 0.002, f"marker {i}", key="/text")
            b.inbox.put([Unread(START + t, "osc", "10.0.0.9:1", b"\xff\x00")])
        if i % 20 == 0:
            b.inbox.turn(i % 40 == 0, "a test")
        if i % 17 == 0:
            b.inbox.put([Commanded(START + t + 0.002, "bridge.release", f"user {i}")])
        if i % 11 == 0:
            a.send(t + 0.003, 1e9, key="other")
        if i % 5 == 0:
            found += live.batches(t)
    return found + live.batches(begin + count * 0.013)


def columns(batches):
    """Return all rows of batches as columns, and their rejects, markers and turns."""
    place = list(itertools.accumulate((len(b.name) for b in batches), initial=0))
    return {
        "channel": [b.names[n] if n >= 0 else n for b in batches for n in b.name.tolist()],
        "markers": [(p + m.row, m.text) for p, b in zip(place, batches) for m in b.markers],  # noqa: B905
        "turned": [t._replace(row=p + t.row) for p, b in zip(place, batches) for t in b.turned],  # noqa: B905
        "controls": [c._replace(row=p + c.row) for p, b in zip(place, batches) for c in b.controls],  # noqa: B905
        "rejects": [
            (p + r.row, r.reason, r.source, r.count)
            for p, b in zip(place, batches)  # noqa: B905
            for r in b.rejects
        ],
        **{
            c: np.concatenate([getattr(b, c) for b in batches]).tobytes()
            for c in ("ts", "rx", "stamped", "wild", "value", "seq", "line")
        },
    }


def replayed(tape: Path, lines=10_000) -> list[Batch]:
    part = ReplayPartition(
        config({"name": "t", "type": "file", "path": str(tape), "batch_lines": lines})
    )
    found = []
    with pytest.raises(StopIteration):
        while True:
            found += [batch for _, batch in part.next_batch()]
    part.close()
    return found
