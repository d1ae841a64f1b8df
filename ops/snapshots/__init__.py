"""Snapshots of the history and of recovery stores: taken, restored, pruned, drilled."""
