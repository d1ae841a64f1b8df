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
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from configs.files import ACCESS, read_own, write_whole
from configs.inputs import FileStream
from configs.load import Loaded
from configs.schema import Config
from flows.stations import Settings, StationLine
from operators.errors import LumenError
from operators.hindsight import Hindsight, decode, encode
from operators.snapshot import StateRefusedError
from sinks.files.folder import HINDSIGHT, Folder
from sinks.files.run_json import Digests
from sources.host.shutdown import Shutdown
from sources.replay import Replay

STOPPED = "Stopped on request in the first of two passes: the same command begins anew."
_MAX_BYTES = 1 << 30
Stations = Callable[..., StationLine]
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


def _line(config: Config, stations: Stations) -> StationLine:
    """Return the stations up to the last one that learns."""
    settings = Settings.of(config)
    learns = any(settings.plan.channel(m.channel).learnt for m in settings.plan.members)
    line = StationLine(last="scale" if learns else "align")
    return stations(line, line.add, settings, learn=True)


def hindsight(
    loaded: Loaded, stations: Stations, shutdown: Shutdown, *, progress: bool, keep: bool
) -> tuple[Hindsight, Loaded]:
    """Return the findings of the recordings as a whole, and the run's fingerprint bound to them.

    Parameters
    ----------
    loaded : Loaded
        A configuration in mode `hindsight`.
    stations : callable
        `flows.fusion.stations`, which puts all stations behind one another.
    shutdown : Shutdown
        Of the run.
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
        data = _run_pass(loaded, stations, shutdown, path, recordings, progress)
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


def _run_pass(
    loaded: Loaded,
    stations: Stations,
    shutdown: Shutdown,
    path: Path,
    recordings: list[str | None],
    progress: bool,
) -> bytes:
    """Run the pass and write its file, with the folder locked."""
    access = ACCESS[loaded.config.output.mode]
    folder = Folder(path.parent, access)
    folder.take(fresh=False)
    try:
        found = first_pass(loaded.config, stations, shutdown, progress)
        data = encode(found, loaded.fingerprint, recordings)
        write_whole(path, data, access)
    except OSError as error:
        raise FirstPassError(str(error)) from error
    finally:
        folder.release()
    return data


def first_pass(
    config: Config, stations: Stations, shutdown: Shutdown, progress: bool = False
) -> Hindsight:
    """Run the recordings through the stations that learn, to their end.

    Raises
    ------
    OSError
        A recording cannot be opened; it is named.
    StationError
        A bug in a station; it is named.
    FirstPassStoppedError
        A stop was requested.
    """
    lines: dict[str, StationLine] = {}
    replay = Replay(config, progress, HEADINGS[0], shutdown=shutdown)
    part: Any = replay.build_part("first pass", replay.list_parts()[0], None)
    try:
        while True:
            if shutdown.requested():
                raise FirstPassStoppedError(STOPPED)
            for rig, batch in part.next_batch():
                if rig not in lines:
                    lines[rig] = _line(config, stations)
                lines[rig].feed(batch)
    except StopIteration:
        return Hindsight({rig: line.shown() for rig, line in lines.items()})
    finally:
        part.close()
