"""The stations of the flow in this process, without an engine: for notebooks, tests and benches.

    >>> import numpy as np
    >>> from flows.pipeline import Pipeline
    >>> from operators import Batch, Plan
    >>> movement = lambda t: np.sin(0.7 * t) + np.sin(1.9 * t + 1) + np.sin(3.1 * t + 0.001 * t * t)
    >>> t1, t2 = np.arange(0, 120, 0.02), np.arange(0, 120, 0.03)
    >>> plan = Plan.of(pulse=["ure:pulse", "osc_1:/pulse"], tick_hz=5)
    >>> batch = Batch.of({
    ...     "ure:pulse": (t1, t1, movement(t1)),
    ...     "osc_1:/pulse": (t2 + 7.0, t2, movement(t2 - 0.2)),
    ... })
    >>> lines = [line for packet in Pipeline(plan).run([batch]) for line in packet.sync]
    >>> last = [line for line in lines if line.channel == "osc_1:/pulse"][-1]
    >>> print(f"offset {last.offset_s:.3f} s, lag {last.lag_s:.2f} s")
    offset -7.000 s, lag 0.20 s

The fused values lie in `packet.fused`: `ts` (k,) and, for each signal of the plan, `signals[i]`
with `value` and `sd` (k,). The results are those of the dataflow, bit for bit, where linear
algebra runs in one thread as in the commands (`configs.one_thread`, before numpy is loaded).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from configs.load import Loaded
from configs.schema import Config
from flows.fusion import stations
from flows.stations import Make, Settings, StationLine
from operators.events import Batch
from operators.hindsight import Hindsight
from operators.records import Packet
from operators.settings.plan import Plan


class Pipeline:
    """All stations behind one another, one line of them for each rig.

    Parameters
    ----------
    source : Plan, Config, Loaded or Settings
        A plan runs with the default settings of each station. A configuration that was loaded
        from a file (`configs.load.load`) brings its rules along.
    known : Hindsight, optional
        Findings of a first pass over the same recording.

    Attributes
    ----------
    settings : Settings
    lines : dict of str to StationLine
        By rig; one appears with the first batch of its rig.

    Notes
    -----
    State: that of the stations. Ticks that wait for later rows leave with the batch that has
    `end=True`; later batches of that rig are an error of the caller.
    """

    def __init__(
        self, source: Plan | Config | Loaded | Settings, *, known: Hindsight | None = None
    ) -> None:
        self.settings = _settings(source)
        self.lines: dict[str, StationLine] = {}
        self._known = known

    def run(self, batches: Iterable[Batch]) -> Iterator[Packet]:
        """Yield the packets that leave the last station.

        Parameters
        ----------
        batches : iterable of Batch
            In order of arrival within each rig; rigs may alternate.

        Yields
        ------
        Packet

        Raises
        ------
        StationError
            A bug in a station; it is named.
        """
        for batch in batches:
            if batch.rig not in self.lines:
                self.lines[batch.rig] = self._line()
            yield from self.lines[batch.rig].feed(batch)

    def _line(self) -> StationLine:
        line = StationLine()
        return stations(line, line.add, self.settings, known=self._known)


def _settings(source: Plan | Config | Loaded | Settings) -> Settings:
    if isinstance(source, Settings):
        return source
    if isinstance(source, Loaded):
        return Settings.of(source.config, source.rules)
    return Settings.of(source) if isinstance(source, Config) else Settings(plan=source)


def makers(settings: Settings, known: Hindsight | None = None) -> dict[str, Make]:
    """Return a builder of each station, by its name, in the order of the flow."""
    made: dict[str, Make] = {}

    def note(name: str, before: None, make: Make) -> None:
        made[name] = make

    stations(None, note, settings, known=known)
    return made


STATIONS = tuple(makers(Settings(plan=Plan("", ()))))
"""The names of the stations, in the order of the flow."""
