"""The read-only API: resources under `/v1/`."""
