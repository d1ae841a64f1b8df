"""The processes of a run: a cluster of the engine."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from operators.settings.config_part import ConfigPart


class ClusterConfig(ConfigPart, frozen=True, kw_only=True):
    """A cluster of the engine: processes that `-i` and `-a` of its command name, and one run."""

    wait_s: Annotated[
        float,
        Meta(
            ge=1,
            le=86_400,
            description="Longest wait at the start for the other processes; then exit code 1.",
            examples=[60],
        ),
    ] = 300.0
