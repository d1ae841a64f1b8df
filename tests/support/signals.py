"""Test signals: rows of one rig with known truth, in one batch or in pieces, run through stations.

A test sets only the properties under test; the defaults are a healthy source. Host time is arrival
less queueing: `source time = START + t (1 + skew) - offset`, t in seconds since START.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from flows import pipeline
from flows.pipeline import STATIONS as STATIONS
from flows.stations import Make as Make
from flows.stations import Settings
from operators.align import AlignConfig
from operators.bridge import BridgeConfig
from operators.collect import BlockRule
from operators.conditions import Rule
from operators.events import Batch, Marker, Reject
from operators.hindsight import Hindsight
from operators.quality import QualityConfig
from operators.records import Block, Packet
from operators.settings.channels import ChannelConfig
from operators.settings.plan import Member, Plan, Signal
from operators.types import F64
from ops.simulate.movement import Movement

START = 1_730_000_000.0


@dataclass(frozen=True, kw_only=True)
class Source:
    """One channel with its clock, transport and faults; spans are seconds since START.

    `delays`: (from, to, how long) of rows that come late; `stalls`: rows of a span come together
    at its end, as all do each `bursts_s`; `wild`: rows stamped 1e6 s ahead; `wild_arrivals`: rows
    flagged by the source; `far`: values of 1000; `elements`: an array of so many; `markers`:
    (when, text); `value`: of the time; else a movement that never repeats; `grain_s`: stamps are
    rounded to it, 0 for not at all; `read_s`: time between two-way readings, 0 for none; each
    seventh of them is a wild one.
    """

    source: str = "osc_1"
    key: str = "/pulse"
    rate_hz: float = 50.0
    offset_s: float = 0.0
    skew_ppm: float = 0.0
    lag_s: float = 0.0
    noise: float = 0.1
    queue_s: float = 0.005
    loss: float = 0.0
    outliers: float = 0.0
    resets: tuple[tuple[float, float], ...] = ()
    silent: tuple[tuple[float, float], ...] = ()
    delays: tuple[tuple[float, float, float], ...] = ()
    stalls: tuple[tuple[float, float], ...] = ()
    bursts_s: float = 0.0
    duplicates: int = 0
    wild: int = 0
    wild_arrivals: int = 0
    far: int = 0
    elements: int = 0
    markers: tuple[tuple[float, str], ...] = ()
    held: bool = False
    stamped: bool = True
    sequenced: bool = True
    value: Callable[[F64], F64] | None = None
    grain_s: float = 0.0
    read_s: float = 0.0

    @property
    def channel(self) -> str:
        return f"{self.source}:{self.key}"


def movement(seed: int = 0) -> Callable[[F64], F64]:
    """Return the measured movement: RMS 1, 0.05 to 1.5 Hz."""
    return Movement(np.random.default_rng([seed, 0])).at


def studio(
    *sources: Source, seconds: float = 30.0, seed: int = 0, ticks_s: float = 0.0, rejects: int = 0
) -> Batch:
    """Return all rows of the sources in order of arrival as one last batch."""
    moves = movement(seed)
    names: list[tuple[str, str]] = []
    texts: list[str] = []
    columns: list[dict[str, F64]] = []
    line = 0
    for k, s in enumerate(sources):
        rng = np.random.default_rng([seed, 1, k])
        first = len(names)
        names += [
            (s.source, f"{s.key}[{i}]" if s.elements else s.key) for i in range(max(s.elements, 1))
        ]
        c = _rows(s, seconds, moves, rng)
        line += len(c["ts"])
        c["line"] = np.arange(line - len(c["ts"]), line)
        c["name"] = np.full(len(c["ts"]), first)
        if s.elements:
            c = {key: np.repeat(v, s.elements) for key, v in c.items()}
            n = len(c["ts"])
            c["name"] = first + np.tile(np.arange(s.elements), n // s.elements)
            c["value"] = c["value"] + 0.01 * rng.standard_normal(n)
        is_marker = c["text"] >= 0
        texts += [text for _, text in s.markers]
        c["text"][is_marker] += len(texts) - len(s.markers)
        columns.append(c)
        if s.read_s:
            read = _readings(s, seconds, rng)
            n = len(read["ts"])
            read["name"] = len(names) + np.tile([0, 1], n // 2)
            read["line"] = line + np.repeat(np.arange(n // 2), 2)
            columns.append(read)
            names += [(s.source, f"clock_offset[{i}]") for i in range(2)]
            line += n // 2
    if ticks_s:
        at = np.arange(0.0, seconds, ticks_s)
        columns.append(_blank(at, at) | {"name": np.full(len(at), -1), "value": at * np.nan})
    table = {key: np.concatenate([c[key] for c in columns]) for key in columns[0]}
    order = np.argsort(table["rx"], kind="stable")
    table = {key: v[order] for key, v in table.items()}
    n = len(order)
    places = [(i + 1) * n // (rejects + 1) for i in range(rejects)]
    return Batch(
        rig="studio",
        names=tuple(names),
        name=table["name"].astype(np.int32),
        ts=START + table["ts"],
        rx=START + table["rx"] + 1e6 * table["wild"],
        stamped=table["stamped"] > 0,
        wild=table["wild"] > 0,
        value=table["value"],
        seq=table["seq"].astype(np.int64),
        line=table["line"].astype(np.int64),
        markers=tuple(
            Marker(int(i), texts[int(table["text"][i])]) for i in np.flatnonzero(table["text"] >= 0)
        ),
        rejects=tuple(
            Reject(at, "json", "osc_1", f"demo:{i}", b"{") for i, at in enumerate(places)
        ),
        end=True,
    )


def _blank(ts: F64, rx: F64) -> dict[str, F64]:
    n = len(ts)
    return {
        "ts": ts,
        "rx": rx,
        "stamped": np.zeros(n),
        "wild": np.zeros(n),
        "value": np.zeros(n),
        "seq": np.full(n, -1.0),
        "line": np.full(n, -1.0),
        "text": np.full(n, -1.0),
        "name": np.zeros(n),
    }


def _rows(
    s: Source, seconds: float, moves: Callable[[F64], F64], rng: np.random.Generator
) -> dict[str, F64]:
    n = int(seconds * s.rate_hz)
    host = (np.arange(n) + rng.random()) / s.rate_hz
    value = (s.value or moves)(host - s.lag_s) + s.noise * rng.standard_normal(n)
    thrown = rng.random(n) < s.outliers
    value += thrown * rng.choice([-1.0, 1.0], n) * rng.uniform(8, 20, n)
    if s.held:
        value = np.clip(np.round(63.5 + 12.7 * value), 0, 127)
    queue = rng.exponential(s.queue_s, n) if s.queue_s else np.zeros(n)
    for a, b, late in s.delays:
        queue += late * ((host >= a) & (host < b))
    for a, b in s.stalls:
        queue += (b - host) * ((host >= a) & (host < b))
    if s.bursts_s:
        queue += np.ceil(host / s.bursts_s) * s.bursts_s - host
    clock = host * (1 + s.skew_ppm * 1e-6) - s.offset_s
    for at, step in s.resets:
        clock = clock + step * (host >= at)
    if s.grain_s:
        clock = np.round(clock / s.grain_s) * s.grain_s
    c = _blank(clock if s.stamped else host + queue, host + queue)
    c |= {"value": value, "stamped": np.full(n, float(s.stamped))}
    c["seq"] = np.arange(n) if s.sequenced else c["seq"]
    kept = rng.random(n) >= s.loss
    for a, b in s.silent:
        kept &= ~((host >= a) & (host < b))
    if s.held:
        kept &= np.diff(value, prepend=np.nan) != 0
    c = {key: v[kept] for key, v in c.items()}
    picked = rng.permutation(len(c["ts"]))[: s.wild + s.wild_arrivals + s.far + s.duplicates]
    wild, arrivals, far, twice = np.split(picked, np.cumsum([s.wild, s.wild_arrivals, s.far]))
    c["ts"][wild] += 1e6
    c["wild"][arrivals] = 1.0
    c["value"][far] = 1000.0
    copies = {key: v[twice].copy() for key, v in c.items()}
    copies["rx"] += 0.002
    at = np.array([t for t, _ in s.markers])
    markers = _blank(at * (1 + s.skew_ppm * 1e-6) - s.offset_s, at + 0.001)
    for when, step in s.resets:
        markers["ts"] = markers["ts"] + step * (at >= when)
    markers |= {"value": at * np.nan, "text": np.arange(len(at)), "stamped": at * 0 + s.stamped}
    both = {key: np.concatenate((c[key], copies[key], markers[key])) for key in c}
    order = np.argsort(both["rx"], kind="stable")
    return {key: v[order] for key, v in both.items()}


def _readings(s: Source, seconds: float, rng: np.random.Generator) -> dict[str, F64]:
    """Return the two-way readings of a source's clock, two rows each."""
    host = np.arange(0.7, seconds, s.read_s)
    n = len(host)
    out, back = rng.exponential(0.004, (2, n))
    clock = host * (1 + s.skew_ppm * 1e-6) - s.offset_s
    for at, step in s.resets:
        clock = clock + step * (host >= at)
    offset = host - clock + (out - back) / 2
    offset[6::7] += rng.choice([-1e9, -1.0, 0.3, 1e9], len(offset[6::7]))
    c = _blank(np.repeat(clock, 2), np.repeat(host + back, 2))
    return c | {
        "value": np.ravel(np.column_stack((offset, (out + back) / 2))),
        "stamped": np.ones(2 * n),
    }


