"""`lumen listen`: first contact. Lists the senders to this machine and writes a configuration.

Each port is named before it is opened. A table of the received channels is updated once a second.
Ctrl-C ends the command and writes the configuration. Each sender to a port is a separate source.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path

from configs.connectors.mqtt import BROKER, MqttStream
from configs.connectors.websocket import WebSocketStream
from configs.extras import missing
from configs.inert import inert, unguarded
from configs.inputs import MidiStream, OscStream
from configs.schema import LiveStream
from operators.errors import ToolError
from operators.events import READING_KEY
from ops.cli.guess.announced_services import AnnouncedServices
from ops.cli.guess.channel_survey import HEAD, ChannelSurvey, shown
from ops.cli.guess.live_config import BACK, StageGuess, destinations, found, written
from ops.cli.guess.lsl_streams import LslStreams
from ops.cli.guess.machine import MidiInputs, addresses
from ops.text.table import table
from sources.host.host_clock import HostClock
from sources.host.signal_shutdown import SignalShutdown
from sources.inbox import FromSource, Inbox, Item, Message, Receiving, StreamChange
from sources.live.live import stream_of
from sources.midi.port_name import bare
from sources.osc import OscReceiver, open_port, refusal

PORT = 9000
_POLL_S = 0.1
_MAX_SENDERS = 4
_MAX_MESSAGES = 8
_PORTS_EVERY_S = 2.0
_SHOW_EVERY_S = {True: 1.0, False: 10.0}
"""Period of the table: on a terminal, or elsewhere."""
_ENVIRONMENT = "${"
"""Text that a configuration replaces by a variable."""
EXAMPLES = Path(__file__).parents[1] / "examples"
"""Receivers of the output of a stage."""
_CLEAR = "\x1b[H\x1b[2J"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen listen`."""
    parser.add_argument(
        "--osc",
        action="append",
        type=_address,
        metavar="[HOST:]PORT",
        default=[],
        help=f"a UDP port, on all addresses unless a host is given; default {PORT}",
    )
    parser.add_argument("--midi", action="store_true", help="every MIDI port")
    parser.add_argument(
        "--mqtt",
        action="append",
        metavar="URL",
        default=[],
        help="all topics of a broker, such as mqtt://127.0.0.1:1883 (extra mqtt)",
    )
    parser.add_argument(
        "--websocket",
        action="append",
        type=_own_address,
        metavar="[HOST:]PORT",
        default=[],
        help="a port for browsers and programs; 127.0.0.1 unless a host is given (extra websocket)",
    )
    parser.add_argument(
        "--announced",
        action="store_true",
        help="also list the OSC services that others announce (extra zeroconf)",
    )
    parser.add_argument(
        "--lsl", action="store_true", help="every stream of the Lab Streaming Layer (extra lsl)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("heard.yaml"),
        metavar="FILE",
        help="the configuration; default %(default)s; never overwrites",
    )
    parser.add_argument(
        "--stage",
        action="store_true",
        help="low latency, the live page, and the result as OSC to the senders and this machine",
    )
    parser.add_argument(
        "--back",
        type=_port,
        default=BACK,
        metavar="PORT",
        help="the port at which senders receive the output of a stage; default %(default)s",
    )
    parser.add_argument(
        "--seconds", type=float, metavar="N", help="duration; until Ctrl-C by default"
    )


