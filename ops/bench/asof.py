"""Baseline of the throughput: a batch as-of join in polars, all in memory.

`python ops/bench/asof.py INPUT OUTPUT HZ`: both streams of a recording of `events` are brought to
one grid. A tick holds the newest value of each stream and their mean, with weights 0.7 and 0.3 over
the available ones. `python ops/bench/asof.py INPUT OUTPUT HZ CHANNELS` does the same with the first
channels of a recording of `wide`, with equal weights.

No clock, lag or outlier is corrected, and it is no stream. polars is the extra `bench`: only this
file imports it.
"""

from __future__ import annotations

import math
import sys

import polars as pl

WEIGHTS, FULL_SCALE = {"ure": 0.7, "osc_1": 0.3}, {"ure": 1.0, "osc_1": 127.0}
TOLERANCE_S = 0.25


def join_wide(recording: str, out: str, hz: float, channels: int) -> None:
    """Write one line for each tick; the channels are the elements of an array, or keys."""
    rows = pl.scan_ndjson(recording).collect()
    arrays = rows["value"].dtype == pl.List
    first, last = math.ceil(rows["ts"][0] * hz), math.floor(rows["ts"][-1] * hz)
    grid = pl.DataFrame({"ts": pl.arange(first, last + 1, eager=True) / hz}).set_sorted("ts")
    names = [f"x{n}" for n in range(channels)]
    for n, name in enumerate(names):
        value = pl.col("value").list.get(n) if arrays else pl.col("value")
        own = rows if arrays else rows.filter(pl.col("key") == name)
        stream = own.select("ts", value.alias(name)).set_sorted("ts")
        grid = grid.join_asof(stream, on="ts", tolerance=TOLERANCE_S)
    grid.select("ts", pl.mean_horizontal(names).alias("value")).write_ndjson(out)


def join(recording: str, out: str, hz: float) -> None:
    """Write one line for each tick."""
    rows = pl.scan_ndjson(recording).select("ts", "source", "value").sort("ts").collect()
    first, last = math.ceil(rows["ts"][0] * hz), math.floor(rows["ts"][-1] * hz)
    grid = pl.DataFrame({"ts": pl.arange(first, last + 1, eager=True) / hz}).set_sorted("ts")
    weighted, weight, live = pl.lit(0.0), pl.lit(0.0), pl.lit(0)
    for source, share in WEIGHTS.items():
        value = pl.col("value") / FULL_SCALE[source]
        stream = rows.filter(pl.col("source") == source).select("ts", value.alias(source))
        grid = grid.join_asof(stream.set_sorted("ts"), on="ts", tolerance=TOLERANCE_S)
        there = pl.col(source).is_not_null()
        weighted, weight = weighted + pl.col(source).fill_null(0) * share, weight + there * share
        live = live + there.cast(pl.Int32)
    grid.select("ts", (weighted / weight).alias("value"), live.alias("live")).write_ndjson(out)


if __name__ == "__main__":
    _recording, _out, _hz, *_channels = sys.argv[1:]
    if _channels:
        join_wide(_recording, _out, float(_hz), int(_channels[0]))
    else:
        join(_recording, _out, float(_hz))
