"""Numeric tools of several stations: kernel sums, correlations, waiting rows."""
