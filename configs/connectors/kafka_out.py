"""Configuration of results as a topic of Kafka."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from configs.kafka_cluster import Brokers, KafkaSecurity, Topic
from configs.outputs import DestinationConfig

ResultStem = Literal["fused", "evidence"]


class KafkaDestination(DestinationConfig, frozen=True, tag="kafka", kw_only=True):
    """Results as messages of a topic, by a process beside the flow; needs the extra `kafka`.

    A message is a line of the result files; its key is the rig, its header `ts` the time of the
    tick. Delivery is at least once: a consumer keeps the last message by rig and `ts`.
    """

    brokers: Brokers
    topic: Topic = "lumen.fused"
    security: Annotated[
        KafkaSecurity | None, Meta(description="Encryption and credentials; none by default.")
    ] = None
    files: Annotated[
        list[ResultStem],
        Meta(
            max_length=2,
            description="Result files to send; `fused` alone where the list is empty.",
            examples=[["fused", "evidence"]],
        ),
    ] = []
    spool_mb: Annotated[
        float,
        Meta(
            ge=0,
            le=1e6,
            description="Size of segments that may wait to be sent against `output.keep` (MB).",
            examples=[4096],
        ),
    ] = 4096.0

    @property
    def stems(self) -> tuple[ResultStem, ...]:
        """Names of the result files that are sent."""
        return tuple(self.files) or ("fused",)
