"""A topic as a source: one part of the flow for each of its partitions.

The parts are those of a replay, so that rows, blocks and bytes are those of the same lines in
files. The snapshot of a part is the next offset; offsets in the broker are never read. The number
of partitions is fixed at the start of a run, since the partition of a rig depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from bytewax.inputs import FixedPartitionedSource

from configs.connectors.kafka import KafkaStream, numbers, ranges
from configs.schema import Config
from operators.events import Batch
from operators.topic_place import place_of
from operators.topic_place import shown as place_shown
from sources.host.shutdown import Shutdown
from sources.kafka.client import USUAL, TopicClient, TopicLooks
from sources.kafka.faults import TopicAwayError, TopicError, TopicStoppedError
from sources.kafka.foreign_rigs import ForeignRigs, home_of
from sources.kafka.partition_recording import PartitionRecording
from sources.kafka.topic_watch import TopicWatch
from sources.ndjson import Decoder
from sources.opening import FileDecoder
from sources.recordings.progress import Progress
from sources.recordings.recording import Mark, TopicMark
from sources.replay.arrival_check import Arrivals
from sources.replay.recording_reader import FeedState, RecordingLike, RecordingReader
from sources.replay.replay import ReplayPartition, stored_state
from sources.replay.replay_input import ReplayInput
from sources.replay.rig_arrivals import RigArrivals
from sources.replay.rigs_reader import RigsReader
from sources.rows.rows import Arrived

_NONE = -1
"""Stands for the topic as a whole."""
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 5.0


class TopicReplay(FixedPartitionedSource[tuple[str, Batch], bytes]):
    """The topic of a configuration.

    Parameters
    ----------
    config : Config
        With a topic.
    progress : bool
        Report the progress on standard error, where the topic is not followed.
    recovering : bool
        The run has a recovery store.
    shutdown : Shutdown, optional
        Of the run; by default one of its own.
    from_earliest : bool
        Go on at the earliest offset where that of the snapshot was deleted, and count the gap.
    looks : TopicLooks
        Of the clients of its partitions.

    Attributes
    ----------
    count : int
        Partitions of the topic, at the start.

    Raises
    ------
    TopicStoppedError
        A stop was requested before the topic was there.
    TopicError
        It has none of the partitions that the configuration selects.
    """

    def __init__(
        self,
        config: Config,
        progress: bool = False,
        *,
        recovering: bool = False,
        shutdown: Shutdown | None = None,
        from_earliest: bool = False,
        looks: TopicLooks = USUAL,
    ) -> None:
        assert config.topic is not None
        self._config, self._stream = config, config.topic
        self._recovering, self._from_earliest = recovering, from_earliest
        self._shutdown, self._looks = shutdown or Shutdown(), looks
        self._progress = Progress() if progress and not self._stream.follow else None
        self._recordings: dict[int, PartitionRecording] = {}
        self._watch = TopicWatch(self._stream.topic)
        self._shutdown.start("Ctrl-C: the run ends before its topic is there")
        self.count, self._limits = _looked_up(self._stream, self._watch, self._shutdown)
        wanted = [last for _, last in ranges(self._stream.partitions) or []]
        if max(wanted, default=0) >= self.count:
            raise TopicError(
                f"topic {self._stream.topic} has {self.count} partitions, and no partition"
                f" {max(wanted)}: see partitions of the stream"
            )

    def shown(self) -> dict[str, object]:
        """Return the topic as `run.json` has it: its partitions, and those of this run.

        Blocks that an edge sent twice are counted since the start of this process.
        """
        return {
            "topic": self._stream.topic,
            "partitions": self.count,
            "read": list(self._limits),
            "blocks_twice": sum(recording.twice for recording in list(self._recordings.values())),
        }

    def list_parts(self) -> list[str]:
        """Return the names of the partitions that this run reads."""
        return [f"{self._stream.topic}-{number:02d}" for number in self._limits]

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> TopicPartition:
        """Begin to read a partition.

        Raises
        ------
        TopicError
            The topic had another number of partitions when the state was stored, or the offset of
            the state was deleted.
        """
        self._shutdown.start(
            "Ctrl-C: reading ends, rows already read are written; again to end at once"
        )
        number = int(for_part.rpartition("-")[2])
        self.refuse_others([] if resume_state is None else [resume_state])
        name = f"{self._stream.topic}/{number}"
        each = ReplayInput(
            name,
            self._stream.follow,
            0.0,
            self._stream.batch_lines,
            self._opener(number),
            place_shown,
        )
        return TopicPartition(
            self._config,
            resume_state,
            self._progress,
            each,
            ForeignRigs(self._stream.topic, number, self.count),
            number=number,
            home=home_of(self._stream.topic, number, self.count, self._config.rig),
            recovering=self._recovering,
            shutdown=self._shutdown,
        )

    def refuse_others(self, states: Iterable[bytes]) -> None:
        """Refuse stored states of a topic with another number of partitions.

        Raises
        ------
        TopicError
            One of them has another number.
        """
        for state in states:
            for feed in stored_state(state).feeds:
                if feed.mark.topic is not None and feed.mark.topic.count != self.count:
                    raise TopicError(
                        f"topic {self._stream.topic} has {self.count} partitions, and had"
                        f" {feed.mark.topic.count} in this run: rigs lie in other partitions now;"
                        " begin with an empty recovery directory and output.dir"
                    )

    def _opener(self, number: int) -> Callable[[Mark | None], tuple[RecordingLike, FileDecoder]]:
        return lambda mark: (self._opened(number, mark), FileDecoder(Decoder(self._stream.topic)))

    def _opened(self, number: int, mark: Mark | None) -> PartitionRecording:
        """Return a partition at a mark, or at its beginning."""
        low, high = self._limits[number]
        client = TopicClient(self._stream, number, self._watch, self._looks)
        if mark is None:
            begin = low if self._stream.start == "earliest" else high
            mark = Mark(place_of(begin), topic=TopicMark(self.count))
        recording = PartitionRecording(
            client,
            number,
            mark,
            low,
            high,
            follow=self._stream.follow,
            from_earliest=self._from_earliest,
        )
        self._recordings[number] = recording
        return recording


class TopicPartition(ReplayPartition):
    """The rows of one partition.

    Parameters
    ----------
    config, state, progress, options
        Of `ReplayPartition`.
    partition : ReplayInput
    foreign : ForeignRigs
        The screen of rigs that lie in other partitions.
    """

    def __init__(
        self,
        config: Config,
        state: bytes | None,
        progress: Progress | None,
        partition: ReplayInput,
        foreign: ForeignRigs,
        **options: Any,
    ) -> None:
        self._foreign = foreign
        # The configured rig and the home are always admitted.
        self._max_checks = config.max_rigs + 2
        super().__init__(config, state, progress, inputs=[partition], **options)

    def _reader(
        self,
        number: int,
        recording: RecordingLike,
        arrivals: Arrivals,
        state: FeedState | None,
        reader: FileDecoder,
    ) -> RecordingReader:
        """Return the reader of the partition, with an arrival check for each rig."""
        checks = RigArrivals(arrivals, self._max_checks, self._foreign.is_own)
        return RigsReader(number, recording, checks, state, reader)

    def _screened(self, rows: Arrived) -> Arrived:
        """Return the rows without those of foreign rigs."""
        return self._foreign.screened(rows)

    def _hand_on(self, rows: Arrived, end: bool) -> list[tuple[str, Batch]]:
        """Return the batches of rigs that have rows here: an empty partition has no rig."""
        batches = super()._hand_on(rows, end)
        return [(rig, batch) for rig, batch in batches if rig in self._splitter.seen]

    def snapshot(self) -> bytes:
        """Return the state, from which a run may resume: earlier messages are settled."""
        state = super().snapshot()
        for feed in stored_state(state).feeds:
            for reader in self._feeds:
                assert isinstance(reader.recording, PartitionRecording)
                reader.recording.settle(feed.mark)
        return state


def _looked_up(
    stream: KafkaStream, watch: TopicWatch, shutdown: Shutdown
) -> tuple[int, dict[int, tuple[int, int]]]:
    """Return the number of partitions, and the first and last offset of the selected ones.

    A broker or topic that is not there is tried again after 0.5 to 5 s, until a stop is requested.
    """
    pause = _FIRST_PAUSE_S
    while True:
        client = None
        try:
            client = TopicClient(stream, _NONE, watch)
            count = client.count()
            selected = numbers(stream.partitions, count)
            found = {number: client.limits(number) for number in selected}
        except TopicAwayError as error:
            watch.turn(_NONE, False, str(error))
        else:
            watch.begin(count)
            return count, found
        finally:
            if client is not None:
                client.close()
        if shutdown.event.wait(pause):
            raise TopicStoppedError
        pause = min(2 * pause, _MAX_PAUSE_S)
