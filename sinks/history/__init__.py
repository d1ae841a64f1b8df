"""The history: an index of the result files in SQLite or PostgreSQL."""
