"""scale: members in other units, learnt: `gain: auto` and `offset: auto`."""

from operators.scale.scale import Scale

__all__ = ["Scale"]
