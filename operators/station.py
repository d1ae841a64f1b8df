"""A station: its protocol, and how one is built, anew or from a snapshot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from operators.errors import LumenError
from operators.records import Packet
from operators.types import State

X = TypeVar("X")
X_contra = TypeVar("X_contra", contravariant=True)


class Core(Protocol[X_contra]):
    """A station: one item in; a packet out or, from `collect`, as many as became ready."""

    def update(self, item: X_contra, /) -> Packet | list[Packet]:
        """Take in the next item of the rig."""

    def snapshot(self) -> State:
        """Return a copy of the state, from which a new core goes on as this one would."""


class StationError(LumenError, RuntimeError):
    """A bug in a station: which one, for which rig, and what was raised."""


def updated(core: Core[X], value: X, name: str) -> list[Packet]:
    """Return the packets that a station makes of an item.

    Raises
    ------
    StationError
        The station raised. Its exception is the cause.
    """
    try:
        made = core.update(value)
    except Exception as error:  # any of them: a bug stops the flow by name
        raise StationError(
            f"station {name}, rig {getattr(value, 'rig', '?')!r}: {type(error).__name__}: {error}"
        ) from error
    return made if isinstance(made, list) else [made]


def maker(station: Any, *args: Any, **options: Any) -> Callable[[State | None], Any]:
    """Return a function that builds a station: anew from None, else from a snapshot.

    Parameters
    ----------
    station : type
        Its constructor takes `args` and `options`; its `from_snapshot` a state before them.
    """

    def make(state: State | None) -> Any:
        if state is None:
            return station(*args, **options)
        if hasattr(station, "from_snapshot"):
            return station.from_snapshot(state, *args, **options)
        return station(*args, **options, state=state)

    return make
