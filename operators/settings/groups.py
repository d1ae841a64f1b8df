"""Groups of members: prior weights, limits of presence, and the fallback from one to another."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from operators.settings.config_part import ConfigPart, NotNegative, Period, Rest

Group = Literal["ure", "sensors"]


class WeightsConfig(ConfigPart, frozen=True, kw_only=True):
    """Prior weight of each group, before estimates from data."""

    ure: Annotated[
        NotNegative,
        Meta(
            description="Prior weight of the group `ure`.",
            examples=[0.5],
        ),
    ] = 0.7
    sensors: Annotated[
        NotNegative,
        Meta(
            description="Prior weight of the group `sensors`.",
            examples=[0.5],
        ),
    ] = 0.3


class FailoverConfig(ConfigPart, frozen=True, kw_only=True):
    """Limits of presence, and the fallback of a signal."""

    min_streams: Annotated[
        int,
        Meta(
            ge=1,
            le=65_536,
            description="Present sensor streams that mode `fused` requires; fewer trigger the"
            " fallback.",
            examples=[2],
        ),
    ] = 1
    fallback: Annotated[
        Literal["ure_only", "sensors_only", "degrade"],
        Meta(
            description="Group that a signal falls back to; `degrade` keeps all present members.",
            examples=["sensors_only"],
        ),
    ] = "ure_only"
    stale_after_s: Annotated[
        Literal["auto"] | Period,
        Meta(
            description="Silence after which a channel is stale; `auto` follows its rate.",
            examples=[1.0],
        ),
    ] = "auto"
    rejoin_after_s: Annotated[
        Rest,
        Meta(
            description="Upper limit of the time for which a returned channel rejoins: as long as"
            " its absence.",
            examples=[1.0],
        ),
    ] = 10.0


PRIOR, FAILOVER = WeightsConfig(), FailoverConfig()