# -- cut ----------------------------------------------------------------------------------------


def cut(batch: Batch, places: Iterable[int], *, rejects_first: bool = True) -> list[Batch]:
    """Return the batch in pieces that begin at these rows.

    A reject at the beginning of a piece belongs to it, or to the end of the previous piece.
    """
    n = len(batch.ts)
    edges = [0, *sorted(min(max(p, 0), n) for p in places), n]
    pieces = []
    taken = 0
    for i, (a, b) in enumerate(itertools.pairwise(edges)):
        last = i == len(edges) - 2
        upto = [r for r in batch.rejects if last or r.row < b or (not rejects_first and r.row == b)]
        mine, taken = upto[taken:], max(taken, len(upto))
        rows = slice(a, b)
        pieces.append(
            Batch(
                rig=batch.rig,
                names=batch.names,
                name=batch.name[rows],
                ts=batch.ts[rows],
                rx=batch.rx[rows],
                stamped=batch.stamped[rows],
                wild=batch.wild[rows],
                value=batch.value[rows],
                seq=batch.seq[rows],
                line=batch.line[rows],
                markers=tuple(m._replace(row=m.row - a) for m in batch.markers if a <= m.row < b),
                rejects=tuple(msgspec.structs.replace(r, row=r.row - a) for r in mine),
                controls=tuple(c._replace(row=c.row - a) for c in batch.controls if a <= c.row < b),
                end=batch.end and last,
            )
        )
    return pieces


