"""The signals of a configuration, and the channels that measure each."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from operators.settings.config_part import ConfigPart, Positive, Wait
from operators.settings.groups import Group


class MemberConfig(ConfigPart, frozen=True, kw_only=True):
    """A channel as a member of a signal; with `lag_s`, its lag is given and not searched.

    A lag given without `lag_sd_s` is used but not compared: no bound covers it.

    Members of one `origin` share a fault: they have one vote on level and slope. `sd` is an
    independently known systematic standard deviation.
    """

    group: Annotated[
        Group,
        Meta(
            description="Group of the prior weight and of the mode.",
            examples=["ure"],
        ),
    ] = "sensors"
    origin: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(
            description="Members of one origin share a fault: one vote on level and slope. By"
            " default the source.",
            examples=["phone"],
        ),
    ] = None
    sd: Annotated[
        Positive | None,
        Meta(
            description="Systematic standard deviation, known from elsewhere, in units of the"
            " signal.",
            examples=[0.05],
        ),
    ] = None
    lag_s: Annotated[
        Annotated[float, Meta(ge=-3600, le=3600)] | None,
        Meta(
            description="Known lag; searched where it is left out.",
            examples=[0.0],
        ),
    ] = None
    lag_sd_s: Annotated[
        Wait | None,
        Meta(
            description="Standard deviation of `lag_s`; without it the member is used but not"
            " compared.",
            examples=[0.01],
        ),
    ] = None


class SignalConfig(ConfigPart, frozen=True, kw_only=True):
    """A quantity and the channels that measure it.

    `scale` defines its level and slope: the members' consensus, or one member.
    """

    members: Annotated[
        dict[str, MemberConfig],
        Meta(min_length=1, description="Channels that measure the signal, as `<source>:<key>`."),
    ]
    reference: Annotated[
        str,
        Meta(
            description="Member to which lags are relative; `auto` chooses one.",
            examples=["ure:pulse"],
        ),
    ] = "auto"
    scale: Annotated[
        str,
        Meta(
            description="Level and slope of the signal: the `consensus` of the members, or one"
            " member.",
            examples=["ure:pulse"],
        ),
    ] = "consensus"
