"""The candidate against itself: two processes over the first minute of the input.

A candidate whose two runs differ cannot be judged: any difference from the running flow could be
its own. Recordings without lines (XDF, delimited text) are used whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from configs.inputs import is_delimited
from operators.collect import BlockRule
from ops.results.folder import rig_folders
from ops.shadow.candidate import ShadowError, command
from sinks.files.jsonl import segments_of
from sources.opening import lines_of, open_recording
from sources.recordings.recording import ColumnPiece, Piece, is_xdf

FIRST_S = 60.0
"""Length of the compared beginning (s of arrival)."""
MIN_BEYOND = 10
"""Lines running beyond it that end it; a single wild stamp does not."""
LOOK_S = 0.05


class _ComparedStamps(msgspec.Struct):
    rx: float | None = None


class _ComparedLine(msgspec.Struct):
    ts: float | None = None
    tick: float | None = None
    rx: float | None = None
    meta: _ComparedStamps | None = None

    def arrival(self) -> float | None:
        """Return the arrival (s): that of an event, a host tick or a command."""
        stamped = self.rx if self.meta is None else self.meta.rx
        return next((x for x in (stamped, self.tick, self.ts) if x is not None), None)


def first_lines(
    path: Path, seconds: float, *, follow: bool, wait: Callable[[float], object]
) -> Iterator[bytes]:
    """Yield the lines of the first `seconds` of a recording or tape (by arrival).

    Parameters
    ----------
    path : Path
    seconds : float
    follow : bool
        The tape still grows: it is waited for.
    wait : callable
        Waits for a time (s); returns whether to stop.
    """
    decode = msgspec.json.Decoder(_ComparedLine).decode
    end, beyond = None, 0
    with closing(open_recording(str(path), follow)) as recording:
        while not recording.ended:
            pieces = recording.read()
            if recording.idle and wait(LOOK_S):
                return
            for piece in pieces:
                if not isinstance(piece, Piece | ColumnPiece):
                    raise ShadowError(f"{path}: a recording without lines")
                data = piece.data if isinstance(piece, Piece) else lines_of(piece)
                for line in data.splitlines(keepends=True):
                    yield line
                    try:
                        arrival = decode(line).arrival()
                    except msgspec.DecodeError:
                        continue
                    if arrival is None:
                        continue
                    end = arrival + seconds if end is None else end
                    beyond = beyond + 1 if arrival > end else 0
                    if beyond == MIN_BEYOND:
                        return


def same_twice(
    config: Path,
    tapes: Sequence[Path],
    folder: Path,
    *,
    follow: bool,
    block: BlockRule | None,
    wait: Callable[[float], object],
) -> bool:
    """Whether two runs of a candidate give the same ticks.

    Parameters
    ----------
    config, tapes, follow, block
        As of `command`.
    folder : Path
        For the results, which are removed again.
    wait : callable
        Waits for a time (s); returns whether to stop.

    Raises
    ------
    ShadowError
        A run failed; the end of its messages is in the text.
    """
    cut: list[Path] = []
    check = folder / "check"
    shutil.rmtree(check, ignore_errors=True)
    check.mkdir()
    for i, tape in enumerate(tapes):
        whole = is_xdf(str(tape)) or is_delimited(str(tape))
        cut.append(tape if whole else check / f"first_{i}.ndjson")
        if not whole:
            with cut[-1].open("wb") as file:
                file.writelines(first_lines(tape, FIRST_S, follow=follow, wait=wait))
    outs = [check / str(i) for i in range(2)]
    # Another order of sets and hashes in each process.
    runs = [
        subprocess.Popen(
            command(config, cut, out, block=block),
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            stderr=subprocess.PIPE,
        )
        for seed, out in enumerate(outs, 1)
    ]
    failed = [(run.communicate()[1], run.returncode) for run in runs]
    for text, code in failed:
        if code:
            raise ShadowError(f"the candidate failed: {text.decode(errors='replace')[-2000:]}")
    found = [_digest(out) for out in outs]
    shutil.rmtree(check)
    return found[0] == found[1]


def _digest(out: Path) -> str:
    """Return the SHA-256 of the ticks of all rigs."""
    digest = hashlib.sha256()
    for folder in rig_folders(out):
        for _, path in segments_of(folder, "fused"):
            digest.update(f"{folder.name}/{path.name}\n".encode() if folder != out else b"")
            digest.update(path.read_bytes())
    return digest.hexdigest()
