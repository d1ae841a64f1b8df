"""The follower's process of a topic, with no patience for a cluster that is away at the end."""

import sys

from sinks.files.follower_process import run_follower
from sinks.kafka import topic_follower

topic_follower.PATIENCE_S = 0.0

if __name__ == "__main__":
    sys.exit(run_follower(topic_follower.TopicSettings, topic_follower.follow))
