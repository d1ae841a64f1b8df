"""`lumen simulate --live`: the devices of a configuration, played in real time on this machine.

All measure the one movement of `ops.simulate.recording`, one later than the other; an OSC sender's clock
is far from ours, and runs at another speed. What is true of each is said at the start.
"""

from __future__ import annotations

import sys
import threading

import numpy as np

from configs.load import load
from configs.schema import Config, MidiStream, OscStream, UreStream
from ops.simulate.devices import Controller, Device, DeviceClock, DeviceSender, UrePage, readings
from ops.simulate.movement import Movement
from ops.text.table import table
from sources import shutdown as stop
from sources.host_clock import HostClock

FARTHEST_S = 3600.0
"""How far a clock of a device may be from ours."""
MAX_SKEW_PPM = 150.0
NOISE = 0.05
"""Of a reading (sd), the movement having an RMS of 1."""
_MAX_LAG_S = 0.2


def devices(
    config: Config, rng: np.random.Generator, began: float
) -> tuple[list[Device], list[str]]:
    """Return the devices of a configuration, and why there is none for some of its streams."""
    plan = config.plan()
    led = {s.reference.partition(":")[0] for s in plan.signals}
    given = {m.channel.partition(":")[0]: m.lag_s for m in plan.members if m.lag_s is not None}
    streams = sorted(config.streams, key=lambda s: s.name not in led)
    span = min(plan.wait_lag_s, config.align.max_lag_s, 2 * _MAX_LAG_S) / 2
    made: list[Device] = []
    missing: list[str] = []
    for k, stream in enumerate(streams):
        lag = given.get(stream.name, span * k / len(streams))
        far, skew = rng.uniform(-FARTHEST_S, FARTHEST_S), rng.uniform(-1, 1) * MAX_SKEW_PPM
        clock = DeviceClock(began, lag_s=lag)
        said = readings(plan, stream.name, getattr(stream, "keys", ()))
        try:
            match stream:
                case OscStream():
                    made.append(DeviceSender(stream, said, DeviceClock(began, far, skew, lag)))
                case MidiStream():
                    if stream.device.startswith("hw:"):
                        raise ValueError(f"{stream.device} is a card's port, and none can be made")
                    made.append(Controller(stream, said, clock))
                case UreStream():
                    made.append(UrePage(stream, said, clock, rng))
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
) -> None:
    """Play the devices of a configuration, for a time or until `done`.

    The movement and the clocks begin at `began` (s since 1970), now by default: whoever is told
    the same moment goes on with them, or plays another part of them.

    Prints what is true of each on standard output, and what comes and goes on standard error.
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
        rows.append((
            device.name, where, f"{device.rate_hz:g}",
            f"{clock.offset_s * 1e3:.2f}" if own else "-",
            f"{clock.skew_ppm:.1f}" if own else "-", f"{clock.lag_s * 1e3:.1f}",
        ))  # fmt: skip
    for line in missing:
        print(f"lumen: {line}", file=sys.stderr)
    if not rows:
        return
    print(table(("stream", "plays", "Hz", "offset ms", "skew ppm", "lag ms"), rows), flush=True)
    threads = [
        threading.Thread(target=_measure, args=(device, movement, began, np.random.default_rng(
            [seed, 5, k]), done, host), daemon=True)
        for k, device in enumerate(made)
    ]  # fmt: skip
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
    """Let a device tell on its beat; a moment that was missed is not made up for."""
    beat, block = 1 / device.rate_hz, max(1, round(device.rate_hz))
    first = float(rng.random()) * beat
    n = 0
    while True:
        elapsed = first + beat * np.arange(n, n + block, dtype=np.float64)
        values = movement.at(elapsed - device.clock.lag_s)
        values = values + NOISE * rng.standard_normal(block)
        for at, value in zip(elapsed.tolist(), values.tolist(), strict=True):
            if done.wait(max(0.0, began + at - host())):
                return
            if host() - began - at < 2 * beat:
                device.tell(began + at, value)
        n += block


def play_until_stopped(path: str, seconds: float | None, seed: int) -> int:
    """Play until the time is over, or SIGINT or SIGTERM."""
    config = load(path).config
    stop.install()
    try:
        play(config, seconds, seed, stop.wish())
    finally:
        stop.reset()
    return 0
