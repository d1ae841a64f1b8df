"""Keys of the channels of an LSL stream: the same in a recording and live.

The key is the channel's label, else `ch` and its number from one. Labels are freed from colons,
cut to fit, and numbered where two are alike. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from operators.events import READING_KEY
from operators.limits import MAX_NAME_LENGTH

_ROOM = 8
"""Characters that stay free for a number."""


def unique_name(name: str, taken: Counter[str], otherwise: str) -> str:
    """Return a unique name that is valid in a configuration."""
    name = name.strip().replace(":", "_")[: MAX_NAME_LENGTH - _ROOM] or otherwise
    while taken[name]:
        taken[name] += 1
        name = f"{name}_{taken[name]}"
    taken[name] += 1
    return name


def channel_keys(labels: Sequence[str], channels: int) -> tuple[str, ...]:
    """Return the key of each channel.

    Parameters
    ----------
    labels : sequence of str
        Of the first channels; empty texts where there is none.
    channels : int
    """
    every = [*labels[:channels], *[""] * (channels - len(labels))]
    taken = Counter({READING_KEY: 1})
    return tuple(unique_name(label, taken, f"ch{i + 1}") for i, label in enumerate(every))
