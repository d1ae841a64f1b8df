"""The flow, killed at the point that the environment names: `LUMEN_KILL=<point> <n>`.

| point | the process dies |
|---|---|
| write | after the n-th batch has been written |
| torn | half-way through the n-th append |
| begin | before the n-th segment is begun, once it has been announced |
| snapshot | after the n-th snapshot of the output, before the store has it |
| end | after the n-th batch with the end of a rig has been written |
| first | after the n-th batch of the first of two passes |
| draft | half-way through the n-th writing of its findings |
| shown | after the n-th writing of its findings, before the second pass |
| make | at the n-th file, folder or name that the recovery store touches before the engine starts |
| made | while its database is being made, n thousandths of which are there |

At `full`, nothing dies: no file may have more than n bytes, as on a full disk.

`LUMEN_NOTES` names a file that holds, after each snapshot, how long each file of lines was.
"""

import json
import os
import resource
import signal
import sys
from collections import Counter
from pathlib import Path

from bytewax import recovery

from configs.files import write_whole
from flows import first_pass, fusion, store
from sinks.files.jsonl import Segments
from sinks.output import OutputPartition

POINT, _, NUMBER = os.environ.get("LUMEN_KILL", "none 0").partition(" ")
reached: Counter[str] = Counter()


def die_at(point: str) -> None:
    if is_reached(point):
        os.kill(os.getpid(), signal.SIGKILL)


def is_reached(point: str) -> bool:
    reached[point] += 1
    return point == POINT and reached[point] == int(NUMBER)


class FragileOutput(OutputPartition):
    def write_batch(self, values):
        super().write_batch(values)
        die_at("write")
        if any(packet.end for packet in values):
            die_at("end")

    def snapshot(self):
        state = super().snapshot()
        if notes := os.environ.get("LUMEN_NOTES"):
            root = self.files.folder.root
            sizes = {str(path): path.stat().st_size for path in root.rglob("*.jsonl")}
            draft = Path(notes + ".tmp")
            draft.write_text(json.dumps(sizes))
            draft.replace(notes)
        die_at("snapshot")
        return state


class FragileSegments(Segments):
    def _append(self, lines):
        if is_reached("torn"):
            with self.path.open("ab", buffering=0) as file:
                file.write(lines[: len(lines) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        super()._append(lines)

    def _begin(self, segment):
        announce = self.announce

        def announce_and_die(path):
            announce(path)
            die_at("begin")

        self.announce = announce_and_die
        super()._begin(segment)
        self.announce = announce


class FragileLine(first_pass.StationLine):
    def feed(self, batch):
        super().feed(batch)
        die_at("first")


def fragile_write(path, data, access):
    if is_reached("draft"):
        path.with_name(path.name + ".tmp").write_bytes(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write_whole(path, data, access)
    die_at("shown")


class FragileStore(store.Store):
    def _take(self):
        self.taking = True
        sys.addaudithook(self._touched)
        super()._take()
        self.taking = False

    def _touched(self, event, arguments):
        if self.taking and arguments and str(self.folder) in str(arguments[0]):
            die_at("make")

    def _make(self):
        if POINT == "made":
            init = recovery.init_db_dir

            def init_and_die(folder, count):
                init(folder, count)
                (part,) = folder.glob("part-*")
                os.truncate(part, part.stat().st_size * int(NUMBER) // 1000)
                os.kill(os.getpid(), signal.SIGKILL)

            recovery.init_db_dir = init_and_die
        super()._make()


def flow(config=None):
    from sinks import output
    from sinks.files import result_files

    if POINT == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(NUMBER), resource.RLIM_INFINITY))
    fusion.Store = FragileStore

    first_pass.StationLine, first_pass.write_whole = FragileLine, fragile_write
    output.OutputPartition, result_files.Segments = FragileOutput, FragileSegments
    return fusion.flow(config)
