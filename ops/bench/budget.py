"""Where the CPU seconds of a replay are spent: imports, start, source, stations, sinks, engine.

`python -m ops.bench.budget CONFIG` runs a configuration under the engine in this process, with a
clock around each call of the source, of a station and of the sink, and prints one JSON object of
CPU seconds. `engine` is the rest of the run: routing, queues, and the clocks themselves.
`throughput` runs it beside undisturbed runs, and compares the sum.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

_now = time.process_time


class Budget:
    """CPU seconds by part.

    Attributes
    ----------
    spent : dict
        In the order of the first call.
    """

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def timed(self, name: Callable[..., str], call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose CPU time is added to a part.

        Parameters
        ----------
        name : callable
            Returns the part, given the arguments.
        call : callable
        """

        def measured(*args: Any) -> Any:
            begin = _now()
            try:
                return call(*args)
            finally:
                part = name(*args)
                self.spent[part] = self.spent.get(part, 0.0) + _now() - begin

        return measured


def run(path: str) -> dict[str, float]:
    """Run a configuration; return the CPU seconds of its parts."""
    from bytewax._bytewax import cli_main

    from configs.load import load
    from flows import fusion
    from operators import engine
    from sinks.output import OutputPartition
    from sources.host.shutdown import Shutdown
    from sources.replay.replay import ReplayPartition

    imported = _now()
    budget = Budget()
    ReplayPartition.next_batch = budget.timed(  # type: ignore[method-assign]
        lambda part: "source", ReplayPartition.next_batch
    )
    engine.updated = budget.timed(  # type: ignore[attr-defined]
        lambda core, item, name: name,
        engine.updated,  # type: ignore[attr-defined]
    )
    for method in ("write_batch", "close"):
        wrapped = budget.timed(lambda *args: "sinks", getattr(OutputPartition, method))
        setattr(OutputPartition, method, wrapped)
    dataflow = fusion.build(load(path), Shutdown(), progress=False)
    built = _now()
    cli_main(dataflow, workers_per_process=1)
    whole = _now()
    parts = {"imports": imported, "start": built - imported, **budget.spent}
    return {**parts, "engine": whole - sum(parts.values()), "whole": whole}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1])))
