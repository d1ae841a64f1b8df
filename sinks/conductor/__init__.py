"""The ticks of the bridge, played in their time at the destinations of `send`.

The names load on first use: the sending process runs without installed packages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sinks.conductor.conductor import Conductor, conducted

__all__ = ["Conductor", "conducted"]


def __getattr__(name: str) -> Any:
    """Return a public name of this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sinks.conductor import conductor

    return getattr(conductor, name)
