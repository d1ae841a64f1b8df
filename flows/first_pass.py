"""The first pass over recordings: the stations up to the last learning one, in this process.

A run in mode `hindsight` reads its recordings twice. This pass feeds the replay partition to
`collect` ... `align`; if a gain or level is to be learnt, to `resample` and `scale` too. Packets
are dropped; the findings of learning stations are kept. They are written atomically to
`hindsight.msgpack` in `output.dir`. The hash of that file is part of the fingerprint that a
recovery store is bound to: a resumed run uses exactly the findings of its first start, and a
killed pass is repeated.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from configs.files import ACCESS, read_own, write_whole
from configs.load import Loaded
from configs.schema import Config, FileStream
from operators.align import Align
from operators.collect import Collect
from operators.drift import Drift
from operators.errors import LumenError
from operators.events import Batch
from operators.guard import Guard
from operators.hindsight import Hindsight, Learner, decode, encode
from operators.normalize import Normalize
from operators.records import Packet
from operators.resample import Resample
from operators.scale import Scale
from operators.snapshot import StateRefusedError
from operators.station import Core, updated
from operators.types import State
from sinks.files.folder import HINDSIGHT, Folder
from sinks.files.run_json import Digests
from sources import shutdown as stop
from sources.replay import Replay

STOPPED = "Stopped on request in the first of two passes: the same command begins anew."
_MAX_BYTES = 1 << 30
HEADINGS = ("pass 1 of 2", "pass 2 of 2")


class FirstPassError(LumenError):
    """A file of the first pass that cannot be read or written."""

    exit_code = 1


class FirstPassStoppedError(LumenError):
    """A stop that was requested during the first pass: no failure."""

    exit_code = 0

    def lines(self) -> list[str]:
        """Return the message as it is."""
        return [str(self)]


@dataclass
class _StationLine:
    """The stations of one rig, in order."""

    collect: Core[Batch]
    rest: dict[str, Core[Packet]]

    def feed(self, batch: Batch) -> None:
        """Run a batch through all stations."""
        packets = updated(self.collect, batch, "collect")
        for name, core in self.rest.items():
            packets = [made for packet in packets for made in updated(core, packet, name)]

    def shown(self) -> dict[str, State]:
        """Return the findings by station."""
        return {name: core.shown() for name, core in self.rest.items() if isinstance(core, Learner)}


def _line(config: Config) -> _StationLine:
    """Return the stations up to the last learning one."""
    plan = config.plan()
    rest: dict[str, Core[Packet]] = {
        "normalize": Normalize(plan),
        "drift": Drift(plan, learn=True),
        "guard": Guard(plan),
        "align": Align(plan, config.align, learn=True),
    }
    if any(plan.channel(m.channel).learnt for m in plan.members):
        rest["resample"] = Resample(plan, config.align.max_lag_s)
        rest["scale"] = Scale(plan)
    return _StationLine(Collect(plan, config.block_s()), rest)


def hindsight(loaded: Loaded, *, progress: bool, keep: bool) -> tuple[Hindsight, Loaded]:
    """Return the findings of the recordings as a whole, and the run's fingerprint bound to them.

    Parameters
    ----------
    loaded : Loaded
        A configuration in mode `hindsight`.
    progress : bool
        Report the progress of the pass on standard error.
    keep : bool
        Recovery is on: matching findings of an earlier start are reused. Else the pass runs.

    Returns
    -------
    Hindsight, Loaded
        The findings; the configuration under a fingerprint that includes theirs.

    Raises
    ------
    FirstPassStoppedError
        A stop was requested.
    FirstPassError
        A file cannot be read or written; it is named.
    FolderError
        The folder is in use or is not a run's.
    """
    config = loaded.config
    path = Path(config.output.dir, HINDSIGHT)
    recordings = _digests(config)
    data = _earlier(path, loaded.fingerprint, recordings) if keep else None
    if data is None:
        data = _run_pass(loaded, path, recordings, progress)
    bound = hashlib.sha256(loaded.fingerprint.encode() + hashlib.sha256(data).digest())
    found = decode(data, loaded.fingerprint, recordings)
    return found, replace(loaded, fingerprint=bound.hexdigest())


def _digests(config: Config) -> list[str | None]:
    digests = Digests()
    return [digests.of(s.path) for s in config.streams if isinstance(s, FileStream)]


def _earlier(path: Path, fingerprint: str, recordings: list[str | None]) -> bytes | None:
    """Return the file of an earlier start if it is complete and belongs to this run."""
    try:
        data = read_own(path, _MAX_BYTES)
        decode(data, fingerprint, recordings)
    except (OSError, StateRefusedError):
        return None
    return data


def _run_pass(loaded: Loaded, path: Path, recordings: list[str | None], progress: bool) -> bytes:
    """Run the pass and write its file, with the folder locked."""
    access = ACCESS[loaded.config.output.mode]
    folder = Folder(path.parent, access)
    folder.take(fresh=False)
    try:
        found = first_pass(loaded.config, progress)
        data = encode(found, loaded.fingerprint, recordings)
        write_whole(path, data, access)
    except OSError as error:
        raise FirstPassError(str(error)) from error
    finally:
        folder.release()
    return data


def first_pass(config: Config, progress: bool = False) -> Hindsight:
    """Run the recordings through the learning stations, to their end.

    Raises
    ------
    OSError
        A recording cannot be opened; it is named.
    StationError
        A bug in a station; it is named.
    FirstPassStoppedError
        A stop was requested.
    """
    lines: dict[str, _StationLine] = {}
    replay = Replay(config, progress, HEADINGS[0])
    part: Any = replay.build_part("first pass", replay.list_parts()[0], None)
    try:
        while True:
            if stop.requested():
                raise FirstPassStoppedError(STOPPED)
            for rig, batch in part.next_batch():
                lines.setdefault(rig, _line(config)).feed(batch)
    except StopIteration:
        return Hindsight({rig: line.shown() for rig, line in lines.items()})
    finally:
        part.close()
