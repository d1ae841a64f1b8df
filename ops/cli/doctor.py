"""`lumen doctor`: the requirements of a live run, a line each: ok, warn or bad.

It changes nothing. Ports are bound for a moment, on loopback or as configured; the page of a URE
is fetched once.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from configs.address import endpoint
from configs.connectors.kafka import numbers
from configs.connectors.lsl import LslStream
from configs.connectors.mqtt import MqttStream
from configs.connectors.websocket import WebSocketStream
from configs.document import public_url
from configs.inputs import MidiStream, OscStream, UreStream
from configs.load import load
from configs.schema import Config
from operators import native
from ops.cli.discovery_findings import discovery
from ops.cli.guess.machine import MidiInputs, addresses
from ops.cli.recorded import recordings
from ops.cli.system_parts import lacking
from ops.edge.topic_check import topics
from ops.text.diagnosis import Diagnosis, Verdict
from sinks.exporter.server import HttpPortError, bound, exporters
from sinks.files.parts import part_folder
from sinks.files.progress import taken_of
from sinks.history.back_end import AwayError, HistoryError, NoStoreError
from sinks.history.open_store import opened
from sources.inbox import NEVER, Inbox, StreamChange, stamp
from sources.kafka.faults import TopicError
from sources.live.live import stream_of
from sources.midi.port_name import fitting
from sources.osc import open_port, refusal
from sources.osc.udp import BUFFER, UdpReceiver, listener
from sources.ure import endpoint as page_endpoint
from sources.ure.exposition import PageDecoder, PageError
from sources.ure.http_get import Deadline

PORTS = (9000, 9001)
PYTHONS = ((3, 11), (3, 12))
PACKAGES = {
    "bytewax": "bytewax",
    "numpy": "numpy",
    "scipy": "scipy",
    "msgspec": "msgspec",
    "PyYAML": "yaml",
    "backports.zstd": "backports.zstd",
    "python-rtmidi": "rtmidi",
}
"""Modules that a live run imports, by package."""
NEEDED = {"bytewax": "0.21.1"}
MAX_LOAD = 1.0
"""Load for each processor."""
MIN_FREE_BYTES = 1 << 30
MAX_CLOCK_ERROR_S = 0.1
_CONNECT_S = 3.0
"""Time for the first connection of a stream."""
_UNSYNCHRONISED = 0x40
"""STA_UNSYNC of the kernel's clock."""
_TIME_ERROR = 5
_NTP = "start NTP: timedatectl set-ntp true, or chrony"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen doctor`."""
    parser.add_argument(
        "config",
        type=Path,
        nargs="?",
        metavar="CONFIG",
        help="check the needs of this configuration, too",
    )
    parser.add_argument(
        "--service",
        nargs="?",
        const="main",
        metavar="NAME",
        help="check the systemd service lumen@NAME instead; default %(const)s",
    )


def main(args: argparse.Namespace) -> int:
    """Run all checks; return 1 if one is bad."""
    if args.service is not None:
        from ops.services.service_findings import examine_service

        findings = examine_service(args.service)
    else:
        findings = examine(load(args.config).config if args.config else None)
    worst = 0
    for finding in findings:
        print(finding, flush=True)
        worst |= finding.verdict == "bad"
    return worst


def examine(config: Config | None) -> Iterator[Diagnosis]:
    """Yield all findings."""
    yield from environment()
    yield from packages()
    yield kernels()
    yield from clock()
    yield from buffers()
    yield from ports(config)
    yield from midi(config)
    yield from endpoints(config)
    yield from connectors(config)
    yield from discovery(config)
    yield from topic(config)
    yield from recordings(config)
    yield from disk(config)
    yield from history(config)


def environment() -> Iterator[Diagnosis]:
    """Check Python, the system and its load."""
    version = f"Python {platform.python_version()}"
    if sys.version_info[:2] in PYTHONS:
        yield Diagnosis("ok", "python", version)
    else:
        yield Diagnosis("bad", "python", version, "run it with 3.12 or 3.11")
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    if sys.platform == "linux":
        yield Diagnosis("ok", "system", system)
    else:
        yield Diagnosis("warn", "system", system, "not tried here; use Linux where you can")
    for part, instead in lacking():
        yield Diagnosis("warn", "system", f"no {part}", instead)
    cores = os.cpu_count() or 1
    if not hasattr(os, "getloadavg"):
        yield Diagnosis("ok", "load", f"{cores} processors; this system states no load")
        return
    load = os.getloadavg()[0]
    found = f"{cores} processors, load {load:.1f}"
    if load > MAX_LOAD * cores:
        yield Diagnosis("warn", "load", found, "end other programs, or ticks may be late")
    else:
        yield Diagnosis("ok", "load", found)


def packages() -> Iterator[Diagnosis]:
    """Check the installed packages."""
    installed: list[str] = []
    for package, module in PACKAGES.items():
        try:
            version = importlib.metadata.version(package)
            importlib.import_module(module)
        except (ImportError, OSError) as error:
            verdict: Verdict = "warn" if package == "python-rtmidi" else "bad"
            found = f"{package} cannot be used ({error})"
            yield Diagnosis(verdict, "package", found, "pip install -r requirements.lock")
            continue
        installed.append(f"{package} {version}")
        if version != NEEDED.get(package, version):
            todo = f"install {NEEDED[package]}, the only tested version"
            yield Diagnosis("bad", "package", f"{package} {version}", todo)
    yield Diagnosis("ok", "package", ", ".join(installed))


def kernels() -> Diagnosis:
    """Return the form of the dearest loops that runs: compiled, or Python with the reason."""
    if native.form.startswith(native.REFUSED):
        return Diagnosis("warn", "kernels", native.form, "make native, or set LUMEN_NATIVE=0")
    return Diagnosis("ok", "kernels", native.form)


class _Timex(ctypes.Structure):
    """The beginning of `struct timex`; the rest is not read."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def clock() -> Iterator[Diagnosis]:
    """Check the synchronisation of the host clock, as reported by the kernel."""
    with suppress(OSError):
        path = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        source = path.read_text().strip()
        if source in ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"):
            yield Diagnosis("ok", "clock", f"counted by {source}")
        else:
            yield Diagnosis("warn", "clock", f"counted by {source}", "stamps cost more time")
    if sys.platform != "linux":
        yield Diagnosis("warn", "clock", "synchronisation cannot be checked here", "check its NTP")
        return
    timex = _Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except AttributeError:
        state = -1
    yield judged_clock(state, timex.status, timex.maxerror / 1e6, timex.esterror / 1e6)


def judged_clock(state: int, status: int, max_s: float, likely_s: float) -> Diagnosis:
    """Return the finding for the answer of the kernel.

    Parameters
    ----------
    state, status : int
        Result of `adjtimex`, negative on failure; its status bits.
    max_s, likely_s : float
        The largest and the likely error (s).
    """
    if state < 0:
        return Diagnosis("warn", "clock", "the kernel does not report its synchronisation", _NTP)
    if state == _TIME_ERROR or status & _UNSYNCHRONISED:
        message = "not synchronised: it may drift and step, and all host times with it"
        return Diagnosis("warn", "clock", message, _NTP)
    found = f"synchronised within {max_s * 1e3:.1f} ms, likely {likely_s * 1e3:.2f} ms"
    if max_s > MAX_CLOCK_ERROR_S:
        return Diagnosis("warn", "clock", found, "wait until it has converged")
    return Diagnosis("ok", "clock", found)


def buffers() -> Iterator[Diagnosis]:
    """Check the receive buffer of a socket, and the origin of arrival stamps."""
    try:
        receiver = UdpReceiver("127.0.0.1", 0)
    except OSError as error:
        yield Diagnosis(
            "bad", "buffer", f"no UDP socket ({error.strerror})", "allow this program one"
        )
        return
    found = f"{receiver.buffer / 2**20:.1f} MiB for a socket, asked for {BUFFER >> 20} MiB"
    stamped = receiver.stamped_by
    receiver.close()
    if receiver.buffer < BUFFER:
        todo = f"bursts may be lost (they are counted): sysctl -w net.core.rmem_max={BUFFER}"
        yield Diagnosis("warn", "buffer", found, todo)
    else:
        yield Diagnosis("ok", "buffer", found)
    if stamped == "kernel":
        yield Diagnosis("ok", "stamps", "by the kernel, on arrival")
    else:
        yield Diagnosis("warn", "stamps", "by the receiver", "a busy machine stamps late")


def ports(config: Config | None) -> Iterator[Diagnosis]:
    """Check that the ports are free, and list the addresses of this machine."""
    streams = (
        [s for s in config.streams if isinstance(s, OscStream)]
        if config
        else [OscStream(name="osc", addr=f"127.0.0.1:{port}") for port in PORTS]
    )
    for stream in streams:
        try:
            open_port(stream).close()
        except OSError as error:
            verdict: Verdict = "bad" if config else "warn"
            todo = "end it, or take another port"
            yield Diagnosis(verdict, "port", refusal(stream, error), todo)
        else:
            yield Diagnosis("ok", "port", f"{endpoint(stream.addr)} is free")
    for exporter in exporters(config) if config else ():
        where = f"tcp {exporter.host}:{exporter.http_port}"
        try:
            bound(exporter, listener).close()
        except HttpPortError as error:
            yield Diagnosis("bad", "port", str(error), "end it, or take another http_port")
        else:
            yield Diagnosis("ok", "port", f"{where} is free")
    here = ", ".join(f"{address} ({name})" if name else address for address, name in addresses())
    yield Diagnosis("ok", "address", here)


def midi(config: Config | None) -> Iterator[Diagnosis]:
    """Check the MIDI ports, and the presence of the configured ones."""
    inputs = MidiInputs()
    try:
        present, why = inputs.look()
    finally:
        inputs.close()
    wanted = [s for s in config.streams if isinstance(s, MidiStream)] if config else []
    if present:
        yield Diagnosis("ok", "midi", ", ".join(present))
    elif wanted or why == "no port":
        yield Diagnosis("warn", "midi", why, "plug a device in, or start its server")
    else:
        yield Diagnosis("ok", "midi", f"{why}; none is needed for OSC")
    held: dict[str, str] = {}
    for stream in wanted:
        if stream.virtual:
            continue
        if fits := fitting(stream.device, present):
            if (holder := held.setdefault(fits[0], stream.name)) != stream.name:
                message = f"{stream.name}: {fits[0]} is the port of {holder}"
                todo = f"name each port, such as '{stream.device}#2' for the second of that name"
                yield Diagnosis("bad", "midi", message, todo)
            else:
                yield Diagnosis("ok", "midi", f"{stream.name}: {fits[0]}")
            continue
        todo = "a run starts without it and connects when it appears"
        yield Diagnosis("warn", "midi", f"{stream.name}: no port fits '{stream.device}'", todo)


def endpoints(config: Config | None) -> Iterator[Diagnosis]:
    """Fetch the page of each URE."""
    for stream in config.streams if config else ():
        if not isinstance(stream, UreStream):
            continue
        pages, url = PageDecoder(), public_url(stream.metrics_url)
        try:
            deadline = Deadline(stream.timeout_s, lambda: False)
            answer = page_endpoint(stream).get(deadline)
            pages.decode(answer.page, stamp(), url[:255], answer.openmetrics)
        except PageError as error:
            todo = "a run starts without it and connects when it appears"
            yield Diagnosis("warn", "ure", f"{url}: {error.why}", todo)
        else:
            yield Diagnosis("ok", "ure", f"{url}: {pages.series} series")


def connectors(config: Config | None) -> Iterator[Diagnosis]:
    """Connect each stream to its broker, or serve its port, for a moment."""
    for stream in config.streams if config else ():
        if not isinstance(stream, MqttStream | WebSocketStream | LslStream):
            continue
        receiver, inbox = stream_of(stream, config), Inbox(stream.name)
        receiver.start(inbox)
        end = time.monotonic() + _CONNECT_S
        while inbox.why == NEVER and time.monotonic() < end:
            time.sleep(0.01)
        receiver.stop()
        name = str(type(stream).__struct_config__.tag)
        turns = [item for item in inbox.take() if isinstance(item, StreamChange)]
        if turns and turns[0].up:
            yield Diagnosis("ok", name, turns[0].why)
        else:
            why = turns[0].why if turns else f"{stream.name}: no answer in {_CONNECT_S:g} s"
            todo = "a run starts without it and connects when it appears"
            yield Diagnosis("warn", name, why, todo)
    for there, found, todo in topics(config) if config else ():
        yield Diagnosis("ok" if there else "warn", "kafka", found, todo)


def topic(config: Config | None) -> Iterator[Diagnosis]:
    """Ask the brokers of a topic for its partitions and their offsets."""
    stream = config.topic if config else None
    if stream is None:
        return
    from sources.kafka.client import TopicClient  # only with the extra
    from sources.kafka.topic_watch import TopicWatch

    name = f"topic {stream.topic}"
    try:
        client = TopicClient(stream, -1, TopicWatch(stream.topic))
        try:
            count = client.count()
            found = [client.limits(number) for number in numbers(stream.partitions, count)]
        finally:
            client.close()
    except TopicError as error:
        todo = "a run waits for it, and begins when it is there"
        yield Diagnosis("warn", "kafka", f"{name}: {error}", todo)
        return
    low, high = min((low for low, _ in found), default=0), max((h for _, h in found), default=0)
    read = f"{count} partitions, {len(found)} of them read"
    yield Diagnosis("ok", "kafka", f"{name}: {read}, offsets {low} to {high}")


def disk(config: Config | None) -> Iterator[Diagnosis]:
    """Check the free space for results and tapes."""
    folders = [config.output.dir] if config else ["."]
    if config and config.tap:
        folders.append(config.tap.dir)
    for folder in dict.fromkeys(folders):
        path = Path(folder).absolute()
        while not path.exists():
            path = path.parent
        free = shutil.disk_usage(path).free
        found = f"{free / 1e9:.1f} GB free for {folder}"
        if not os.access(path, os.W_OK):
            yield Diagnosis("bad", "disk", f"{path} cannot be written", "name another folder")
        elif free < MIN_FREE_BYTES:
            yield Diagnosis(
                "warn", "disk", found, "a full disk stops a run: free space, or set keep"
            )
        else:
            yield Diagnosis("ok", "disk", found)


def history(config: Config | None) -> Iterator[Diagnosis]:
    """Check the store of the history, and its follower where it has reported."""
    if config is None or config.store is None:
        return
    try:
        store = opened(config.store.dsn, read_only=True)
        size = store.size()
        store.close()
    except NoStoreError:
        yield Diagnosis("ok", "history", "no store yet; the first run makes it")
    except AwayError as error:
        yield Diagnosis("warn", "history", str(error), "lines wait in the output folder meanwhile")
    except HistoryError as error:
        problem, _, remedy = str(error).partition("; ")
        yield Diagnosis("bad", "history", problem, remedy or "a run is refused with it")
    else:
        yield Diagnosis("ok", "history", f"store of {size / 1e6:.1f} MB")
    for number in range(config.output.parts):
        taken = taken_of(part_folder(config.output, number))
        if taken is not None and taken.lost:
            found = f"{taken.lost} lines were not taken in"
            yield Diagnosis("warn", "history", found, "see StoreLosesLines in the runbook")
