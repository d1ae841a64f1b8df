"""A history for tests: runs of rigs with ticks, signals, sync reports, findings and minutes."""

from __future__ import annotations

from pathlib import Path

from sinks.history.back_end import BackEnd, Row
from sinks.history.open_store import opened
from sinks.history.tables import EVIDENCE, MINUTE, PLACE, RUN, SIGNAL, SYNC, TICK

HZ = 5.0
WEIGHTS = '{"ure:p":0.75,"osc_1:p":0.25}'


class History:
    """A history to which ticks are added.

    Parameters
    ----------
    store : Path or str
        A file, or the address of a store.
    weights : str
        JSON object of each signal.
    """

    def __init__(self, store: Path | str, weights: str = WEIGHTS) -> None:
        self.dsn = f"sqlite:{store}" if isinstance(store, Path) else store
        self.store: BackEnd = opened(self.dsn)
        self._weights = weights

    def add(self, first: int, k: int, rig: str = "r", run: str = "first", each: int = 50) -> None:
        """Add k ticks from number `first` on, with a report and a finding at each of `each`."""
        store = self.store
        with store.transaction():
            run_id = store.numbers("run", [run])[run]
            rig_id = store.numbers("rig", [rig])[rig]
            pulse, tempo = store.numbers("signal", ["pulse", "tempo"]).values()
            channels = store.numbers("channel", ["osc_1:p", "ure:p"]).values()
            rule = store.numbers("rule", ["low"])["low"]
            here = run_id, rig_id
            store.write(RUN, [(run_id, 0.0, "2.0.0")])
            store.write(PLACE, [(*here, "fused", 1, first + k, first + k)])
            ts = [number / HZ for number in range(first, first + k)]
            store.write(
                TICK,
                [(*here, t, t + 1, "fused", 2, 0.01, *[0.5] * 4, 0.003, None) for t in ts],
            )
            store.write(
                SIGNAL,
                [
                    (*here, t, signal, t / 3, 0.1, None, "fused", 2, self._weights)
                    for t in ts
                    for signal in (pulse, tempo)
                ],
            )
            some = ts[::each]
            store.write(SYNC, [_report(here, t, channel) for t in some for channel in channels])
            facts = '{"pulse":1.5,"live":null}'
            store.write(
                EVIDENCE,
                [
                    (*here, rule, t, "firing", "risk", "warn", None, None, None, facts, t)
                    for t in some
                ],
            )
            none = (0, None, None, None)
            store.write(
                MINUTE,
                [
                    (*here, signal, t // 60 * 60, 1, 1, 1, t / 3, t / 3, t / 3, *none * 6)
                    for t in ts
                    for signal in (pulse, tempo)
                ],
            )


def _report(here: tuple[int, int], t: float, channel: int) -> Row:
    values = [0.1] * 13
    return (*here, t, channel, "hop", "live", *values, None, *[3] * 8)
