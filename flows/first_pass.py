"""The first pass over recordings: the stations up to the last that learns, in this process.

A run in mode `hindsight` reads its recordings twice. This pass feeds the partition of the replay
to `collect` ... `align`, where a gain or level is to be learnt to `resample` and `scale` too,
drops their packets, and keeps the findings of the stations that have any. They lie in
`hindsight.msgpack` in `output.dir`, written whole or not at all. Its hash is part of the
fingerprint that a recovery store is bound to: a resumed run goes on with the very findings that
it began with, and a pass that was cut short by a kill is made anew.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from configs.files import ACCESS, read_own, write_whole
from configs.load import Loaded
from configs.schema import Config, FileStream
from flows.stations import Settings, StationLine
from operators.hindsight import Hindsight, decode, encode
from operators.snapshot import StateRefusedError
from sinks.files.folder import HINDSIGHT, Folder, FolderError
from sinks.files.run_json import Digests
from sources import shutdown as stop
from sources.replay import Replay

STOPPED = "Stopped on request in the first of two passes: the same command begins anew."
_MAX_BYTES = 1 << 30
Stations = Callable[..., StationLine]
HEADINGS = ("pass 1 of 2", "pass 2 of 2")


def _line(config: Config, stations: Stations) -> StationLine:
    """Return the stations up to the last one that learns."""
    settings = Settings.of(config)
    learns = any(settings.plan.channel(m.channel).learnt for m in settings.plan.members)
    line = StationLine(last="scale" if learns else "align")
    return stations(line, line.add, settings, learn=True)


def hindsight(
    loaded: Loaded, stations: Stations, *, progress: bool, keep: bool
) -> tuple[Hindsight, Loaded]:
    """Return the findings of the recordings as a whole, and the run's fingerprint bound to them.

    Parameters
    ----------
    loaded : Loaded
        A configuration in mode `hindsight`.
    stations : callable
        `flows.fusion.stations`, which puts all stations behind one another.
    progress : bool
        Report on standard error how far the pass is.
    keep : bool
        Recovery is on: findings of an earlier start that fit are taken. Else the pass is made.

    Returns
    -------
    Hindsight, Loaded
        The findings; the configuration under a fingerprint that includes theirs.

    Raises
    ------
    SystemExit
        Code 0: a stop was requested. Code 1: a file cannot be read or written; it is named.
        Code 2: the folder is in use or is not a run's.
    """
    config = loaded.config
    path = Path(config.output.dir, HINDSIGHT)
    recordings = _digests(config)
    data = _earlier(path, loaded.fingerprint, recordings) if keep else None
    if data is None:
        data = _made(loaded, stations, path, recordings, progress)
    bound = hashlib.sha256(loaded.fingerprint.encode() + hashlib.sha256(data).digest())
    found = decode(data, loaded.fingerprint, recordings)
    return found, replace(loaded, fingerprint=bound.hexdigest())


def _digests(config: Config) -> list[str | None]:
    digests = Digests()
    return [digests.of(s.path) for s in config.streams if isinstance(s, FileStream)]


def _earlier(path: Path, fingerprint: str, recordings: list[str | None]) -> bytes | None:
    """Return the file of an earlier start if it is whole and of this run."""
    try:
        data = read_own(path, _MAX_BYTES)
        decode(data, fingerprint, recordings)
    except (OSError, StateRefusedError):
        return None
    return data


def _made(
    loaded: Loaded,
    stations: Stations,
    path: Path,
    recordings: list[str | None],
    progress: bool,
) -> bytes:
    """Make the pass and its file, the folder locked meanwhile."""
    access = ACCESS[loaded.config.output.mode]
    folder = Folder(path.parent, access)
    try:
        folder.take(fresh=False)
    except FolderError as error:
        print(f"lumen: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    try:
        found = first_pass(loaded.config, stations, progress)
        data = encode(found, loaded.fingerprint, recordings)
        write_whole(path, data, access)
    except OSError as error:
        print(f"lumen: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    finally:
        folder.release()
    return data


def first_pass(config: Config, stations: Stations, progress: bool = False) -> Hindsight:
    """Run the recordings through the stations that learn, to their end.

    Raises
    ------
    OSError
        A recording cannot be opened; it is named.
    StationError
        A bug in a station; it is named.
    SystemExit
        Code 0: a stop was requested.
    """
    lines: dict[str, StationLine] = {}
    replay = Replay(config, progress, HEADINGS[0])
    part: Any = replay.build_part("first pass", replay.list_parts()[0], None)
    try:
        while True:
            if stop.requested():
                print(STOPPED, file=sys.stderr)
                raise SystemExit(0)
            for rig, batch in part.next_batch():
                if rig not in lines:
                    lines[rig] = _line(config, stations)
                lines[rig].feed(batch)
    except StopIteration:
        return Hindsight({rig: line.shown() for rig, line in lines.items()})
    finally:
        part.close()
