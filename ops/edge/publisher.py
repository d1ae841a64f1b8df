"""Sends the tapes of `lumen record` to a topic: a thread that follows what is on the disk.

The tape is the truth. While no broker answers it grows, and its lines are sent from their place
later, in another process too: tapes that an earlier process left unsent go first. A message that
was sent before a kill and not noted is sent again, with the same place and bytes.

Cost: about 4 us a line. State: the messages that are not acknowledged, at most 32 MiB.
Losses: lines of segments that `tap.keep` deleted before they were sent, and blocks over the limit
of the broker; both are counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from math import inf
from pathlib import Path

from configs.files import PRIVATE, Access
from configs.inert import inert
from configs.kafka_cluster import TapTopic
from operators.errors import ToolError
from operators.rig_partition import partition_of
from ops.edge.blocks import BlockCutter, BlockGroup, TopicBlock
from ops.edge.sent_place import SentPlace, begun, place_of, place_path, save
from ops.edge.tape_lines import TapeLines, next_segment
from sinks.kafka.producer import STUCK_S, ClusterAwayError, Headers, TopicProducer
from sources.tape.reader import read_manifest
from sources.tape.writer import tapes_in

PATIENCE_S = 10.0
"""After the end of the tape, a cluster that takes nothing is waited for so long."""
_LOOK_S = 0.05
_SAVE_S = _GONE_S = 1.0
_SILENT_S = 2.0
"""Without an acknowledgement for so long, the cluster is reported as away."""
_ANSWER_S = 3.0
_RETRY_S = (0.5, 5.0)


class _EndedError(ToolError):
    """The rest is left for the next process."""


class _GapError(ToolError):
    """The segment that is to be read was deleted."""


@dataclass
class _Sent:
    """A group on its way."""

    group: BlockGroup
    waiting: int
    lost: int = 0


class Publisher:
    """Sends the tapes of one folder.

    Parameters
    ----------
    target : TapTopic
    tape : Path
        The tape that is written now; no event is on it yet.
    show : callable
        Gets each line for the user.
    access : Access
        Rights of the place files.

    Attributes
    ----------
    lines, messages, lost : int
        Acknowledged by this process; lines that could not be sent.

    Raises
    ------
    SecurityFileError
        The security file cannot be used.
    """

    def __init__(
        self,
        target: TapTopic,
        tape: Path,
        show: Callable[[str], object],
        access: Access = PRIVATE,
    ) -> None:
        self._target, self._tape, self._show, self._access = target, tape, show, access
        self.lines = self.messages = self.lost = 0
        self._places = dict(self._unsent())
        self._places[tape] = begun(tape, target.topic, access)
        self._producer: TopicProducer | None = self._new_producer()
        self._count: int | None = None
        self._final = threading.Event()
        self._sent: deque[_Sent] = deque()
        self._answered_at = self._opened_at = time.monotonic()
        self._saved_at = self._looked_at = -inf
        self._why = ""
        self._thread = threading.Thread(target=self._run, name="kafka", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def finish(self) -> None:
        """Send the rest of the tape, which has ended; leave it while no broker takes it."""
        self._answered_at = time.monotonic()
        self._final.set()
        self._thread.join()

    def summary(self) -> str:
        """Return the counts as a line."""
        waiting = self.waiting()
        counts = [f"{self.lines} lines in {self.messages} messages sent"]
        counts += [f"{self.lost} lost"] if self.lost else []
        counts += ["an unknown number waits" if waiting is None else f"{waiting} wait"]
        return f"{self._target.topic}: {', '.join(counts)}"

    def waiting(self) -> int | None:
        """Return the number of lines that are not acknowledged; None where it is unknown."""
        total = 0
        for folder, place in self._places.items():
            if place.complete:
                continue
            try:
                counts = [segment.lines for segment in read_manifest(folder).segments]
            except ValueError:
                return None
            if None in counts:
                return None
            total += sum(count or 0 for count in counts) - place.lines
        return total

    def _unsent(self) -> Iterable[tuple[Path, SentPlace]]:
        """Yield the earlier tapes that are not sent to their ends, the oldest first."""
        for folder in tapes_in(self._tape.parent):
            place = place_of(folder, self._target.topic)
            if place is not None and not place.complete and folder != self._tape:
                yield folder, place
            elif place is None and place_path(folder, self._target.topic).exists():
                path = place_path(folder, self._target.topic)
                self._show(f"kafka: {path}: cannot be read: this tape is not sent")

    def _new_producer(self) -> TopicProducer:
        target = self._target
        file = target.security.file if target.security else None
        return TopicProducer(target.brokers, target.topic, file, "lumen-edge")

    def _run(self) -> None:
        """Send one tape after the other."""
        try:
            for folder, place in self._places.items():
                if folder != self._tape:
                    self._show(f"kafka: the rest of {folder} is sent first")
                self._send_tape(folder, place)
        except _EndedError:
            self._show(f"kafka: {self._target.topic}: the rest is left for the next process")
        finally:
            if self._producer is not None:
                self._producer.close()

    def _send_tape(self, folder: Path, place: SentPlace) -> None:
        """Send a tape to its end, with a new producer after each error that breaks one."""
        pause_s = _RETRY_S[0]
        while True:
            at = place.place
            try:
                self._pass(folder, place)
            except ClusterAwayError as error:
                self._away(str(error))
                pause_s = _RETRY_S[0] if place.place > at else min(2 * pause_s, _RETRY_S[1])
                self._break_off()
                self._wait(pause_s)
            except _GapError:
                if not self._skip(folder, place):
                    return
            except (OSError, ValueError) as error:
                self._show(f"kafka: {inert(str(error))}: the rest of this tape is not sent")
                return
            else:
                return
            finally:
                self._save(folder, place)

    def _pass(self, folder: Path, place: SentPlace) -> None:
        """Send a tape from its place to its end.

        Raises
        ------
        ClusterAwayError, _GapError, _EndedError, OSError, ValueError
        """
        growing = folder == self._tape
        producer, count = self._connected(place)
        partition = cache(lambda rig: partition_of(rig, count))
        cutter = BlockCutter(read_manifest(folder).rig)
        try:
            lines = TapeLines(folder, place.place, growing)
        except FileNotFoundError:
            raise _GapError from None
        read_to = place.place
        try:
            while not lines.ended or self._sent:
                ended = lines.ended
                for offset, data in [] if ended else lines.read():
                    read_to = offset + len(data)
                    for group in cutter.cut(data, offset):
                        self._put(producer, place, group, partition)
                if lines.ended and not ended and (rest := cutter.rest()):
                    self._put(producer, place, rest, partition)
                if not lines.ended and growing and lines.idle:
                    if self._final.is_set():
                        lines.finish()
                        continue
                    if self._is_gone(folder, read_to):
                        while self._sent:
                            self._advance(producer, place, _LOOK_S)
                        raise _GapError
                self._advance(producer, place, _LOOK_S if lines.idle or lines.ended else 0.0)
                if time.monotonic() - self._saved_at >= _SAVE_S:
                    self._save(folder, place)
        finally:
            lines.close()
        place.complete = True

    def _connected(self, place: SentPlace) -> tuple[TopicProducer, int]:
        """Return a producer, and the number of partitions of the topic."""
        if self._producer is None:
            self._producer = self._new_producer()
        self._opened_at = time.monotonic()
        if self._count is None:
            self._count = self._producer.partitions(_ANSWER_S)
        if place.partitions not in (None, self._count):
            before, name = place.partitions, self._target.topic
            self._show(f"kafka: {name} has {self._count} partitions, not {before}: rigs move")
        place.partitions = self._count
        return self._producer, self._count

    def _put(
        self,
        producer: TopicProducer,
        place: SentPlace,
        group: BlockGroup,
        partition: Callable[[str], int],
    ) -> None:
        """Send the blocks of a group, waiting while too many messages do."""
        sent = _Sent(group, len(group.blocks))
        self._sent.append(sent)
        for block in group.blocks:
            headers: Headers = [("tape", place.tape), ("place", str(block.place))]
            done = self._delivered(sent, block)
            key, number = block.rig.encode(), partition(block.rig)
            while not producer.send(block.value, key, number, headers, done):
                self._advance(producer, place, _LOOK_S)

    def _delivered(self, sent: _Sent, block: TopicBlock) -> Callable[[str], None]:
        def note(why: str) -> None:
            sent.waiting -= 1
            if not why:
                self.messages += 1
                return
            if not self.lost:
                self._show(f"kafka: {self._target.topic}: a block of {block.rig} is lost: {why}")
            sent.lost += block.lines
            self.lost += block.lines

        return note

    def _advance(self, producer: TopicProducer, place: SentPlace, wait_s: float) -> None:
        """Take acknowledgements, and move the place behind the groups that are complete."""
        producer.poll(wait_s)
        now = time.monotonic()
        moved = False
        while self._sent and not self._sent[0].waiting:
            sent = self._sent.popleft()
            place.place, moved = sent.group.end, True
            place.lines += sent.group.lines
            place.lost += sent.lost
            self.lines += sent.group.lines - sent.lost
        if moved or not self._sent:
            self._answered_at = now
            if moved and self._why:
                self._why = ""
                self._show(f"kafka: {self._target.topic}: messages are taken again")
        elif now - self._answered_at >= _SILENT_S:
            self._away(producer.why or "no acknowledgement")
            self._check_patience()
            if now - max(self._answered_at, self._opened_at) >= STUCK_S:
                raise ClusterAwayError(self._why)  # its topic may be another one now

    def _break_off(self) -> None:
        """Give up the messages on their way: they are sent again from the place."""
        self._sent.clear()
        self._count = None
        if self._producer is not None:
            self._producer.close()
            self._producer = None

    def _away(self, why: str) -> None:
        """Report that the cluster takes nothing, once."""
        if not self._why:
            self._why = why
            name = self._target.topic
            self._show(f"kafka: {name}: not sent now, the tape goes on: {inert(why)}")

    def _wait(self, pause_s: float) -> None:
        self._check_patience()
        self._final.wait(pause_s)
        if self._final.is_set():
            time.sleep(min(pause_s, 0.2))

    def _check_patience(self) -> None:
        if self._final.is_set() and time.monotonic() - self._answered_at > PATIENCE_S:
            raise _EndedError

    def _skip(self, folder: Path, place: SentPlace) -> bool:
        """Go on behind deleted segments, and count their lines; return whether others are left."""
        segment, before = next_segment(folder, place.place)
        if segment is None:
            self._show(f"kafka: {folder}: the rest of this tape was deleted before it was sent")
            return False
        lost = None if before is None else before - place.lines
        many = "an unknown number of" if lost is None else str(lost)
        self._show(f"kafka: {folder}: {many} lines were deleted by tap.keep before they were sent")
        place.place = segment.begin
        place.lines += lost or 0
        place.lost += lost or 0
        self.lost += lost or 0
        return True

    def _save(self, folder: Path, place: SentPlace) -> None:
        self._saved_at = time.monotonic()
        with suppress(OSError):  # written again later
            save(folder, place, self._access)

    def _is_gone(self, folder: Path, place: int) -> bool:
        """Whether the segment at a place was deleted before it was read; looks once a second."""
        now = time.monotonic()
        if now - self._looked_at < _GONE_S:
            return False
        self._looked_at = now
        for _ in range(2):  # a segment that is being packed changes its name between two looks
            segment, _ = next_segment(folder, place)
            if segment is None or segment.begin <= place:
                return False
            time.sleep(_LOOK_S)
        return True
