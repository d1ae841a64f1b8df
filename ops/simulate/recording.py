"""Seeded recordings with known truth.

Several instruments measure one movement, each with its own clock, rate, lag and faults. The
movement is a sum of sinusoids from 0.05 to 1.5 Hz with a 1/f spectrum, a peak at the breathing
rate and a slow swell. It never repeats, so that a lag is unique.

All truth is on the host axis: arrival less queueing. The constant path delay stays included, since
one-way stamps cannot show it. Equal arguments give equal bytes.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from operators.types import F64, I64, Bool
from ops.simulate.beats import BeatScenario, BeatTrain, train, truth_of
from ops.simulate.movement import Movement
from ops.simulate.scenario import Scenario, Sensor, Span

START = 1_730_000_000.0
HELD_SPAN = 10.0
"""Range of a held controller (0 to 127) in units of the signal, zero in the middle."""
FACTS = {
    "ure_phase_diff_mean": (0.012, 0.046, 0.001),
    "ure_harmony_index": (0.90, 0.71, 0.006),
    "ure_coherence_level": (0.93, 0.70, 0.006),
    "ure_residual_entropy_last": (0.08, 0.34, 0.004),
}
"""Facts of the engine: value in calm, value in trouble, and noise (sd)."""
DAMAGED = (
    '{"ts":1730000000.1,"source":"osc_1","key":',
    "#bundle /body/pulse ,f",
    '{"ts":1730000000.1,"source":"osc_2","key":"/wrist/pulse","value":null}',
)


class Measured(Protocol):
    """A signal, defined at any time."""

    def at(self, time: F64) -> F64:
        """Return the value at `time` (n,), in seconds after the start."""


@dataclass
class SimulatedRows:
    """Events as columns: host time and arrival in s after the start, source time in s."""

    name: I64
    host: F64
    rx: F64
    ts: F64
    value: F64
    seq: I64
    stamped: Bool
    outlier: Bool

    def take(self, index: I64 | Bool | slice) -> SimulatedRows:
        """Return the selected rows."""
        return SimulatedRows(**{k: v[index] for k, v in vars(self).items()})

    @staticmethod
    def join(parts: Iterable[SimulatedRows]) -> SimulatedRows:
        """Return the rows of all parts, in their order."""
        columns = [vars(p) for p in parts]
        return SimulatedRows(**{k: np.concatenate([c[k] for c in columns]) for k in columns[0]})


@dataclass(frozen=True)
class SimulatedRecording:
    """Rows in order of arrival, damaged lines, and the truth about them."""

    scenario: Scenario
    seed: int
    movement: Measured
    names: tuple[tuple[str, str], ...]
    rows: SimulatedRows
    damaged: tuple[tuple[float, str], ...] = ()
    truth: dict[str, Any] = field(default_factory=dict)

    def clean(self, host: F64) -> F64:
        """Return the movement itself at `host` (n,), epoch seconds of the host axis."""
        return self.movement.at(host - START - self.scenario.path_s)

    def lines(self) -> Iterator[tuple[float, str]]:
        """Yield each line with its arrival (s after the start), in order."""
        yield from _in_order([*self._lines(), *self.damaged])

    def _lines(self) -> Iterator[tuple[float, str]]:
        rig = f',"rig":{json.dumps(self.scenario.rig)}' if self.scenario.rig else ""
        heads = [f'"source":{json.dumps(s)},"key":{json.dumps(k)}' for s, k in self.names]
        rows = self.rows
        columns = (rows.name, rows.ts, rows.rx, rows.value, rows.seq, rows.stamped)
        for n, ts, rx, value, seq, own in zip(*(c.tolist() for c in columns), strict=True):
            stamp = f'"rx":{START + rx:.6f},' if own else ""
            yield (
                rx,
                f'{{"ts":{ts:.6f},{heads[n]},"value":{value:.5g}{rig},'
                f'"meta":{{{stamp}"seq":{seq}}}}}',
            )

    def write(self, path: Path) -> Path:
        """Write the recording, gzipped for a name in `.gz`, and the truth beside it.

        Returns
        -------
        Path
            The truth: `<name>.truth.json`.
        """
        write(path, self)
        truth = path.with_name(path.name.removesuffix(".gz").removesuffix(".ndjson"))
        truth = truth.with_name(truth.name + ".truth.json")
        truth.write_text(json.dumps(self.truth, indent=1) + "\n", "utf-8")
        return truth


def write(path: Path, *recordings: SimulatedRecording) -> None:
    """Write recordings, of several rigs for instance, into one file in order of arrival."""
    lines = _in_order([line for r in recordings for line in r.lines()])
    data = "".join(f"{text}\n" for _, text in lines).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 9, mtime=0) if path.suffix == ".gz" else data)


def _in_order(lines: list[tuple[float, str]]) -> list[tuple[float, str]]:
    return sorted(lines, key=lambda line: line[0])


def make(scenario: Scenario, seed: int = 0, movement: Measured | None = None) -> SimulatedRecording:
    """Record a scenario.

    Parameters
    ----------
    scenario : Scenario
        Instruments and their faults.
    seed : int
        Seed of movement, noise, losses and delays; each sensor has a random stream of its own,
        so that a change of one leaves the others unchanged.
    movement : Measured, optional
        The measured signal; by default drawn from the seed.
    """
    movement = movement or Movement(np.random.default_rng([seed, 0]), flat=scenario.flat)
    names = tuple((s.source, s.key) for s in scenario.sensors)
    parts = [
        _measure(scenario, sensor, k, movement, np.random.default_rng([seed, 1, k]))
        for k, sensor in enumerate(scenario.sensors)
    ]
    if scenario.facts_every_s:
        names += tuple(("ure", key) for key in FACTS)
        facts = range(len(parts), len(names))
        rng = np.random.default_rng([seed, 2])
        parts += [_report(scenario, k, *FACTS[names[k][1]], rng) for k in facts]
    beats = scenario.beats
    if beats is not None:
        made = train(beats, scenario.seconds, seed)
        parts += _beat_rows(scenario, beats, made, len(names), np.random.default_rng([seed, 7]))
        source, key = beats.name
        names += ((source, key), (source, "transport"))
    rows = SimulatedRows.join(parts)
    rows = rows.take(np.argsort(rows.rx, kind="stable"))
    rng = np.random.default_rng([seed, 3])
    at = np.sort(rng.uniform(0, scenario.seconds, scenario.damaged))
    damaged = [(float(t), DAMAGED[k % len(DAMAGED)]) for k, t in enumerate(at)]
    recording = SimulatedRecording(scenario, seed, movement, names, rows, tuple(damaged))
    recording.truth.update(_truth(recording))
    if beats is not None:
        recording.truth["beats"] = truth_of(beats, made, START, scenario.path_s)
    return recording


def _beat_rows(
    scenario: Scenario, beats: BeatScenario, made: BeatTrain, name: int, rng: np.random.Generator
) -> list[SimulatedRows]:
    """Return the beats as they arrive; before those of a MIDI clock a Start."""
    sender = Sensor(
        *beats.name, 1.0, offset_s=beats.offset_s, skew_ppm=beats.skew_ppm, stamped=beats.stamped
    )
    rows = _arrive(scenario, sender, name, made.sent, np.ones(len(made.sent)), rng)
    if beats.stamped or not len(made.sent):
        return [rows]
    first = rows.take(slice(0, 1))
    return [replace(first, name=first.name + 1, seq=first.seq - 1), rows]


def _measure(
    scenario: Scenario, sensor: Sensor, name: int, movement: Measured, rng: np.random.Generator
) -> SimulatedRows:
    sent = np.arange(int(scenario.seconds * sensor.rate_hz) + 1) / sensor.rate_hz
    sent = (sent + rng.random() / sensor.rate_hz)[:-1]
    value = movement.at(sent - sensor.lag_s) + sensor.noise * rng.standard_normal(len(sent))
    for span, sd in sensor.noisy:
        value += _within(sent, span) * sd * rng.standard_normal(len(sent))
    value = sensor.bias + sensor.gain * value
    rows = _arrive(scenario, sensor, name, sent, value, rng)
    kept = rng.random(len(sent)) >= sensor.loss
    for span in sensor.silent:
        kept &= ~_within(sent, span)
    if sensor.held:
        rows.value = np.clip(np.round(63.5 + value * 127 / HELD_SPAN), 0, 127)
        kept &= np.diff(rows.value, prepend=np.nan) != 0
    rows = rows.take(kept)
    return _spoil(sensor, rows, rng)


def _spoil(sensor: Sensor, rows: SimulatedRows, rng: np.random.Generator) -> SimulatedRows:
    """Return the rows with faults: outliers, implausible values and stamps, duplicates."""
    n = len(rows.value)
    rows.outlier = rng.random(n) < sensor.outliers
    size = rng.choice([-1.0, 1.0], n) * rng.uniform(8, 20, n)
    sound = rng.permutation(np.flatnonzero(~rows.outlier))
    rows.value = rows.value + rows.outlier * size
    wild, far, copied = np.split(
        sound[: sensor.wild + sensor.out_of_range + sensor.duplicates],
        [sensor.wild, sensor.wild + sensor.out_of_range],
    )
    rows.ts[wild] += 1e6
    rows.value[far] = 1000.0
    copies = rows.take(copied)
    copies.rx = copies.rx + rng.uniform(0.001, 0.003, len(copied))
    return SimulatedRows.join([rows, copies])


def _report(
    scenario: Scenario, name: int, calm: float, troubled: float, sd: float, rng: np.random.Generator
) -> SimulatedRows:
    sent = np.arange(0.5, scenario.seconds, scenario.facts_every_s)
    # The facts rise and fall within 6 s.
    rise = [
        np.clip((sent - a) / 6, 0, 1) * np.clip((b + 6 - sent) / 6, 0, 1)
        for a, b in scenario.trouble
    ]
    level = np.max(rise, axis=0, initial=0.0) if rise else np.zeros(len(sent))
    value = calm + (troubled - calm) * level + sd * rng.standard_normal(len(sent))
    engine = next((s for s in scenario.sensors if s.source == "ure"), Sensor("ure", "", 1.0))
    rows = _arrive(scenario, engine, name, sent, value, rng)
    for span in engine.silent:
        rows = rows.take(~_within(rows.host, span))
    return rows


def _arrive(
    scenario: Scenario, sensor: Sensor, name: int, sent: F64, value: F64, rng: np.random.Generator
) -> SimulatedRows:
    """Return readings with their arrival times and the stamps of the sensor clock."""
    n = len(sent)
    host = sent + scenario.path_s
    rx = np.round(host + rng.exponential(scenario.queue_s, n), 6)
    if not sensor.stamped:
        rx = np.maximum.accumulate(rx)  # a cable keeps the order, a network does not
    clock = sent * (1 + sensor.skew_ppm * 1e-6) - sensor.offset_s
    for at, step in sensor.resets:
        clock = clock + step * (host >= at)
    return SimulatedRows(
        name=np.full(n, name),
        host=host,
        rx=rx,
        ts=START + (clock if sensor.stamped else rx),
        value=value,
        seq=np.arange(n),
        stamped=np.full(n, sensor.stamped),
        outlier=np.zeros(n, bool),
    )


def _within(time: F64, span: Span) -> Bool:
    return (time >= span[0]) & (time < span[1])


def _truth(recording: SimulatedRecording) -> dict[str, Any]:
    scenario, rows = recording.scenario, recording.rows
    channels = {}
    for k, s in enumerate(scenario.sensors):
        mine = rows.name == k
        # Without stamps, the mean queueing delay counts as lag. For a held channel, so does half
        # of its reading period.
        lag = s.lag_s + scenario.queue_s * (not s.stamped) + s.held / s.rate_hz / 2
        offset = s.offset_s + scenario.path_s * (1 + s.skew_ppm * 1e-6)
        channels[s.channel] = {
            "source": s.source,
            "group": s.group,
            "kind": "held" if s.held else "sampled",
            "rate_hz": s.rate_hz,
            "noise_sd": s.noise,
            "offset_s": round(offset, 9) if s.stamped else None,
            "skew_ppm": s.skew_ppm if s.stamped else None,
            "lag_s": round(lag, 6),
            "resets": [{"at": START + at, "step_s": step} for at, step in s.resets],
            "silent": [[START + a, START + b] for a, b in s.silent],
            "noisy": [[START + a, START + b] for (a, b), _ in s.noisy],
            "received": int(mine.sum()),
            "outliers": int(rows.outlier[mine].sum()),
            "duplicates": s.duplicates,
            "out_of_range": s.out_of_range,
            "wild_stamps": s.wild,
        }
    ticks = START + np.arange(int(scenario.seconds * scenario.tick_hz) + 1) / scenario.tick_hz
    return {
        "version": 1,
        "seed": recording.seed,
        "seconds": scenario.seconds,
        "start": START,
        "rig": scenario.rig,
        "signal": "pulse",
        "path_s": scenario.path_s,
        "queue_s": scenario.queue_s,
        "received": len(rows.value) + scenario.damaged,
        "damaged": scenario.damaged,
        "trouble": [[START + a, START + b] for a, b in scenario.trouble],
        "channels": channels,
        "tick_hz": scenario.tick_hz,
        "clean": np.round(recording.clean(ticks), 6).tolist(),
        "versions": {"numpy": np.__version__},
    }
