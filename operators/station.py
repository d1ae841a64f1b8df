"""Protocol of a station, and its construction, new or from a snapshot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from operators.errors import LumenError
from operators.records import Packet
from operators.types import State

X = TypeVar("X")
X_contra = TypeVar("X_contra", contravariant=True)


class Core(Protocol[X_contra]):
    """A station: one item in, one packet out; `collect` returns all packets that are ready."""

    def update(self, item: X_contra, /) -> Packet | list[Packet]:
        """Take in the next item of the rig."""

    def snapshot(self) -> State:
        """Return a copy of the state; a core built from it continues as this one would."""


class StationError(LumenError, RuntimeError):
    """A bug in a station; the message has station, rig and exception."""


def updated(core: Core[X], value: X, name: str) -> list[Packet]:
    """Return the packets of a station for one item.

    Raises
    ------
    StationError
        The station raised. Its exception is the cause.
    """
    try:
        made = core.update(value)
    except Exception as error:  # any exception: a bug stops the flow with the station's name
        raise StationError(
            f"station {name}, rig {getattr(value, 'rig', '?')!r}: {type(error).__name__}: {error}"
        ) from error
    return made if isinstance(made, list) else [made]


def maker(station: Any, *args: Any, **options: Any) -> Callable[[State | None], Any]:
    """Return a function that builds a station: a new one from None, else from a snapshot.

    Parameters
    ----------
    station : type
        Its constructor takes `args` and `options`; its `from_snapshot` takes a state before them.
    """

    def make(state: State | None) -> Any:
        if state is None:
            return station(*args, **options)
        return station.from_snapshot(state, *args, **options)

    return make
