"""Stations without an engine: their settings, and a line of them in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from configs.schema import Config
from operators.align import AlignConfig
from operators.bridge import BridgeConfig
from operators.collect import BlockRule
from operators.conditions import Rule
from operators.events import Batch
from operators.hindsight import Learner
from operators.quality import QualityConfig
from operators.records import Packet
from operators.settings.plan import Plan
from operators.station import Core, updated
from operators.types import State

S = TypeVar("S")
Make = Callable[[State | None], Any]
"""Builds a station: anew from None, else from its snapshot."""


class AddStation(Protocol[S]):
    """Puts a station behind what is there: in a dataflow, or in this process."""

    def __call__(self, name: str, before: S, make: Make, /) -> S:
        """Return the stream or line that ends with this station."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that stations are built from.

    Attributes
    ----------
    plan : Plan
    block_s : float or "density"
        Width of a block of arrival time (s), by density for recordings.
    align : AlignConfig
    quality : QualityConfig
    rules : tuple of Rule
        The conditions of `evidence`.
    bridge : BridgeConfig
        Of the beat clock, where the plan has one; its ticks are decided `lead_s` (s) before.
    """

    plan: Plan
    block_s: BlockRule = "density"
    align: AlignConfig = field(default_factory=AlignConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    rules: tuple[Rule, ...] = ()
    bridge: BridgeConfig = field(default_factory=BridgeConfig)
    lead_s: float = 0.2

    @staticmethod
    def of(config: Config, rules: tuple[Rule, ...] = ()) -> Settings:
        """Return the settings of a configuration and its rules."""
        return Settings(
            plan=config.plan(),
            block_s=config.block_s(),
            align=config.align,
            quality=config.quality,
            rules=rules,
            bridge=config.bridge or BridgeConfig(),
            lead_s=config.lead_s(),
        )


class StationLine:
    """The stations of one rig in order, in this process.

    Parameters
    ----------
    last : str
        Name of the last station to run; later ones are not built. Empty: all.

    Attributes
    ----------
    cores : dict
        The stations by name.
    """

    def __init__(self, last: str = "") -> None:
        self.cores: dict[str, Core[Any]] = {}
        self._last = last

    def add(self, name: str, before: StationLine, make: Make) -> StationLine:
        """Build a station behind those that are there: an `AddStation`."""
        if not self._last or self._last not in self.cores:
            self.cores[name] = make(None)
        return before

    def feed(self, batch: Batch) -> list[Packet]:
        """Run a batch through all stations; return the packets of the last one.

        Raises
        ------
        StationError
            A bug in a station; it is named.
        """
        items: list[Any] = [batch]
        for name, core in self.cores.items():
            items = [made for item in items for made in updated(core, item, name)]
        return items

    def shown(self) -> dict[str, State]:
        """Return the findings of a first pass by station."""
        return {n: core.shown() for n, core in self.cores.items() if isinstance(core, Learner)}
