"""From the release of a grid tick that stops the output to the last tick that is sent.

    python -m ops.bench.hard_stop [--stops 100] [--seed 0]

A band plays in real time through all stations under `configs/bridge.yaml`, in blocks of 50 ms. Its
engine reports an alarm for 1.2 s at random moments; the hard stop is on that alarm, without
`hard_stop_keep_s`, and nothing is rolled back. The clock is a process of its own, and the kernel of
the receiver stamps each datagram. Silence is the stamp of the last datagram after the release of
the first grid tick with the alarm, less that release. Asked: at most one bridge tick and the lead.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from configs.load import load
from configs.outputs import OscClockConfig
from configs.schema import Config
from flows.pipeline import Pipeline
from operators.types import F64
from ops.bench.bridge_cuts import SHIPPED, one_batch, pieces
from ops.bench.tick_jitter import received, receiver
from ops.simulate.beats import BeatScenario
from ops.simulate.recording import START, SimulatedRecording, SimulatedRows, make
from ops.simulate.scenario import band
from ops.text.table import table
from sinks.conductor.clock_process import steady
from sinks.conductor.conductor import Conductor, OscTickPlayer
from sinks.conductor.play_axis import LiveAxis, distance

BLOCK_S, ALARM_HZ = 0.05, 10.0
BEAT_HZ = 4.7
"""Not a part of the grid, so that ticks pass through it."""
FIRST_S, LONG_S, APART_S = 25.0, 1.2, 1.6
"""First alarm, length of one, least time from the end of one to the next (s)."""
SOUNDING_S = 0.5
"""A stop counts where a tick was sent so long before it."""
SETTINGS = """\
facts: ["ure:alarm"]
"""
SAFETY = """\
  protocol: {idle_s: 2}
  safety: {hard_stop_on: ["alarm > 0.5"], hard_stop_keep_s: 0, rollback_ratio_5m_max: 1}
"""


class BenchHost:
    """Host time that began with the recording."""

    ahead_s = 0.0

    def __init__(self) -> None:
        self._begun = steady()

    def __call__(self) -> float:
        """Return host time (s)."""
        return START + steady() - self._begun


class StopPlayed(NamedTuple):
    """Times of one run (host s): stops, first ticks after them, and datagrams."""

    begun: F64
    ended: F64
    sent: F64
    lead_s: float
    tick_s: float


def alarmed(seconds: float, onsets: F64, seed: int) -> SimulatedRecording:
    """Return a band whose engine reports an alarm from each onset on (s after the start)."""
    made = make(band(BeatScenario(rate_hz=BEAT_HZ), seconds), seed)
    at = np.arange(0, seconds, 1 / ALARM_HZ)
    since = at - onsets[np.maximum(np.searchsorted(onsets, at, side="right") - 1, 0)]
    n = len(at)
    alarm = SimulatedRows(
        name=np.full(n, len(made.names)),
        host=at,
        rx=at,
        ts=START + at,
        value=((since >= 0) & (since < LONG_S)).astype(np.float64),
        seq=np.arange(n),
        stamped=np.full(n, True),
        outlier=np.zeros(n, bool),
    )
    rows = SimulatedRows.join([made.rows, alarm])
    order = np.argsort(rows.rx, kind="stable")
    return replace(made, names=(*made.names, ("ure", "alarm")), rows=rows.take(order))


def configuration(folder: Path) -> Config:
    """Return the shipped configuration with the alarm as its hard stop."""
    text = SHIPPED.read_text("utf-8").replace("path: configs/", f"path: {SHIPPED.parent}/")
    text = text.replace("bridge:\n", f"{SETTINGS}bridge:\n{SAFETY}")
    path = folder / "hard_stop.yaml"
    path.write_text(text, "utf-8")
    return load(path).config


def play(stops: int, seed: int) -> StopPlayed:
    """Play a recording with so many alarms in real time."""
    rng = np.random.default_rng([seed, 3])
    onsets = FIRST_S + np.cumsum(LONG_S + APART_S + rng.uniform(0, 1, stops))
    made = alarmed(float(onsets[-1]) + LONG_S + APART_S + 3, onsets, seed)
    batch = one_batch(made)
    ends = np.arange(BLOCK_S, made.rows.rx[-1], BLOCK_S)
    parts = pieces(batch, np.searchsorted(made.rows.rx, ends).tolist())
    with tempfile.TemporaryDirectory() as folder:
        config = configuration(Path(folder))
    assert config.bridge is not None
    peer = receiver()
    to = f"127.0.0.1:{peer.getsockname()[1]}"
    shortest_s = config.bridge.loop.min_tick_ms / 1000
    player = OscTickPlayer("bench", to, OscClockConfig(address="/t"), shortest_s)
    host = BenchHost()
    conductor = Conductor(config, LiveAxis(host, steady), 1.0, [player])
    pipeline = Pipeline(config)
    conductor.start()
    ticks: list[tuple[float, float]] = []
    for part in parts:
        if not len(part.rx):
            continue
        time.sleep(max(float(part.rx[-1]) - host(), 0.0))
        packets = list(pipeline.run((part,)))
        conductor.consume(packets)
        for packet in packets:
            if packet.fused is not None and len(packet.fused):
                at = packet.fused.fact_names.index("ure:alarm")
                alarm = packet.fused.facts[:, at].tolist()
                ticks += zip(packet.fused.released.tolist(), alarm, strict=True)
    conductor.stop()
    wall = distance(time.time, host)[0]
    sent = np.array([stamp for stamp, _ in received(peer)]) - wall
    peer.close()
    released, alarm = np.array(ticks).T
    edge = np.diff((alarm > 0.5).astype(int), prepend=0)
    begun, ended = released[edge > 0], released[edge < 0]
    return StopPlayed(
        begun, ended[: len(begun)], sent, config.lead_s(), config.bridge.loop.tick_ms / 1000
    )


def silences(played: StopPlayed) -> F64:
    """Return the time from each stop to the last datagram before the next begin (s)."""
    found = []
    for begun, ended in zip(played.begun, played.ended, strict=False):
        before = (played.sent > begun - SOUNDING_S) & (played.sent <= begun)
        after = played.sent[(played.sent > begun) & (played.sent < ended)]
        if before.any():
            found.append(float(after[-1] - begun) if len(after) else 0.0)
    return np.array(found)


def main() -> int:
    """Print the figures; 1 where a stop is beyond its bound."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.bench.hard_stop",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stops", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    played = play(args.stops, args.seed)
    silence = silences(played)
    bound_s = played.tick_s + played.lead_s
    good = int(np.sum(silence <= bound_s))
    figures = np.quantile(silence, (0.5, 0.95, 1.0)) if len(silence) else np.full(3, np.nan)
    rows = [
        ("median", f"{figures[0]:.3f} s", ""),
        ("p95", f"{figures[1]:.3f} s", ""),
        ("worst", f"{figures[2]:.3f} s", f"{bound_s:.3f} s"),
        ("within the bound", f"{good} of {len(silence)}", f"{args.stops} of {args.stops}"),
        ("ticks sent", f"{len(played.sent)}", ""),
    ]
    print(table(("from release to silence", "found", "asked"), rows))
    return 0 if good == args.stops else 1


if __name__ == "__main__":
    raise SystemExit(main())
