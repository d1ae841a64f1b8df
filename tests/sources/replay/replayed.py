"""Replays of small recordings, and their rows."""

import json
import struct

import msgspec

from configs.schema import Config
from operators.events import Batch
from sources.replay import Replay
from sources.replay.replay import ReplayPartition

OPENED = []


def close_all():
    while OPENED:
        OPENED.pop().close()


def config(*paths, rig="studio", max_rigs=64, **stream):
    return msgspec.convert(
        {
            "version": 2,
            "rig": rig,
            "max_rigs": max_rigs,
            "streams": [
                {"name": f"f{i}", "type": "file", "path": str(p)} | stream
                for i, p in enumerate(paths)
            ],
            "signals": {"pulse": {"members": {"a:x": {}}}},
        },
        Config,
    )


def event(rx, value=0.5, source="a", **more):
    meta = {"meta": {"rx": rx}} if rx is not None else {}
    return json.dumps({"ts": rx or 0.0, "source": source, "key": "x", "value": value} | meta | more)


def write(path, lines):
    path.write_text("".join(f"{x}\n" for x in lines))
    return path


class Seen:
    """The rows of each rig, with names resolved and rejects at their place among all rows."""

    def __init__(self):
        self.rows, self.rejects, self.texts, self.ended = {}, {}, {}, []
        self.controls = {}

    def take(self, items):
        for rig, b in items:
            assert isinstance(b, Batch)
            assert b.rig == rig
            assert rig not in self.ended
            rows = self.rows.setdefault(rig, [])
            at = len(rows)
            rejects, texts = self.rejects.setdefault(rig, []), self.texts.setdefault(rig, [])
            rejects += [(at + r.row, r.reason, r.source, r.where, r.sample) for r in b.rejects]
            texts += [(at + m.row, m.text) for m in b.markers]
            controls = self.controls.setdefault(rig, [])
            controls += [(at + c.row, c.command, c.by) for c in b.controls]
            names = [b.names[n] if n >= 0 else None for n in b.name.tolist()]
            columns = (b.ts, b.rx, b.value)
            times = [[struct.pack("<d", v) for v in c.tolist()] for c in columns]
            flags = (b.stamped.tolist(), b.wild.tolist(), b.seq.tolist(), b.line.tolist())
            rows += zip(names, *times, *flags, strict=True)
            if b.end:
                self.ended.append(rig)

    def everything(self):
        return self.rows, self.rejects, self.texts, self.controls, sorted(self.ended)

    def arrivals(self, rig="studio"):
        return [struct.unpack("<d", r[2])[0] for r in self.rows[rig]]

    def wild(self, rig="studio"):
        return [r[5] for r in self.rows[rig]]

    def sources(self, rig="studio"):
        return [r[0][0] for r in self.rows[rig]]


def part(cfg, state=None, progress=False, recovering=False, shutdown=None) -> ReplayPartition:
    source = Replay(cfg, progress, recovering=recovering, shutdown=shutdown)
    opened = source.build_part("receive", "replay", state)
    OPENED.append(opened)
    return opened


def replay(cfg, resume_every=None):
    """Run to the end; with `resume_every`, from a new partition after so many batches."""
    seen, source, batches = Seen(), part(cfg), 0
    while True:
        try:
            seen.take(source.next_batch())
        except StopIteration:
            return seen
        batches += 1
        if resume_every and batches % resume_every == 0:
            state = source.snapshot()
            assert isinstance(state, bytes)
            source = part(cfg, state)
