"""Many rigs in one process, in shards, in a cluster: recordings, runs, and one hash a rig."""
