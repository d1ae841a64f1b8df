"""Parquet and Arrow files as recordings: columns instead of lines.

Empty, so that `table_process` starts without the other modules.
"""
