"""The stations, and the types that flow between them.

`Plan` states the signals and channels, `Batch` holds rows as they arrive, `Packet` leaves each
station, and `Fused` is the result in it. The names load on first use.

Linear algebra runs in one thread: the number of cores must not show in the results, and matrices
as small as these are slower in two.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from operators.events import Batch
    from operators.plan import Plan
    from operators.records import Fused, Packet

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__all__ = ["Batch", "Fused", "Packet", "Plan"]


def __getattr__(name: str) -> Any:
    """Return a public name of this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from operators import events, plan, records

    return {**vars(events), **vars(plan), **vars(records)}[name]
