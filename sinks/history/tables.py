"""Tables of the history, the same in SQLite and PostgreSQL.

All times are seconds since the epoch as float64. Rigs, runs, channels, signals and rules are
numbers of the table `name`. Keys begin with the run, so that two runs in one folder never mix.
A row of an existing key replaces it; a row of `minute` is added to it.

`minute` holds sums, so that rows of several transactions add up: a mean is `sum / count`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

SCHEMA = 1
"""Version of the tables; a store of a newer one is refused."""
PROJECT = "lumen-fusion"
"""Value of `project` in `meta`; a database with another one is refused."""

Type = Literal["integer", "real", "text"]
Kept = Literal["keep_d", "minutes_d", "always"]


class Column(NamedTuple):
    """One column; `null` if a row may have no value."""

    name: str
    type: Type
    null: bool = False


class Table(NamedTuple):
    """One table: its columns, primary key, and the setting of its retention."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    kept: Kept
    time: str = "ts"
    """Column by which old rows are deleted."""


def _columns(type_: Type, names: str, null: bool = False) -> tuple[Column, ...]:
    return tuple(Column(name, type_, null) for name in names.split())


_OF_RIG = _columns("integer", "run rig")
INDICATORS = "phase_diff coherence harmony sync_quality entropy_ratio"

META = Table("meta", _columns("text", "key value"), ("key",), "always")
"""Keys `project`, `schema`, `version` (of the project)."""
NAME = Table(
    "name", (*_columns("integer", "id"), *_columns("text", "kind text")), ("id",), "always"
)
"""Kinds `rig`, `run`, `channel`, `signal`, `rule`, `source`; unique by kind and text."""
RUN = Table(
    "run",
    (*_columns("integer", "run"), *_columns("real", "started"), *_columns("text", "version")),
    ("run",),
    "always",
)
"""Each run with the version of the program that wrote it."""
PLACE = Table(
    "place",
    (*_OF_RIG, *_columns("text", "file"), *_columns("integer", "segment byte lines")),
    ("run", "rig", "file"),
    "always",
)
"""Taken in up to this byte of this segment; `lines` of the file in all."""
TICK = Table(
    "tick",
    (
        *_OF_RIG,
        *_columns("real", "ts released"),
        *_columns("text", "mode"),
        *_columns("integer", "live"),
        *_columns("real", f"{INDICATORS} sync_bound_s v", null=True),
    ),
    ("run", "rig", "ts"),
    "keep_d",
)
SIGNAL = Table(
    "signal",
    (
        *_OF_RIG,
        *_columns("real", "ts"),
        *_columns("integer", "signal"),
        *_columns("real", "value sd systematic_sd", null=True),
        *_columns("text", "mode"),
        *_columns("integer", "live"),
        *_columns("text", "weights"),
    ),
    ("run", "rig", "ts", "signal"),
    "keep_d",
)
"""`weights`: a JSON object, weight by channel."""
SYNC = Table(
    "sync",
    (
        *_OF_RIG,
        *_columns("real", "ts"),
        *_columns("integer", "channel"),
        *_columns("text", "why state"),
        *_columns(
            "real",
            "offset_s offset_sd_s skew_ppm skew_sd_ppm lag_s lag_sd_s confidence rate_hz"
            " jitter_p95_s gain gain_sd level level_sd reset_at",
            null=True,
        ),
        *_columns("integer", "clock_resets received used outliers late duplicate rejected gaps"),
    ),
    ("run", "rig", "channel", "ts", "why"),
    "minutes_d",
)
EVIDENCE = Table(
    "evidence",
    (
        *_OF_RIG,
        *_columns("integer", "rule"),
        *_columns("real", "ts"),
        *_columns("text", "state kind"),
        *_columns("text", "severity risk action quote", null=True),
        *_columns("text", "facts"),
        *_columns("real", "since"),
    ),
    ("run", "rig", "rule", "ts", "state"),
    "minutes_d",
)
"""`facts`: a JSON object."""
BRIDGE = Table(
    "bridge",
    (
        *_OF_RIG,
        *_columns("integer", "segment byte"),
        *_columns("real", "ts known"),
        *_columns("integer", "beat"),
        *_columns("real", "tick_ms rate_hz"),
        *_columns("real", "phase_error phase_sd", null=True),
        *_columns("text", "lock state"),
        *_columns("text", "why", null=True),
        *_columns("real", "safety_gain"),
        *_columns("integer", "withheld slips steps"),
    ),
    ("run", "rig", "segment", "byte"),
    "keep_d",
)
"""By the place of the line in its file: a tick and a change may have one time."""
DEAD = Table(
    "dead",
    (
        *_OF_RIG,
        *_columns("integer", "segment byte"),
        *_columns("real", "ts"),
        *_columns("text", "stage reason source place"),
        *_columns("integer", "count"),
    ),
    ("run", "rig", "segment", "byte"),
    "minutes_d",
)
"""Dead letters without their samples; `place` is the field `where`."""
MINUTE = Table(
    "minute",
    (
        *_OF_RIG,
        *_columns("integer", "signal"),
        *_columns("real", "ts"),
        *_columns("integer", "ticks fused"),
        *(
            Column(f"{name}_{part}", "integer" if part == "count" else "real", part != "count")
            for name in ("value", *INDICATORS.split(), "sync_bound_s")
            for part in ("count", "sum", "min", "max")
        ),
    ),
    ("run", "rig", "signal", "ts"),
    "minutes_d",
)
"""Ticks of a minute from `ts` on: all, those in mode `fused`, and sums of the known values."""

TABLES = (META, NAME, RUN, PLACE, TICK, SIGNAL, SYNC, EVIDENCE, BRIDGE, DEAD, MINUTE)
