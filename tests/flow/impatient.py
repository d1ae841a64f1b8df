"""The follower's process, with no patience for a database that is away at the end."""

import sys

from sinks.files.follower_process import run_follower
from sinks.history import follower, sqlite_store

follower.PATIENCE_S = 0.0
follower.RETRY_S = 0.05
sqlite_store.SqliteStore.__init__.__kwdefaults__["busy_s"] = 0.01

if __name__ == "__main__":
    sys.exit(run_follower(follower.FollowSettings, follower.follow))
