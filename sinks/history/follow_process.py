"""The follower of the history as a process beside a run."""

from __future__ import annotations

import sys

from sinks.files.follower_process import run_follower
from sinks.history.follower import FollowSettings, follow

if __name__ == "__main__":
    sys.exit(run_follower(FollowSettings, follow))
