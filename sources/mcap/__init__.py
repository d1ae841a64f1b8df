"""MCAP files as lines of a recording."""
