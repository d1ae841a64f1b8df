"""Snapshots on the disk: their names, their list, and the record of drills."""
