"""`lumen probe`: the time of a scrape, or the offset and the jitter of the beat clock.

`--beat CONFIG` plays steady beats into the OSC reference of a run on this machine, and receives the
ticks of its OSC clock in place of their receiver. With beats each T s and n/d beats a tick (in
lowest terms), each tick falls on a multiple of T/d after a beat. Hence

    offset = circular mean of (time tag - offset_ms - beats), modulo T/d
    jitter = |arrival - (time tag - ahead_ms)|

A beat counts from its own sending: a late one shifts the clock that follows it. The kernel stamps
arrivals.
"""

from __future__ import annotations

import argparse
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import numpy as np

from configs.inert import inert
from configs.inputs import OscStream
from configs.load import load
from configs.outputs import ExporterConfig, OscClockConfig, OscDestination
from configs.schema import Config
from operators.errors import ToolError
from operators.types import F64
from ops.cli.state_client import URL, USUAL, address, credentials
from ops.simulate.devices import DeviceClock, DeviceSender
from ops.simulate.live import expected_hz
from sources.host.host_clock import HostClock
from sources.inbox import Message
from sources.osc.datagram import Datagrams
from sources.osc.osc import open_port, refusal

MAX_SCRAPE_P95_S = 0.150
MAX_JITTER_P95_S = 0.025
_TIMEOUT_S = 5.0
_MAX_BYTES = 64 << 20
_BEAT_S = 60.0
_POLL_S = 0.1


@dataclass(frozen=True)
class ProbedTimes:
    """Times of scrapes (s), the size of the last page (bytes), and the failures."""

    seconds: F64
    size: int
    failures: list[str]

    @property
    def good(self) -> bool:
        """Whether all scrapes succeeded within the budget."""
        within = len(self.seconds) and np.percentile(self.seconds, 95) <= MAX_SCRAPE_P95_S
        return bool(within and not self.failures)

    def text(self) -> str:
        """Return the figures as one line."""
        shown = f"{len(self.seconds)} scrapes"
        if len(self.seconds):
            p50, p95 = np.percentile(self.seconds, (50, 95)) * 1000
            longest = self.seconds.max() * 1000
            shown += (
                f" of {self.size / 1000:.1f} kB: p50 {p50:.1f} ms, p95 {p95:.1f} ms, max"
                f" {longest:.1f} ms; p95 at most {MAX_SCRAPE_P95_S * 1000:g} ms"
            )
        if self.failures:
            shown += f"; {len(self.failures)} failed: {self.failures[-1]}"
        return shown


