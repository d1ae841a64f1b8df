"""scale: learnt conversion of members in other units: `gain: auto` and `offset: auto`."""

from operators.scale.scale import Scale

__all__ = ["Scale"]
