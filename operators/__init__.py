"""The stations, and the types that flow between them.

`Plan` states the signals and channels, `Batch` holds rows as they arrive, `Packet` leaves each
station, and `Fused` is the result in it. The names load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from operators.events import Batch
    from operators.records import Fused, Packet
    from operators.settings.plan import Plan

__all__ = ["Batch", "Fused", "Packet", "Plan"]


def __getattr__(name: str) -> Any:
    """Return a public name of this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from operators import events, records
    from operators.settings import plan

    return {**vars(events), **vars(plan), **vars(records)}[name]