@dataclass(frozen=True)
class ClockFigures:
    """The received ticks of a clock beside the beats that were played (s)."""

    beats: int
    offset: F64
    jitter: F64

    @property
    def good(self) -> bool:
        """Whether ticks were received, within the budget of jitter."""
        return bool(len(self.jitter) and np.percentile(self.jitter, 95) <= MAX_JITTER_P95_S)

    def text(self) -> str:
        """Return the figures as one line."""
        shown = f"{self.beats} beats sent, {len(self.jitter)} ticks received"
        if not len(self.jitter):
            return f"{shown}: `lumen bridge status` shows the state of the run"
        p95 = np.percentile(self.jitter, 95) * 1000
        return (
            f"{shown}: offset {self.offset.mean() * 1000:+.2f} ms (sd"
            f" {self.offset.std() * 1000:.2f}), jitter p95 {p95:.2f} ms; at most"
            f" {MAX_JITTER_P95_S * 1000:g} ms"
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen probe`."""
    parser.add_argument(
        "url",
        nargs="?",
        metavar="URL",
        help=f"page of metrics, or the exporter of the flow; default ${URL}, else {USUAL}",
    )
    parser.add_argument(
        "-n", type=_count, default=50, metavar="N", help="scrapes; default %(default)s"
    )
    parser.add_argument(
        "--every",
        type=_seconds,
        default=1.0,
        metavar="S",
        help="seconds from one scrape to the next; default %(default)g",
    )
    parser.add_argument(
        "--beat",
        type=Path,
        metavar="CONFIG",
        help="play beats into the OSC reference of a running configuration, and receive its clock",
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=60.0,
        metavar="S",
        help="with --beat: time of the beats; default %(default)g",
    )


def _count(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 100_000):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 100000")
    return int(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("has to lie between 0 and 86400")
    return seconds


def main(args: argparse.Namespace) -> int:
    """Measure; 1 beyond the budget."""
    if args.beat is not None:
        clock = beat(load(args.beat).config, args.seconds)
        print(clock.text())
        return 0 if clock.good else 1
    url = address(args.url)
    if not urlsplit(url).path:
        url += ExporterConfig().path
    scrapes = scrape(url, args.n, args.every)
    print(f"{url}: {scrapes.text()}")
    return 0 if scrapes.good else 1


def scrape(url: str, n: int, every_s: float) -> ProbedTimes:
    """Scrape a page n times, from one to the next at least `every_s` (s)."""
    opener, headers = build_opener(ProxyHandler({})), credentials()
    seconds: list[float] = []
    failures: list[str] = []
    size = 0
    for i in range(n):
        begin = time.perf_counter()
        try:
            with opener.open(Request(url, headers=headers), timeout=_TIMEOUT_S) as answer:
                size = len(answer.read(_MAX_BYTES))
            seconds.append(time.perf_counter() - begin)
        except (OSError, HTTPException) as error:
            failures.append(str(getattr(error, "reason", error)) or type(error).__name__)
        if i < n - 1:
            time.sleep(max(begin + every_s - time.perf_counter(), 0.0))
    return ProbedTimes(np.array(seconds), size, failures)


def beat(config: Config, seconds: float) -> ClockFigures:
    """Play beats into the OSC reference of a run, and receive its OSC clock.

    Raises
    ------
    ToolError
        The configuration has no such reference or clock, or the port of the clock is in use.
    """
    sender, per_tick = _sender(config)
    to, clock = _clock(config)
    host = HostClock()
    port = OscStream(name="clock", addr=to)
    try:
        receiver = open_port(port, host)
    except OSError as error:
        raise ToolError(f"the clock cannot be received: {refusal(port, error)}") from None
    period = 1 / expected_hz(config)
    sent: list[float] = []
    done = threading.Event()
    player = threading.Thread(target=_play, args=(sender, host, period, sent, done))
    decoder = Datagrams(wants=lambda key: key == clock.address)
    ticks: list[tuple[float, float]] = []
    sender.start()
    end = time.monotonic() + seconds
    player.start()
    try:
        while (left := end - time.monotonic()) > 0:
            receiver.wait(min(left, _POLL_S))
            for data, rx, _ in receiver.read():
                found = decoder.decode(data, rx)
                ticks += [(m.ts, m.rx) for m in found if isinstance(m, Message)]
    finally:
        done.set()
        player.join()
        sender.stop()
        receiver.close()
    tags, arrivals = np.array(ticks).reshape(-1, 2).T
    offset = off_beats(tags - clock.offset_ms / 1000, np.array(sent), period, per_tick)
    return ClockFigures(len(sent), offset, np.abs(arrivals - tags + clock.ahead_ms / 1000))


def off_beats(ticks: F64, beats: F64, period_s: float, per_tick: float) -> F64:
    """Return how far each tick is off the nearest place of a tick between steady beats.

    Parameters
    ----------
    ticks : float64 (n,)
        Time of each tick (s).
    beats : float64 (m,)
        Time of each beat (s), `period_s` apart but for their lateness.
    period_s : float
    per_tick : float
        Beats of a tick.

    Returns
    -------
    float64 (n,)
        Around its circular mean (s).
    """
    if not len(ticks) or not len(beats):
        return np.empty(0)
    unit = period_s / Fraction(per_tick).limit_denominator(64).denominator
    start = beats[0] + np.median(beats - beats[0] - np.arange(len(beats)) * period_s)
    cycles = (ticks - start) / unit
    mean = np.angle(np.exp(2j * np.pi * cycles).mean()) / (2 * np.pi)
    off = cycles - mean
    return np.asarray((off - np.round(off) + mean) * unit)


def _play(
    sender: DeviceSender, host: HostClock, period: float, sent: list[float], done: threading.Event
) -> None:
    """Send steady beats until `done`, and keep the time of each."""
    start = host() + period
    while not done.wait(max(start + len(sent) * period - host(), 0.0)):
        now = host()
        sender.beat(now)
        sent.append(now)


def _sender(config: Config) -> tuple[DeviceSender, float]:
    """Return the sender of the reference, and the beats of a tick."""
    reference = config.bridge.reference if config.bridge else None
    channel = reference.beat if reference else None
    if reference is None or channel is None:
        raise ToolError("the configuration has no bridge.reference.beat")
    source, _, key = channel.partition(":")
    for stream in config.streams:
        if isinstance(stream, OscStream) and stream.name == config.stream_of(source):
            try:
                return DeviceSender(stream, (), DeviceClock(0.0), (key,)), reference.per_tick
            except ValueError as error:
                raise ToolError(f"beats cannot be sent to {stream.name}: {error}") from None
    raise ToolError(f"the reference {inert(channel)} is of no live OSC stream")


def _clock(config: Config) -> tuple[str, OscClockConfig]:
    """Return address and settings of the first OSC clock."""
    for destination in config.send:
        if isinstance(destination, OscDestination) and destination.clock is not None:
            return destination.to, destination.clock
    raise ToolError("the configuration has no OSC destination with a clock")
