"""The demo's golden output in a history."""

from __future__ import annotations

import json

from sinks.history.back_end import BackEnd
from sinks.history.line_rows import LineRows
from sinks.history.tables import PLACE, RUN
from tests.golden import shipped

STEMS = ("fused", "sync", "evidence", "dead")


def fill(
    store: BackEnd,
    rig: str = "studio",
    run: str = "first",
    version: str = "2.0",
    started: float = 1730000000.0,
) -> None:
    """Take the demo's output in as that of a run and rig."""
    golden = shipped.stored("demo")
    with store.transaction():
        numbers = store.numbers("run", [run])[run], store.numbers("rig", [rig])[rig]
        store.write(RUN, [(numbers[0], started, version)])
        of_lines = LineRows(*numbers, store.numbers)
        for stem in STEMS:
            lines = b"".join(json.dumps(line).encode() + b"\n" for line in golden[stem])
            taken = of_lines.taken(stem, lines)
            assert not taken.lost
            for table, rows in taken.rows.items():
                store.write(table, rows)
            place = (*numbers, stem, 0, len(lines), len(golden[stem]))
            store.write(PLACE, [place])
