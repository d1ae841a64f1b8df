"""The snapshot of a live run."""

from __future__ import annotations

import msgspec

from operators.snapshot import StateRefusedError, seal, unseal
from sources.host.host_clock import Axis
from sources.replay.recording_reader import FeedState

VERSION = 1


class LiveSnapshot(msgspec.Struct, frozen=True):
    """The state from which a live run resumes.

    Attributes
    ----------
    version : int
    ended : bool
        The run has handed on the end of every rig.
    tape : str or None
        Name of its tape.
    rigs, seen : list of str
        As the attributes `admitted` and `seen` of `RigSplitter`.
    feed : FeedState
        Position on the tape.
    began : dict of str to float
        Host time at which each recording beside the live streams began (s).
    axis : Axis or None
        Of host time.
    names : bytes
        Of `Admission`.
    """

    version: int
    ended: bool
    tape: str | None
    rigs: list[str]
    seen: list[str]
    feed: FeedState
    began: dict[str, float] = {}
    axis: Axis | None = None
    names: bytes = b""

    def sealed(self) -> bytes:
        """Return the snapshot as it is stored."""
        return seal(msgspec.msgpack.encode(self))

    @classmethod
    def of(cls, state: bytes) -> LiveSnapshot:
        """Return a stored snapshot.

        Raises
        ------
        StateRefusedError
            It is damaged or of another version.
        """
        try:
            known = msgspec.msgpack.decode(unseal(state, "live"), type=cls)
        except msgspec.DecodeError as error:
            raise StateRefusedError(f"live: the stored state cannot be read ({error})") from error
        if known.version != VERSION:
            raise StateRefusedError(
                f"the recovery store is of version {known.version}, not {VERSION}"
            )
        return known
