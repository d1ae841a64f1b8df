"""Content of a simulated recording: instruments, clocks, paths and faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ops.simulate.beats import BeatScenario

Span = tuple[float, float]


@dataclass(frozen=True)
class Sensor:
    """One channel: an instrument, its clock, its path to the host and its faults.

    Attributes
    ----------
    rate_hz : float
        Readings a second; a `held` channel is read at this rate and sent on change.
    offset_s, skew_ppm, lag_s : float
        Clock offset at the start, clock skew, and lag of the reading. On the host axis the
        offset is larger by the path delay.
    noise : float
        Standard deviation of one reading; the movement has an RMS of 1.
    gain, bias : float
        Scale and offset of the reading: bias + gain (movement + noise).
    loss, outliers : float
        Share of the readings lost; share with an error of 8 to 20.
    duplicates, out_of_range, wild : int
        Number of duplicate packets; of values of 1000; of stamps 1e6 s ahead.
    resets : tuple of (host s after the start, s)
        Times and sizes of the steps of the source clock.
    silent : tuple of (from, to)
        Host seconds after the start.
    noisy : tuple of ((from, to), sd)
        Spells of noise.
    held, stamped : bool
        Quantised to 0..127 and sent on change; stamped by a clock of its own.
    """

    source: str
    key: str
    rate_hz: float
    group: Literal["ure", "sensors"] = "sensors"
    offset_s: float = 0.0
    skew_ppm: float = 0.0
    lag_s: float = 0.0
    noise: float = 0.1
    gain: float = 1.0
    bias: float = 0.0
    loss: float = 0.0
    outliers: float = 0.0
    duplicates: int = 0
    out_of_range: int = 0
    wild: int = 0
    resets: tuple[Span, ...] = ()
    silent: tuple[Span, ...] = ()
    noisy: tuple[tuple[Span, float], ...] = ()
    held: bool = False
    stamped: bool = True

    @property
    def channel(self) -> str:
        """Its name."""
        return f"{self.source}:{self.key}"


@dataclass(frozen=True)
class Scenario:
    """Instruments of one recording, and the properties of their paths.

    Attributes
    ----------
    path_s, queue_s : float
        Constant delay of every path; mean of the exponential queueing on top (s).
    facts_every_s : float
        Period of the facts of the engine (s); 0: no facts.
    trouble : tuple of (from, to)
        Spells of bad facts (host s after the start).
    damaged : int
        Number of undecodable lines.
    beats : BeatScenario or None
        The reference of a bridge, beside the instruments.
    flat : bool
        The movement has a flat spectrum from 0.02 to 1.5 Hz, as assumed by the accuracy bars,
        instead of that of a body.
    """

    seconds: float
    sensors: tuple[Sensor, ...]
    rig: str | None = None
    path_s: float = 0.002
    queue_s: float = 0.005
    facts_every_s: float = 0.0
    trouble: tuple[Span, ...] = ()
    damaged: int = 0
    tick_hz: float = 5.0
    flat: bool = False
    beats: BeatScenario | None = None


def studio(seconds: float = 180.0) -> Scenario:
    """Return the studio of the demo: one performer, four instruments, every kind of fault.

    Times are those of three minutes and scale with `seconds`.
    """
    unit = seconds / 180
    noisy, silent = (50 * unit, 75 * unit), (112 * unit, 124 * unit)
    return Scenario(
        seconds=seconds,
        sensors=(
            Sensor(
                "ure",
                "pulse",
                20.0,
                "ure",
                noise=0.1,
                loss=0.02,
                silent=((150 * unit, 156 * unit),),
            ),
            Sensor(
                "osc_1",
                "/body/pulse",
                50.0,
                offset_s=-3.214,
                skew_ppm=87.0,
                lag_s=0.18,
                noise=0.12,
                loss=0.02,
                duplicates=5,
                wild=1,
                resets=((90 * unit, 0.5),),
                silent=(silent,),
            ),
            Sensor(
                "osc_2",
                "/wrist/pulse",
                31.7,
                offset_s=7.905,
                skew_ppm=-140.0,
                lag_s=0.42,
                noise=0.12,
                loss=0.02,
                outliers=0.01,
                out_of_range=1,
                noisy=((noisy, 1.2),),
                silent=(silent,),
            ),
            Sensor(
                "midi_1",
                "cc/1/1",
                38.3,
                lag_s=0.05,
                noise=0.02,
                held=True,
                stamped=False,
            ),
        ),
        facts_every_s=2.0,
        trouble=(noisy,),
        damaged=3,
    )


def band(beats: BeatScenario, seconds: float = 180.0) -> Scenario:
    """Return a band of two instruments that move alike, and the beats of a third."""
    return Scenario(
        seconds=seconds,
        sensors=(
            Sensor("ure", "pulse", 10.0, "ure"),
            Sensor("osc_2", "/wrist/pulse", 15.0, offset_s=7.905, skew_ppm=-140.0, lag_s=0.42),
        ),
        beats=beats,
    )


def laboratory(
    seed: int, snr_db: float = 20.0, seconds: float = 600.0, members: int = 5, gains: float = 0.0
) -> Scenario:
    """Return the instruments of the accuracy figures.

    A reference on the host clock and four sensors with clocks within 200 ppm, lags within
    2 s and offsets within 5 s, drawn by the seed; each sensor's clock steps by 0.5 s at half time.

    Parameters
    ----------
    snr_db : float
        Power of the movement relative to the noise of one reading (dB).
    members : int
        Number of channels, the reference included, five at most.
    gains : float
        Largest deviation of the gains of the sensors from 1.
    """
    rng = np.random.default_rng([seed, 4])
    gain = 1 + gains * np.random.default_rng([seed, 5]).uniform(-1, 1, 4)
    noise = 10 ** (-snr_db / 20)
    sensors = [Sensor("ure", "pulse", 20.0, "ure", noise=noise, loss=0.02, outliers=0.01)]
    for k, rate_hz in enumerate((25.0, 31.7, 50.0, 64.0)):
        skew_ppm, lag_s, offset_s = rng.uniform(-1, 1, 3) * (200, 2, 5)
        sensors.append(
            Sensor(
                f"s{k + 1}",
                "pulse",
                rate_hz,
                offset_s=float(offset_s),
                skew_ppm=float(skew_ppm),
                lag_s=float(lag_s),
                noise=noise,
                loss=0.02,
                outliers=0.01,
                resets=((seconds / 2, 0.5),),
                gain=float(gain[k]),
            )
        )
    return Scenario(seconds=seconds, sensors=tuple(sensors[:members]), flat=True)
