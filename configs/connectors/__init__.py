"""Streams and destinations that need an extra, a module each."""