def every(batch: Batch, rows: int) -> list[Batch]:
    """Return the batch in pieces of `rows` rows."""
    return cut(batch, range(rows, len(batch.ts), rows))


# -- plans --------------------------------------------------------------------------------------


def plan(
    members: Sequence[str | Member] = ("ure:pulse", "osc_1:/pulse"),
    *,
    channels: dict[str, ChannelConfig] | None = None,
    reference: str = "auto",
    scale: str = "consensus",
    **given: Any,
) -> Plan:
    """Return the plan of one signal `pulse`; channels of `ure` are in the group `ure`."""
    group = {True: "ure", False: "sensors"}
    all_of_them = tuple(
        m if isinstance(m, Member) else Member("pulse", m, group[m.startswith("ure")])
        for m in members
    )
    return Plan(
        rig="studio",
        signals=(Signal("pulse", all_of_them, reference, scale),),
        patterns=tuple((channels or {}).items()),
        **given,
    )


def known(channel: str, lag_s: float = 0.0, sd: float = 0.001, group: Any = None) -> Member:
    """Return a member with a given lag: live at once."""
    group = group or ("ure" if channel.startswith("ure") else "sensors")
    return Member("pulse", channel, group, lag_s, sd)


# -- run ----------------------------------------------------------------------------------------


def makers(
    p: Plan,
    block_s: BlockRule = 1.0,
    *,
    align: AlignConfig | None = None,
    quality: QualityConfig | None = None,
    rules: tuple[Rule, ...] = (),
    bridge: BridgeConfig | None = None,
    known: Hindsight | None = None,
) -> dict[str, Make]:
    """Return, by station, what builds its core from a snapshot or None."""
    settings = Settings(
        plan=p,
        block_s=block_s,
        align=align or AlignConfig(),
        quality=quality or QualityConfig(),
        rules=rules,
        bridge=bridge or BridgeConfig(),
    )
    return pipeline.makers(settings, known)


def feed(core: Any, items: Iterable[Any]) -> list[Packet]:
    """Return the packets of a core for its items."""
    out: list[Packet] = []
    for item in items:
        made = core.update(item)
        out += made if isinstance(made, list) else [made]
    return out


def trace(make: dict[str, Make], batches: Iterable[Batch]) -> dict[str, list[Packet]]:
    """Return the output of each station."""
    out: dict[str, list[Packet]] = {}
    items: list[Any] = list(batches)
    for station, build in make.items():
        items = out[station] = feed(build(None), items)
    return out


def run(make: dict[str, Make], batches: Iterable[Batch]) -> list[Packet]:
    """Return the output of the last station."""
    return trace(make, batches)[next(reversed(make))]


def block(channel: str, time: F64, value: F64, **given: Any) -> Block:
    """Return rows like the output of `drift`: in order, each known at its own time."""
    n = len(time)
    b = Block(
        source=channel.partition(":")[0],
        channel=channel,
        row=np.arange(n),
        source_time=time,
        arrival=time,
        value=value,
        watermark=time,
        stamped=np.ones(n, bool),
        line=np.arange(n),
        host_time=time,
        straggler=np.zeros(n, bool),
    )
    return replace(b, **given)


def packet(
    *blocks: Block, upto: float | None = None, end: bool = True, first: float | None = None
) -> Packet:
    """Return a packet of blocks with the newest arrival, or `upto`, as watermark."""
    times = np.concatenate([b.arrival for b in blocks]) if blocks else np.empty(0)
    hosts = np.concatenate([b.host_time for b in blocks]) if blocks else np.empty(0)
    upto = upto if upto is not None else float(times.max())
    return Packet(
        "studio",
        upto,
        end,
        np.unique(np.append(times, upto)),
        blocks,
        first_host=first if first is not None else float(hosts.min()),
        newest_host=float(hosts.max()) if len(hosts) else upto,
    )
