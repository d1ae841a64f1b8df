"""CPU seconds of the parts of a replay: reading alone, writing alone, and each station.

`python -m ops.bench.floor CONFIG`: runs a configuration in this process, without the engine, and
prints one JSON object of CPU seconds. `throughput` runs it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from configs.inputs import FileStream
from configs.load import load
from configs.schema import Config
from flows.pipeline import STATIONS
from operators.records import Packet
from ops.bench.chain import TimedPipeline
from sinks.files.encode import packet_lines
from sinks.output import Output
from sources.ndjson import Decoder
from sources.recordings.recording import READ
from sources.replay import Replay, rigs_of
from sources.rows.names import Names

_KEPT = 50
"""Number of packets whose lines are written again; it bounds the memory."""


def decode(config: Config) -> float:
    """Return the CPU time of decoding the recordings (s)."""
    begin = time.process_time()
    for stream in config.streams:
        if isinstance(stream, FileStream):
            decoder, names = Decoder(stream.path), Names(config.rig)
            with Path(stream.path).open("rb") as file:
                offset = 0
                while block := file.read(READ):
                    block += file.readline()
                    decoder.decode(block, offset, names)
                    offset += len(block)
    return time.process_time() - begin


def write(packets: list[Packet], out: Path, ticks: int) -> float:
    """Return the CPU time of writing a number of ticks like those of the packets (s)."""
    begin, written = time.process_time(), 0
    with out.open("wb", buffering=0) as file:
        while written < ticks:
            for packet in packets:
                for _, lines in packet_lines(packet):
                    file.write(lines)
                written += len(packet.fused) if packet.fused is not None else 0
    return time.process_time() - begin


def stations(config: Config, out: Output) -> tuple[dict[str, float], list[Packet], int]:
    """Return the CPU time of each station (s), the last packets, and the number of ticks."""
    now, ticks = time.process_time, 0
    source = Replay(config).build_part("receive", "replay", None)
    sink = out.build_part("sinks", "out", None)
    chain = TimedPipeline(config)
    kept: list[Packet] = []
    receive_s = sinks_s = 0.0
    while True:
        begin = now()
        try:
            items = source.next_batch()
        except StopIteration:
            break
        receive_s += now() - begin
        for packet in chain.run(batch for _, batch in items):
            begin = now()
            sink.write_batch([packet])
            sinks_s += now() - begin
            ticks += len(packet.fused) if packet.fused is not None else 0
            kept = [*kept[1 - _KEPT :], packet]
    begin = now()
    sink.close()
    sinks_s += now() - begin
    source.close()
    taken = dict(zip(STATIONS, chain.cpu_s, strict=True))
    return {"receive": receive_s, **taken, "sinks": sinks_s}, kept, ticks


def main() -> None:
    """Run the command line."""
    loaded = load(sys.argv[1])
    config = loaded.config
    output = Output(config, rigs_of(config), loaded.path, loaded.fingerprint, keep=False)
    taken, kept, ticks = stations(config, output)
    scratch = Path(config.output.dir) / "floor.tmp"
    written = write(kept, scratch, ticks)
    scratch.unlink()
    print(json.dumps({"decode": decode(config), "write": written, "stations": taken}))


if __name__ == "__main__":
    main()
