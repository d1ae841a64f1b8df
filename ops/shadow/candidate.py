"""A candidate: a configuration on a tape or on recordings, with an output folder of its own.

    python -m ops.shadow.candidate CONFIG --tape PATH ... --out DIR [--follow] [--block RULE]

Plan and rules are those of the configuration with its own streams, so that its bytes are those of
a live run of it. It sends nothing, serves nothing and writes no tape. A tape that still grows is
followed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace as with_fields
from pathlib import Path

from msgspec.structs import replace

from configs.inert import guard
from configs.inputs import FileStream
from configs.load import Loaded, load
from configs.one_thread import one_thread
from configs.schema import Config
from flows.fusion import stations
from flows.stations import Settings, StationLine
from operators.collect import BlockRule
from operators.errors import LumenError, ToolError
from sinks.output import Output
from sources.host.shutdown import Shutdown
from sources.host.signal_shutdown import SignalShutdown
from sources.replay import RecordingsError, Replay, preflight, rigs_of

KEEP_S = 10.0
"""Interval at which old segments are removed (s)."""
ROTATE_MB, KEEP = 64.0, 8


class ShadowError(ToolError):
    """A shadow that cannot be run, or that has ended early."""


def recorded(
    config: Config, tapes: Sequence[Path], out: Path, *, follow: bool, block: BlockRule | None
) -> Config:
    """Return a configuration with recordings in place of its streams, and files alone as outputs.

    Raises
    ------
    ShadowError
        The configuration has two passes.
    """
    if config.mode != "causal":
        raise ShadowError("mode 'hindsight' has no shadow: its first pass needs the whole input")
    own = [s for s in config.streams if isinstance(s, FileStream)]
    streams = []
    for i, path in enumerate(tapes):
        stream = own[i] if i < len(own) else FileStream(name=f"tape_{i}", path="")
        streams.append(replace(stream, path=str(path), speed=0.0, follow=follow))
    output = replace(config.output, dir=str(out), parts=1)
    if follow:
        output = replace(output, rotate_mb=ROTATE_MB, keep=KEEP)
    made = replace(
        config,
        streams=list(streams),
        exporter=None,
        tap=None,
        send=[],
        store=None,
        discovery=None,
        output=output,
    )
    return made if block is None else replace(made, collect=replace(made.collect, block_s=block))


def run(loaded: Loaded, recorded: Config, shutdown: Shutdown) -> None:
    """Run a candidate to the end of its input, or to a stop.

    Raises
    ------
    RecordingsError
        A recording cannot be read.
    FolderError
        The output folder cannot be used.
    StationError
        A bug in a station; it is named.
    """
    settings, taped = Settings.of(loaded.config, loaded.rules), recorded.plan()
    plan = with_fields(
        settings.plan, files=taped.files, timetags=settings.plan.timetags | taped.timetags
    )
    settings = with_fields(settings, plan=plan, block_s=recorded.block_s())
    preflight(recorded)
    replay = Replay(recorded, shutdown=shutdown)
    try:
        source = replay.build_part("candidate", replay.list_parts()[0], None)
    except (OSError, ValueError) as error:
        raise RecordingsError([str(error)]) from error
    output = Output(recorded, rigs_of(recorded), loaded.path, loaded.fingerprint, keep=False)
    part = output.build_part("candidate", output.list_parts()[0], None)
    lines: dict[str, StationLine] = {}
    due = time.monotonic() + KEEP_S
    try:
        while True:
            for rig, batch in source.next_batch():
                if rig not in lines:
                    line = StationLine()
                    lines[rig] = stations(line, line.add, settings)
                part.write_batch(lines[rig].feed(batch))
            if time.monotonic() > due:
                part.snapshot()
                due = time.monotonic() + KEEP_S
    except StopIteration:
        pass
    finally:
        source.close()
        part.close()


def command(
    config: Path,
    tapes: Sequence[Path],
    out: Path,
    *,
    follow: bool = False,
    block: BlockRule | None = None,
) -> list[str]:
    """Return the command of a candidate."""
    made = [sys.executable, "-m", "ops.shadow.candidate", str(config), "--out", str(out)]
    made += [part for tape in tapes for part in ("--tape", str(tape))]
    made += ["--follow"] if follow else []
    return made if block is None else [*made, "--block", str(block)]


def _block(text: str) -> BlockRule:
    return "density" if text == "density" else float(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a candidate; the exit code is that of its error."""
    one_thread()
    guard()
    parser = argparse.ArgumentParser(prog="python -m ops.shadow.candidate", description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--tape", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--follow", action="store_true")
    parser.add_argument("--block", type=_block)
    args = parser.parse_args(argv)
    with SignalShutdown() as shutdown:
        try:
            loaded = load(args.config)
            made = recorded(
                loaded.config, args.tape, args.out, follow=args.follow, block=args.block
            )
            run(loaded, made, shutdown)
        except LumenError as error:
            print(*error.lines(), sep="\n", file=sys.stderr)
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
