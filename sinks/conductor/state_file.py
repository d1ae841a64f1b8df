"""The newest tick of the bridge as a small file, for programs that read no other output.

    {"tick_ms": 200.0, "ts": 1730000000.2, "state": "E2"}

`ts` is the host time of the tick. The file is replaced as a whole, at most `MAX_PER_S` times a
second, in live runs alone. A failure is reported once and does not end the run. A file that no run
wrote stays.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from errno import EEXIST
from math import inf
from pathlib import Path

import msgspec
from msgspec.structs import replace

from configs.files import ACCESS, Access, read_own, write_whole
from configs.schema import Config
from operators.lines import BridgeFrame
from operators.records import Packet

MAX_PER_S = 5
MAX_BYTES = 4096
"""Largest file that a run may have written."""
_BEGIN = b'{"tick_ms":'


class StateFile:
    """The consumer that writes the file.

    Parameters
    ----------
    path : Path
    access : Access
        Rights of the file, and of folders made for it.
    clock : callable
        Monotonic seconds.
    """

    missed = 0

    def __init__(
        self, path: Path, access: Access, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._access, self._clock = path, access, clock
        self._rig: str | None = None
        self._tick: BridgeFrame | None = None
        self._newest: BridgeFrame | None = None
        self._written = -inf
        self._failed = self._ours = False

    def start(self, rig: str | None = None) -> None:
        """Begin; `rig` is the rig of the file, all packets where it is left out."""
        self._rig = rig

    def consume(self, packets: list[Packet]) -> None:
        """Keep the newest tick, and write it where the last writing is old enough."""
        for packet in packets:
            if packet.bridge and self._rig in (None, packet.rig):
                ticks = [frame for frame in packet.bridge if frame.why is None]
                self._tick = ticks[-1] if ticks else self._tick or packet.bridge[-1]
                # A change of state is dated by its grid tick, which is older than the clock's.
                self._newest = replace(self._tick, state=packet.bridge[-1].state)
        now = self._clock()
        if self._newest is not None and now >= self._written + 1 / MAX_PER_S:
            self._written = now
            self._write(self._newest)
            self._newest = None

    def abort(self) -> None:
        """Do nothing: the file is whole."""

    def stop(self) -> None:
        """Write the newest tick."""
        if self._newest is not None:
            self._write(self._newest)
            self._newest = None

    def _write(self, frame: BridgeFrame) -> None:
        shown = {"tick_ms": frame.tick_ms, "ts": frame.ts, "state": frame.state}
        try:
            if not self._ours:
                self._take()
            line = msgspec.json.encode(shown) + b"\n"
            write_whole(self._path, line, self._access, durable=False)
        except OSError as error:
            if not self._failed:
                print(f"lumen: bridge.state_file is not written: {error}", file=sys.stderr)
            self._failed = True

    def _take(self) -> None:
        """Make the folder; refuse a file that no run wrote."""
        self._path.parent.mkdir(mode=self._access.folder, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            if not read_own(self._path, MAX_BYTES).startswith(_BEGIN):
                raise FileExistsError(EEXIST, "no run wrote this file", str(self._path))
        self._ours = True


def state_file(config: Config) -> StateFile | None:
    """Return the state file of a run; None without one, or in a replay."""
    if config.bridge is None or config.bridge.state_file is None or not config.live:
        return None
    return StateFile(Path(config.bridge.state_file), ACCESS[config.output.mode])
