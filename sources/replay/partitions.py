"""Deal of recordings to partitions of the source, so that several processes share the reading.

A rig's rows lie in one partition: the order of two partitions is not determined. Recordings are
dealt only where the first 1 MiB of each shows rigs that no other recording has. A rig that appears
in two partitions later ends the run (`SharedRigError` of `collect`).
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import msgspec

from configs.inputs import FileStream
from configs.schema import Config
from sources.replay.heads import rigs_in

MAX_PARTITIONS = 64
"""Each holds two blocks of each of its files in memory; further files are dealt in turn."""


class Partition(NamedTuple):
    """Recordings that one partition reads.

    Attributes
    ----------
    name : str
        Never a path: a store refers to it.
    config : Config
        The run's, with the streams of this partition.
    home : str
        Rig of undecodable lines.
    """

    name: str
    config: Config
    home: str


def deal(config: Config) -> tuple[tuple[Partition, ...], str]:
    """Return the partitions, and the reason why all recordings are in one, if there is any.

    The deal depends on the configuration and on the recordings, not on the processes.
    """
    one = (Partition("replay", config, config.rig),)
    streams = [s for s in config.streams if isinstance(s, FileStream)]
    if config.output.parts == 1 or len(streams) == 1:
        return one, ""
    rigs = [rigs_in(s.path, config.rig) for s in streams]
    for (first, own), (second, others) in combinations(zip(streams, rigs, strict=True), 2):
        if shared := set(own) & set(others):
            return one, f"rig {min(shared)!r} is in {first.path} and in {second.path}"
    for stream, own in zip(streams, rigs, strict=True):
        if not own:
            return one, f"{stream.path}: no rig in its first 1 MiB"
    count = min(len(streams), MAX_PARTITIONS)
    dealt = []
    for number in range(count):
        part = msgspec.structs.replace(config, streams=list(streams[number::count]))
        shown = [rig for each in rigs[number::count] for rig in each]
        home = config.rig if config.rig in shown else shown[0]
        dealt.append(Partition(f"replay-{number:02d}", part, home))
    return tuple(dealt), ""
