"""Outputs to play with: expressions over the newest tick, as OSC messages or MIDI.

The names load on first use: the sending process runs without installed packages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sinks.send.send import Send, played

__all__ = ["Send", "played"]


def __getattr__(name: str) -> Any:
    """Return a public name of this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sinks.send import send

    return getattr(send, name)
