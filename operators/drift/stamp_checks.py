"""Checks and corrections of stamps before they reach the clock.

- Timetags whose form is not that of a clock (operators/drift/timetags.py): from the detection on,
  rows of the source use their arrival.
- The grain of each member's stamps (operators/drift/stamp_grain.py), reported at each change.
- Samples that share a coarse stamp (operators/drift/shared_stamps.py), spread over the time to the
  next stamp.

State: that of the three modules. Cost: a few numpy calls a block. Losses: none.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import sub

import numpy as np
from msgspec.structs import replace

from operators.drift.shared_stamps import SharedStamps
from operators.drift.stamp_grain import Grain
from operators.drift.timetags import Timetags
from operators.limits import MAX_FEW
from operators.records import Block, GrainReport, Packet
from operators.settings.plan import Plan
from operators.types import Bool, State

_COARSE = (
    "{} has coarse stamps, several samples to each: they are spread by their order, and the step"
    " over sqrt(12) is in the bound"
)


class StampChecks:
    """The checks of one rig's stamps."""

    def __init__(self, plan: Plan) -> None:
        self._tags = {source: Timetags() for source in plan.timetags}
        self._grains = {m.channel: Grain() for m in plan.members}
        self._shared = {
            m.channel: SharedStamps() for m in plan.members if not plan.is_held(m.channel)
        }

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan) -> StampChecks:
        """Return the checks of a snapshot."""
        core = cls(plan)
        core._tags = {s: Timetags.from_snapshot(x) for s, x in state["tags"].items()}
        core._grains = {c: Grain.from_snapshot(x) for c, x in state["grains"].items()}
        core._shared = {c: SharedStamps.from_snapshot(x) for c, x in state["shared"].items()}
        return core

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "tags": {s: x.snapshot() for s, x in self._tags.items()},
            "grains": {c: x.snapshot() for c, x in self._grains.items()},
            "shared": {c: x.snapshot() for c, x in self._shared.items()},
        }

    def without_false(self, packet: Packet) -> tuple[Packet, dict[str, float]]:
        """Replace timetags that are not those of a clock by arrivals.

        Returns
        -------
        packet : Packet
        found : dict
            Sources whose timetags were found false in this packet, with the watermark of that.
        """
        found: dict[str, float] = {}
        after: dict[str, int] = {}
        for source, tags in self._tags.items():
            if tags.form is not None:
                after[source] = -1
            elif not tags.done:
                mine = [b for b in packet.blocks if b.source == source and b.stamped.any()]
                if not mine:
                    continue
                row, ts, rx, watermark, stamped = (
                    np.concatenate(column)
                    for column in zip(
                        *((b.row, b.source_time, b.arrival, b.watermark, b.stamped) for b in mine),
                        strict=True,
                    )
                )
                order = np.argsort(row, kind="stable")
                order = order[stamped[order]]
                at = tags.feed(ts[order], rx[order])
                if at is not None:
                    after[source] = int(row[order[at]])
                    found[source] = float(watermark[order[at]])
        if not after:
            return packet, found
        blocks = tuple(
            _unstamped(b, b.row > after[b.source]) if b.source in after else b
            for b in packet.blocks
        )
        return replace(packet, blocks=blocks), found

    def grain_changes(self, packet: Packet) -> list[GrainReport]:
        """Return each change of the grain of a member's stamps."""
        reports: list[GrainReport] = []
        for b in packet.blocks:
            grain = None if b.text else self._grains.get(b.channel)
            if not grain:
                continue
            if len(b) <= MAX_FEW:
                stamps, stamped = b.source_time.tolist(), b.stamped.tolist()
                delays = list(map(sub, b.arrival.tolist(), stamps))
                if not all(stamped):
                    delays = [
                        d if known else np.nan for d, known in zip(delays, stamped, strict=True)
                    ]
                changes = grain.feed_few(stamps, delays, b.watermark.tolist())
            else:
                delay = np.where(b.stamped, b.arrival - b.source_time, np.nan)
                changes = grain.feed(b.source_time, delay, b.watermark)
            reports += [GrainReport(b.channel, *change) for change in changes]
        return reports

    def spread(self, packet: Packet) -> tuple[Packet, list[tuple[str, float, str]]]:
        """Return the packet with shared stamps spread, and a note at a channel's first spread.

        The arrival is moved, too, where a row has none of its own.
        """
        notes: list[tuple[str, float, str]] = []
        blocks: list[Block] = []
        for b in packet.blocks:
            later = (
                self._shared[b.channel].feed(b.source_time) if b.channel in self._shared else None
            )
            if later is not None and later.any():
                shared = self._shared[b.channel]
                if not shared.stated:
                    shared.stated = True
                    first = float(b.watermark[np.flatnonzero(later)[0]])
                    notes.append((b.source, first, _COARSE.format(b.channel)))
                not_own = ~b.stamped & (b.arrival == b.source_time)
                b = replace(
                    b,
                    source_time=b.source_time + later,
                    arrival=b.arrival + np.where(not_own, later, 0.0),
                )
            blocks.append(b)
        changed = any(new is not old for new, old in zip(blocks, packet.blocks, strict=True))
        return replace(packet, blocks=tuple(blocks)) if changed else packet, notes

    def form_notes(self, formless: dict[str, float]) -> Iterator[tuple[str, float, str]]:
        """Yield a note for each source of `without_false`: source, watermark, text."""
        for source, moment in formless.items():
            form = self._tags[source].form
            yield source, moment, f"its timetags are {form}: its arrivals are used instead"


def _unstamped(block: Block, rows: Bool) -> Block:
    """Return a block with the arrival as stamp in some rows."""
    source_time = np.where(rows, block.arrival, block.source_time)
    return replace(block, source_time=source_time, stamped=block.stamped & ~rows)
