"""A flow that resumes on a copy of its recovery store, without ports, devices and messages.

    python -m ops.snapshots.rehearsal CONFIG RECOVERY OUT

The states are those of the run. Live streams have no senders: the host's clock alone moves the
ticks. Result files are stand-ins with holes up to the positions of the recovery store: no result of
the run is copied or touched. The process ends with its standard input.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace as replace_fields
from pathlib import Path

from msgspec.structs import replace

from configs.connectors.kafka import KafkaStream
from configs.connectors.mqtt import MqttStream
from configs.connectors.websocket import WebSocketStream
from configs.files import open_own
from configs.inputs import FileStream, MidiStream, OscStream, UreStream
from configs.load import Loaded, load
from configs.schema import Config, LiveStream, RecordedStream
from flows.store import parts_of, snapshots_of
from operators.errors import LumenError
from operators.snapshot import StateRefusedError, decode_state
from operators.types import State
from sinks.files.folder import HINDSIGHT, Folder, rig_folder
from sinks.files.jsonl import segment_path

NOWHERE = "127.0.0.1:0"
NO_DEVICE = "no device: a rehearsal"
NO_PAGE = "http://127.0.0.1:9/metrics"
NO_BROKER = "mqtt://127.0.0.1:9"
GROUP = "lumen-rehearsal"
SNAPSHOT_S = 1.0


def stand_in(config: Config, out: Path) -> Config:
    """Return a configuration that receives and sends nothing, with results in `out`."""
    streams: list[RecordedStream | LiveStream] = []
    for stream in config.streams:
        match stream:
            case OscStream():
                streams.append(replace(stream, addr=NOWHERE, interface=None))
            case MidiStream():
                streams.append(replace(stream, device=NO_DEVICE, virtual=False))
            case UreStream():
                streams.append(
                    replace(stream, metrics_url=NO_PAGE, basic_auth=None, bearer_token_file=None)
                )
            case MqttStream():
                streams.append(replace(stream, broker=NO_BROKER, basic_auth=None, ca_file=None))
            case WebSocketStream():
                streams.append(replace(stream, addr=NOWHERE, token_file=None))
            case KafkaStream():  # reads as a recording does, under the name of another group
                streams.append(replace(stream, group=GROUP))
            case FileStream():
                streams.append(stream)
    bridge = config.bridge and replace(config.bridge, exporter=None, state_file=None)
    return replace(
        config,
        streams=streams,
        bridge=bridge,
        exporter=None,
        tap=None,
        send=[],
        store=None,
        output=replace(config.output, dir=str(out)),
    )


def stand_in_files(loaded: Loaded, recovery: Path, out: Path) -> None:
    """Make the result files of a resumed run, with holes up to its positions.

    Raises
    ------
    StoreError
        The recovery store cannot be read.
    """
    sizes: dict[Path, int] = {}
    for state in _output_states(loaded.fingerprint, recovery):
        for rig, positions in state["files"].items():
            home = out if rig == state["home"] else out / rig_folder(rig)
            for stem, (segment, size) in positions.items():
                path = segment_path(home, stem, segment)
                sizes[path] = max(size, sizes.get(path, 0))
    folder = Folder(out)
    folder.take(fresh=True)
    try:
        folder.announce(sizes)
        for path, size in sizes.items():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            file = open_own(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            os.truncate(file, size)
            os.close(file)
    finally:
        folder.release()
    found = Path(loaded.config.output.dir) / HINDSIGHT
    if loaded.config.mode == "hindsight" and found.is_file():
        shutil.copyfile(found, out / HINDSIGHT)


def _output_states(fingerprint: str, recovery: Path) -> Iterator[State]:
    for part in parts_of(recovery):
        for step, data in snapshots_of(part):
            if step.rpartition(".")[2] == "sinks":
                with suppress(StateRefusedError):
                    yield decode_state(data, "output", fingerprint)


def has_ticked(out: Path) -> bool:
    """Whether a tick was written after the stand-ins."""
    for path in out.rglob("fused*.jsonl"):
        with suppress(OSError), path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            if file.read(1) == b"\n":
                return True
    return False


def _end_with_input() -> None:
    """End this process when its parent closes standard input, by its own end too."""
    while os.read(0, 1 << 16):  # a daemon thread may not wait within `sys.stdin`
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(arguments: list[str]) -> int:
    """Run the flow until standard input ends, or the data."""
    from configs.one_thread import one_thread

    one_thread()
    from flows.run import execute

    path, recovery, out = map(Path, arguments)
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        loaded = load(path)
        stand_in_files(loaded, recovery, out)
        rehearsed = replace_fields(loaded, config=stand_in(loaded.config, out))
        execute(rehearsed, recovery, SNAPSHOT_S, progress=False)
    except LumenError as error:
        print(*error.lines(), sep="\n", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
