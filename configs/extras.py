"""Optional packages: the extra of each type of stream and destination that needs one.

Nothing is imported here: a package that is not used costs nothing.
"""

from __future__ import annotations

from importlib.util import find_spec

EXTRAS = {
    "mqtt": "paho",
    "websocket": "websockets",
    "lsl": "pylsl",
    "kafka": "confluent_kafka",
    "zeroconf": "zeroconf",
}
"""The module that proves an extra, by the type that needs the extra of its name."""


def missing(type_: object) -> str:
    """Return the remedy for a type whose extra is not installed; empty where nothing is missing."""
    module = EXTRAS.get(str(type_))
    if module is None or find_spec(module) is not None:
        return ""
    return f"type {type_} needs pip install 'lumen-fusion[{type_}]'"