def _port(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and 1 <= int(text[:6]) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 1 to 65535")
    return int(text)


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    host = {"": "0.0.0.0", "localhost": "127.0.0.1"}.get(host, host)
    try:
        ip_address(host.strip("[]"))
        sound = port.isdecimal() and port.isascii() and 1 <= int(port) <= 65535
    except ValueError:
        sound = False
    if not sound:
        raise argparse.ArgumentTypeError(f"{text!r} is no port, nor an IP address with one")
    return f"{host}:{int(port)}"


def _own_address(text: str) -> str:
    """Return an address; a port alone is one of this machine only."""
    return _address(text if ":" in text else f"127.0.0.1:{text}")


class ListeningPort:
    """Receivers of all streams, and a survey of their channels.

    Parameters
    ----------
    osc : list of str
        Addresses to be bound.
    midi : bool
        Every MIDI port, also those that appear later.
    log : callable
        Called with a line for each change of a stream.
    connectors : sequence of stream
        Further streams, whose extras are installed.
    announced : bool
        List the announced OSC services; the extra is installed.
    lsl : LslStreams, optional
        Every stream of the Lab Streaming Layer, also those that appear later.
    """

    def __init__(
        self,
        osc: list[str],
        midi: bool,
        log: Callable[[str], None],
        inputs: MidiInputs | None = None,
        connectors: Sequence[MqttStream | WebSocketStream] = (),
        announced: bool = False,
        lsl: LslStreams | None = None,
    ) -> None:
        self.survey, self.host = ChannelSurvey(), HostClock()
        self.streams: dict[str, LiveStream] = {}
        self._log = log
        self._running: dict[str, tuple[Receiving, Inbox]] = {}
        self._lsl = lsl
        self._inputs = (inputs or MidiInputs()) if midi else None
        self._why = ""
        self._next_look = 0.0
        self._sources: dict[str, list[str]] = {}
        for n, addr in enumerate(osc, 1):
            self._start(OscStream(name=f"osc_{n}", addr=addr, per_sender=True))
        for connector in connectors:
            self._start(connector)
        self._announced = AnnouncedServices(log) if announced else None
        if self._announced is not None:
            self._announced.start()

    def _start(self, config: LiveStream) -> None:
        stream = stream_of(config)
        inbox = Inbox(config.name, host=self.host)
        self.streams[config.name] = config
        self._running[config.name] = stream, inbox
        stream.start(inbox)

    def take(self) -> None:
        """Drain all inboxes, and open new MIDI ports."""
        for name, (_, inbox) in self._running.items():
            for item in inbox.take():
                if isinstance(item, StreamChange):
                    self._log(f"{name} is {'up' if item.up else 'down'}: {shown(item.why, 200)}")
                else:
                    self._put(name, item)
            for line in inbox.take_log():
                self._log(shown(line, 200))
        for config in self._lsl.look() if self._lsl is not None else ():
            self._start(config)
        if self._inputs is not None and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _PORTS_EVERY_S
            present, why = self._inputs.look()
            if why and why != self._why:
                self._log(f"no MIDI: {why}")
            self._why = why
            known = {s.device for s in self.streams.values() if isinstance(s, MidiStream)}
            for port in present:
                same = [other for other in present if bare(other) == bare(port)]
                device = bare(port) if len(same) == 1 else port
                if device not in known and _is_writable(port):
                    self._start(MidiStream(name=f"midi_{len(known) + 1}", device=device))
                    known.add(device)

    def _put(self, stream: str, item: Item) -> None:
        """Add an event; a single sender to a port has the name of its stream."""
        if isinstance(item, Message) and item.key == READING_KEY:
            return
        if not isinstance(item, FromSource):
            self.survey.take(stream, item)
            return
        sources = self._sources.setdefault(stream, [])
        if item.source not in sources:
            sources.append(item.source)
            if len(sources) == 2:
                self.survey.rename(stream, sources[0])
        self.survey.take(item.source if len(sources) > 1 else stream, item.item)

    def hosts(self) -> list[str]:
        """Return the addresses of the senders."""
        streams = [
            stream for stream, _ in self._running.values() if isinstance(stream, OscReceiver)
        ]
        return sorted({host for stream in streams for host in stream.senders})

    def report(self) -> str:
        """Return a table of the received channels."""
        survey = self.survey
        rows = survey.rows(self.host())
        lines = [table(HEAD, rows) if rows else "Nothing received yet."]
        lines += [f"not used: {why}: {n}" for why, n in sorted(survey.refused.items())]
        for name, (stream, _) in self._running.items():
            if isinstance(stream, OscReceiver) and len(senders := sorted(stream.senders)) > 1:
                shown_senders = ", ".join(senders[:_MAX_SENDERS])
                lines += [
                    f"{name} has {len(senders)} senders ({shown_senders}): each is a source of its"
                    " own, named by its address. A port each, --osc 9000 --osc 9001,",
                    "  gives names that stay when addresses change",
                ]
        if survey.others:
            lines.append(f"and {survey.others} events of further channels")
        if self._announced is not None:
            lines += ["", *self._announced.report()]
        return "\n".join(lines)

    def stop(self) -> None:
        """Close all receivers and drain their inboxes."""
        for stream, _ in self._running.values():
            stream.stop()
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
        if self._announced is not None:
            self._announced.stop()
        self.take()


def opening(
    osc: list[str],
    midi: bool,
    connectors: Sequence[MqttStream | WebSocketStream] = (),
    lsl: bool = False,
) -> list[str]:
    """Return the ports to be opened, and the addresses to send to."""
    lines = []
    here = addresses()
    for addr in osc:
        host, _, port = addr.rpartition(":")
        address = ip_address(host.strip("[]"))
        if address.is_loopback:
            lines.append(f"Opens UDP {addr}, for programs on this machine only.")
            continue
        lines.append(
            f"Opens UDP {addr} to the network: any host that reaches it can send, until Ctrl-C."
        )
        to = [(a, i) for a, i in here if address.is_unspecified and ("." in a or ":" in host)]
        for a, interface in to or [(host.strip("[]"), "")]:
            place = f"[{a}]:{port}" if ":" in a else f"{a}:{port}"
            lines.append(f"  send to {place}" + (f"  ({interface})" if interface else ""))
    if midi:
        lines.append("Opens every MIDI port.")
    if lsl:
        lines.append("Receives every LSL stream.")
    for stream in connectors:
        if isinstance(stream, MqttStream):
            lines.append(f"Subscribes to all topics of {stream.broker}.")
        else:
            lines.append(f"Opens WebSocket {stream.addr}, for programs without an origin.")
    return lines


def listen(
    osc: list[str],
    midi: bool,
    seconds: float | None,
    done: threading.Event,
    connectors: Sequence[MqttStream | WebSocketStream] = (),
    announced: bool = False,
    lsl: LslStreams | None = None,
) -> ListeningPort:
    """Receive for a time or until `done`, and show the survey."""
    terminal = sys.stdout.isatty()
    messages: deque[str] = deque(maxlen=_MAX_MESSAGES)
    log = messages.append if terminal else print
    listener = ListeningPort(osc, midi, log, connectors=connectors, announced=announced, lsl=lsl)
    end = time.monotonic() + (math.inf if seconds is None else seconds)
    due = time.monotonic()
    try:
        while time.monotonic() < end and not done.wait(_POLL_S):
            listener.take()
            if time.monotonic() >= due:
                due = time.monotonic() + _SHOW_EVERY_S[terminal]
                if terminal:
                    unguarded(sys.stdout).write(_CLEAR)
                    print(
                        *opening(osc, midi, connectors, lsl is not None),
                        *messages,
                        "",
                        listener.report(),
                        "",
                        "Ctrl-C ends it.",
                        sep="\n",
                        flush=True,
                    )
                elif listener.survey.channels:
                    print(listener.report(), flush=True)
    finally:
        listener.stop()
    return listener


def configuration(
    listener: ListeningPort, now: float, stage: StageGuess | None = None
) -> str | None:
    """Return a configuration of the received channels; None if no number changed."""
    senders = found(listener.survey, now, vectors=stage is not None)
    return written(senders, list(listener.streams.values()), listener.hosts(), stage)


def _is_writable(port: str) -> bool:
    return port.isprintable() and _ENVIRONMENT not in port and bool(bare(port).strip())


def _connectors(brokers: list[str], servers: list[str]) -> list[MqttStream | WebSocketStream]:
    """Return the streams of `--mqtt` and `--websocket`.

    Raises
    ------
    ToolError
        A URL is none, or an extra is not installed.
    """
    for type_, wanted in (("mqtt", brokers), ("websocket", servers)):
        if wanted and (why := missing(type_)):
            raise ToolError(why)
    streams: list[MqttStream | WebSocketStream] = []
    for n, url in enumerate(brokers, 1):
        if not re.fullmatch(BROKER, url):
            raise ToolError(f"{inert(url)}: expected a broker such as mqtt://127.0.0.1:1883")
        streams.append(MqttStream(name=f"mqtt_{n}", broker=url, topics=["#"]))
    for n, addr in enumerate(servers, 1):
        streams.append(WebSocketStream(name=f"websocket_{n}", addr=addr))
    return streams


def main(args: argparse.Namespace) -> int:
    """Receive until Ctrl-C, then write the configuration; return 1 if there is none."""
    try:
        connectors = _connectors(args.mqtt, args.websocket)
        if args.announced and (why := missing("zeroconf")):
            raise ToolError(f"--announced {why.removeprefix('type zeroconf ')}")
        if args.lsl and (why := missing("lsl")):
            raise ToolError(why)
    except ToolError as error:
        print(f"lumen listen: {error}", file=sys.stderr)
        return 2
    others = bool(connectors) or args.lsl
    osc = args.osc or ([] if args.midi or others else [f"0.0.0.0:{PORT}"])
    midi = args.midi or not (args.osc or others)
    if args.out.exists():
        print(
            f"lumen listen: {args.out} exists already: choose another file with --out",
            file=sys.stderr,
        )
        return 2
    print(*opening(osc, midi, connectors, args.lsl), sep="\n", flush=True)
    if args.announced:
        print("Asks the network for OSC services, by multicast DNS.", flush=True)
    for addr in osc:
        stream = OscStream(name="osc", addr=addr)
        try:
            open_port(stream).close()
        except OSError as error:
            print(f"lumen listen: {refusal(stream, error)}", file=sys.stderr)
            return 2
    with SignalShutdown() as shutdown:
        shutdown.start()
        lsl = LslStreams() if args.lsl else None
        listener = listen(osc, midi, args.seconds, shutdown.event, connectors, args.announced, lsl)
    now = listener.host()
    print(listener.report(), *found(listener.survey, now, args.stage).left_out(), sep="\n")
    text = configuration(listener, now, StageGuess(args.back) if args.stage else None)
    if text is None:
        print(
            "\nNothing is written: no number was received."
            if not any(c.is_number() for c in listener.survey.channels.values())
            else "\nNothing is written: no number has changed."
        )
        return 1
    with args.out.open("x", encoding="utf-8") as file:
        file.write(text)
    print(f"\n{args.out}\n  lumen check {args.out}\n  lumen run {args.out}")
    if args.stage:
        to = destinations(list(listener.streams.values()), listener.hosts(), StageGuess(args.back))
        print("sends to " + ", ".join(f"{place} ({name})" for name, place in to))
        print(f"receivers for {to[0][1]}: {EXAMPLES}/stage.pd (Pd), stage.scd (SuperCollider)")
    return 0
