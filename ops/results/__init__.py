"""Results of a run, read back: `open(folder)` returns them as numpy columns.

>>> import ops.results
>>> run = ops.results.open("out")  # doctest: +SKIP
>>> run.fused["ts"], run.fused["signals.pulse.value"]  # doctest: +SKIP
>>> run.sync.to_pandas()  # doctest: +SKIP
"""

from ops.results.columns import RigColumns, RunColumns, TableColumns
from ops.results.columns import open_run as open  # noqa: A004

__all__ = ["RigColumns", "RunColumns", "TableColumns", "open"]
