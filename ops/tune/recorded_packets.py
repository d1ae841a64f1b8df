"""The packets of a recording by a configuration whose streams it replaces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace as with_fields
from pathlib import Path

from msgspec.structs import replace

from configs.inputs import FileStream
from configs.schema import Config
from flows.fusion import stations
from flows.stations import Settings, StationLine
from operators.errors import ToolError
from operators.records import Packet
from sources.replay import RecordingsError, Replay, preflight


class TuneError(ToolError):
    """A recording or configuration without a choice of settings."""

    def lines(self) -> list[str]:
        """Return the line for standard error."""
        return [f"lumen tune: {self}"]


def packets(config: Config, recording: Path, last: str) -> Iterator[tuple[str, Packet]]:
    """Yield the packets of a recording as they leave a station, with their rigs.

    Clocks and lags are those of one pass, as in a live run; plan and lead are those of the
    configuration with its own streams.

    Parameters
    ----------
    config : Config
    recording : Path
        A file, or the folder of a tape.
    last : str
        Name of the station.

    Raises
    ------
    RecordingsError
        The recording cannot be read.
    StationError
        A bug in a station; it is named.
    """
    own = next((s for s in config.streams if isinstance(s, FileStream)), None)
    stream = own or FileStream(name="recording", path=str(recording))
    stream = replace(stream, path=str(recording), follow=False, speed=0.0)
    config = replace(config, mode="causal")
    output = replace(config.output, parts=1)
    recorded = replace(
        config, streams=[stream], exporter=None, tap=None, send=[], discovery=None, output=output
    )
    settings, taped = Settings.of(config), recorded.plan()
    plan = with_fields(
        settings.plan, files=taped.files, timetags=settings.plan.timetags | taped.timetags
    )
    settings = with_fields(settings, plan=plan, block_s=recorded.block_s())
    lines: dict[str, StationLine] = {}
    preflight(recorded)
    replay = Replay(recorded)
    try:
        part = replay.build_part("tune", replay.list_parts()[0], None)
    except (OSError, ValueError) as error:
        raise RecordingsError([str(error)]) from error
    try:
        while True:
            for rig, batch in part.next_batch():
                if rig not in lines:
                    line = StationLine(last)
                    lines[rig] = stations(line, line.add, settings)
                for packet in lines[rig].feed(batch):
                    yield rig, packet
    except StopIteration:
        return
    finally:
        part.close()
