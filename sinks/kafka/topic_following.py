"""The run's side of the followers that send its results to topics."""

from __future__ import annotations

import msgspec

from configs.connectors.kafka_out import KafkaDestination
from configs.kafka_cluster import properties_of
from configs.schema import Config
from sinks.files.parts import part_folder
from sinks.files.readers import report_name, topics_of
from sinks.files.result_following import ResultFollowing
from sinks.kafka.topic_follower import TopicSettings


class TopicFollowing(ResultFollowing):
    """The follower of one destination.

    Parameters
    ----------
    config : Config
    destination : KafkaDestination

    Raises
    ------
    SecurityFileError
        The security file cannot be used.
    """

    def __init__(self, config: Config, destination: KafkaDestination) -> None:
        settings = settings_of(config, destination)
        if settings.security_file is not None:
            properties_of(settings.security_file)
        line = msgspec.json.encode(settings) + b"\n"
        super().__init__(destination.name, "sinks.kafka.follow_process", line, settings.folders)


def settings_of(config: Config, destination: KafkaDestination) -> TopicSettings:
    """Return the settings of the follower of a destination."""
    output, security = config.output, destination.security
    folders = (str(part_folder(output, number)) for number in range(output.parts))
    return TopicSettings(
        destination.name,
        destination.brokers,
        destination.topic,
        security.file if security is not None else None,
        destination.stems,
        tuple(folders),
        report_name(destination),
        output.mode,
    )


def followings(config: Config) -> list[ResultFollowing]:
    """Return the followers of all topics of a configuration."""
    return [TopicFollowing(config, each) for each in topics_of(config)]
