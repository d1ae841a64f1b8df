"""The followers of a run's files, and how far each has read: one report a follower, by its name.

That of the history is `.lumen.taken`; its places are those of the database. That of a topic is
`.lumen.sent-...`: it holds the places themselves, and is on the disk before a line counts as sent.
"""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

import msgspec

from configs.connectors.kafka_out import KafkaDestination
from configs.files import PRIVATE, Access, read_own, write_whole
from configs.schema import Config
from sinks.files.progress import MAX_BYTES, STEMS, TAKEN, UNSOUND, FilePlace, taken_of

Places: TypeAlias = dict[str, dict[str, FilePlace]]
"""Place by rig and file."""
_REPORT = re.compile(r"\.lumen\.sent-[0-9a-f]{12}(\.lock|\.tmp)?")


class SentReport(msgspec.Struct):
    """How far runs have been sent to a topic, and the counts of the follower's process.

    Attributes
    ----------
    pid : int
        Of the follower.
    why : str
        Why no message is taken; empty while they are.
    runs : dict
        Places by run.
    messages, lost : int
        Acknowledged messages; lines that could not be sent.
    """

    pid: int
    why: str = ""
    runs: dict[str, Places] = {}
    messages: int = 0
    lost: int = 0

    def write(self, folder: Path, name: str, access: Access = PRIVATE) -> None:
        """Replace the report in an output folder; it is on the disk then."""
        write_whole(folder / name, msgspec.json.encode(self), access)


def sent_of(folder: Path, name: str) -> SentReport | None:
    """Return the report of a topic's follower; None where there is no sound one."""
    try:
        return msgspec.json.decode(read_own(folder / name, MAX_BYTES), type=SentReport)
    except UNSOUND:
        return None


def report_name(destination: KafkaDestination) -> str:
    """Return the name of the report of a destination."""
    text = f"{destination.name}\0{destination.topic}"
    return f".lumen.sent-{sha256(text.encode()).hexdigest()[:12]}"


def is_report(name: str) -> bool:
    """Whether a file of an output folder is a report of a topic's follower, or belongs to one."""
    return _REPORT.fullmatch(name) is not None


def readers_of(config: Config) -> dict[str, tuple[str, ...]]:
    """Return the files that each follower of a configuration reads, by the name of its report."""
    found: dict[str, tuple[str, ...]] = {}
    if config.store is not None:
        found[TAKEN] = STEMS
    for each in topics_of(config):
        found[report_name(each)] = each.stems
    return found


def topics_of(config: Config) -> list[KafkaDestination]:
    """Return the topics that results are sent to."""
    return [each for each in config.send if isinstance(each, KafkaDestination)]


def places_of(folder: Path, name: str, run: str) -> Places:
    """Return how far a follower has read a run, as far as it has reported."""
    if name == TAKEN:
        taken = taken_of(folder)
        return taken.places if taken is not None and taken.run == run else {}
    sent = sent_of(folder, name)
    return sent.runs.get(run, {}) if sent is not None else {}
