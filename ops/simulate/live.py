"""`lumen simulate --live`: the devices of a configuration, simulated in real time.

All devices measure one movement of `ops.simulate.movement`, each with a lag of its own. The clock
of an OSC sender has a large offset and a skew. The truth about each device is printed at the start.
"""

from __future__ import annotations

import sys
import threading

import numpy as np

from configs.inputs import MidiStream, OscStream, UreStream
from configs.schema import Config
from ops.simulate.beats import BeatScenario, train
from ops.simulate.devices import Controller, Device, DeviceClock, DeviceSender, UrePage, readings
from ops.simulate.movement import Movement
from ops.text.table import table
from sources.host.host_clock import HostClock
from sources.host.signal_shutdown import SignalShutdown

MAX_OFFSET_S = 3600.0
"""Largest offset of a device clock."""
MAX_SKEW_PPM = 150.0
NOISE = 0.05
"""Noise of a reading (sd); the movement has an RMS of 1."""
_MAX_LAG_S = 0.2
_BEATS_S = 3600.0
"""Length of the beats of a run without end."""
_MAX_LATE_S = 0.05
"""Lateness of a beat beyond which it is not sent."""


def devices(
    config: Config, rng: np.random.Generator, began: float
) -> tuple[list[Device], list[str]]:
    """Return the devices of a configuration, and the reasons for streams without one."""
    plan = config.plan()
    with_reference = {s.reference.partition(":")[0] for s in plan.signals}
    given = {m.channel.partition(":")[0]: m.lag_s for m in plan.members if m.lag_s is not None}
    streams = sorted(config.streams, key=lambda s: s.name not in with_reference)
    span = min(plan.wait_lag_s, config.align.max_lag_s, 2 * _MAX_LAG_S) / 2
    made: list[Device] = []
    missing: list[str] = []
    for k, stream in enumerate(streams):
        lag = given.get(stream.name, span * k / len(streams))
        far, skew = rng.uniform(-MAX_OFFSET_S, MAX_OFFSET_S), rng.uniform(-1, 1) * MAX_SKEW_PPM
        clock = DeviceClock(began, lag_s=lag)
        contents = readings(plan, stream.name, getattr(stream, "keys", ()))
        beats = [c.partition(":")[2] for c in plan.beats if c.startswith(f"{stream.name}:")]
        try:
            match stream:
                case OscStream():
                    own = DeviceClock(began, far, skew, lag)
                    made.append(DeviceSender(stream, contents, own, beats))
                case MidiStream():
                    if stream.device.startswith("hw:"):
                        raise ValueError(
                            f"{stream.device} is the port of a card, which cannot be created"
                        )
                    made.append(Controller(stream, contents, clock, beats))
                case UreStream():
                    made.append(UrePage(stream, contents, clock, rng, beats))
                case _:
                    continue
        except ValueError as error:
            missing.append(f"{stream.name} is not played: {error}")
    return made, missing


def play(
    config: Config,
    seconds: float | None = None,
    seed: int = 1,
    done: threading.Event | None = None,
    began: float | None = None,
    beats: BeatScenario | None = None,
) -> None:
    """Simulate the devices of a configuration, for a time or until `done`.

    The movement and the clocks begin at `began` (s since 1970), now by default. A later call with
    the same value continues them. `beats` are those of the bridge's reference, by default steady at
    the rate that its configuration expects; after an hour, or `seconds`, they begin again.

    The truth about each device is printed on standard output, missing devices on standard error.
    """
    done = done or threading.Event()
    host = HostClock()
    began = host() if began is None else began
    movement = Movement(np.random.default_rng([seed, 0]))
    rng = np.random.default_rng([seed, 4])
    made, missing = devices(config, rng, began)
    rows = []
    for device in made:
        where, clock = device.start(), device.clock
        own = isinstance(device, DeviceSender)
        rows.append(
            (
                device.name,
                where,
                f"{device.rate_hz:g}",
                f"{clock.offset_s * 1e3:.2f}" if own else "-",
                f"{clock.skew_ppm:.1f}" if own else "-",
                f"{clock.lag_s * 1e3:.1f}",
            )
        )
    for line in missing:
        print(f"lumen: {line}", file=sys.stderr)
    if not rows:
        return
    print(table(("stream", "plays", "Hz", "offset ms", "skew ppm", "lag ms"), rows), flush=True)
    threads = [
        threading.Thread(
            target=_measure,
            args=(device, movement, began, np.random.default_rng([seed, 5, k]), done, host),
            daemon=True,
        )
        for k, device in enumerate(made)
    ]
    scenario = beats or BeatScenario().at_rate(expected_hz(config))
    for device in made:
        if device.beats:
            keys = ", ".join(device.beats)
            print(f"{device.name}:{keys}: {scenario.described()}", flush=True)
    threads += [
        threading.Thread(
            target=_beat,
            args=(device, scenario, seconds or _BEATS_S, seed, host, done),
            daemon=True,
        )
        for device in made
        if device.beats
    ]
    try:
        for thread in threads:
            thread.start()
        done.wait(seconds)
    finally:
        done.set()
        for thread in threads:
            thread.join(2.0)
        for device in made:
            device.stop()


def _measure(
    device: Device,
    movement: Movement,
    began: float,
    rng: np.random.Generator,
    done: threading.Event,
    host: HostClock,
) -> None:
    """Update a device at its rate; a missed measurement is skipped."""
    period, block = 1 / device.rate_hz, max(1, round(device.rate_hz))
    first = float(rng.random()) * period
    n = 0
    while True:
        elapsed = first + period * np.arange(n, n + block, dtype=np.float64)
        values = movement.at(elapsed - device.clock.lag_s)
        values = values + NOISE * rng.standard_normal(block)
        for at, value in zip(elapsed.tolist(), values.tolist(), strict=True):
            if done.wait(max(0.0, began + at - host())):
                return
            if host() - began - at < 2 * period:
                device.update(began + at, value)
        n += block


def expected_hz(config: Config) -> float:
    """Return the rate of beats (Hz) at which the bridge's clock runs freely; 5 Hz without one."""
    bridge = config.bridge
    per_tick = bridge.reference.per_tick if bridge and bridge.reference else 1.0
    return per_tick * 1000 / bridge.loop.tick_ms if bridge else 5.0


def _beat(
    device: Device,
    scenario: BeatScenario,
    seconds: float,
    seed: int,
    host: HostClock,
    done: threading.Event,
) -> None:
    """Send the beats of a scenario, again and again; a missed one is skipped."""
    begin = host()
    while True:
        for at in train(scenario, seconds, seed).sent.tolist():
            if done.wait(max(0.0, begin + at - host())):
                return
            if host() - begin - at < _MAX_LATE_S:
                device.beat(begin + at)
        begin, seed = begin + seconds, seed + 1


def play_until_stopped(
    config: Config, seconds: float | None, seed: int, beats: BeatScenario | None = None
) -> int:
    """Simulate until the time is over, or SIGINT or SIGTERM."""
    with SignalShutdown() as shutdown:
        shutdown.start()
        play(config, seconds, seed, shutdown.event, beats=beats)
    return 0
