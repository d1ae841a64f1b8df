"""The follower of a topic of results as a process beside a run."""

from __future__ import annotations

import sys

from sinks.files.follower_process import run_follower
from sinks.kafka.topic_follower import TopicSettings, follow

if __name__ == "__main__":
    sys.exit(run_follower(TopicSettings, follow))
