"""Settings of `collect`."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from operators.settings.config_part import ConfigPart

BlockRule: TypeAlias = Literal["density"] | Annotated[float, Meta(ge=1e-4, le=3600)]
"""Width of blocks of arrival time (s), or `density`: about 4,096 rows a block, 10 to 320 s."""


class CollectConfig(ConfigPart, frozen=True, kw_only=True):
    """Width of a block of arrival time (s): trades latency for speed, results are the same."""

    block_s: Annotated[
        Literal["auto"] | BlockRule,
        Meta(
            description="Width of a block of arrival time: latency against speed, with equal"
            " results. `density`: about 4,096 rows of a rig, 10 to 320 s. `auto`: `density` for"
            " recordings, 1 s with a speed; live and for followed files 0.05 s, with low latency a"
            " tick of the grid, at most 0.005 s; a tape has that of its run.",
            examples=[0.05],
        ),
    ] = "auto"
