"""The dataflow: several streams in, one signal with its uncertainty out.

    python -m bytewax.run flows.fusion
    python -m bytewax.run "flows.fusion:flow('configs/fusion.yaml')"

Keyed by rig, forward only, one exit. Importing this module opens nothing.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.one_thread import one_thread
from flows.engine_command import is_engine_command

if is_engine_command():
    one_thread()

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.operators import KeyedStream

from configs.files import ACCESS
from configs.inert import guard
from configs.load import Loaded, load
from configs.schema import Config
from flows.cluster import ALONE, Place, place_of_command
from flows.failure import START_REFUSALS, watch_process
from flows.first_pass import HEADINGS, hindsight
from flows.lifeline import Lifeline
from flows.recovery import of_command
from flows.stations import AddStation, S, Settings
from flows.store import Store
from operators.align import Align
from operators.bridge import Bridge
from operators.collect import Collect
from operators.drift import Drift
from operators.engine import step
from operators.events import Batch
from operators.evidence import Evidence
from operators.fuse import Fuse
from operators.guard import Guard
from operators.hindsight import Hindsight
from operators.normalize import Normalize
from operators.quality import Quality
from operators.resample import Resample
from operators.scale import Scale
from operators.station import maker
from sinks.conductor import Conductor, conducted
from sinks.conductor.state_file import state_file
from sinks.exporter.live_state import LiveState
from sinks.files.readers import topics_of
from sinks.output import Output, preflight
from sinks.send import played
from sinks.send.packet_send import packet_senders
from sources.host import stderr as aside
from sources.host.host_clock import HostClock
from sources.host.shutdown import Shutdown
from sources.host.signal_shutdown import SignalShutdown
from sources.midi.port import Port
from sources.replay import Replay, remarks_on, rigs_of
from sources.replay import preflight as recordings

if TYPE_CHECKING:
    from sinks.discovery.discovery import Discovery
    from sinks.exporter.server import Server
    from sinks.files.result_following import ResultFollowing
    from sinks.send.send import Send
    from sources.kafka.topic_replay import TopicReplay

DEFAULT = "configs/fusion.yaml"
_PORTS_APART = 10
"""Distance of the exporter's ports of two processes of a cluster."""


def stations(
    received: S,
    station: AddStation[S],
    settings: Settings,
    *,
    known: Hindsight | None = None,
    learn: bool = False,
) -> S:
    """Put all stations behind one another.

    Parameters
    ----------
    received : stream of Batch
        Keyed by rig; in this process, the line of one rig.
    station : AddStation
        Adds a station to a dataflow, or to a line in this process.
    settings : Settings
        Of the stations.
    known : Hindsight, optional
        Findings of a first pass, in mode `hindsight`.
    learn : bool
        This is the first pass: `drift` and `align` keep their findings.
    """
    plan, align = settings.plan, settings.align
    collected = station("collect", received, maker(Collect, plan, settings.block_s))
    normalized = station("normalize", collected, maker(Normalize, plan))
    drifted = station("drift", normalized, maker(Drift, plan, learn=learn, known=known))
    guarded = station("guard", drifted, maker(Guard, plan))
    aligned = station("align", guarded, maker(Align, plan, align, learn=learn, known=known))
    resampled = station("resample", aligned, maker(Resample, plan, align.max_lag_s))
    scaled = station("scale", resampled, maker(Scale, plan, known=known))
    judged = station("quality", scaled, maker(Quality, plan, settings.quality))
    fused = station("fuse", judged, maker(Fuse, plan))
    bridge = maker(Bridge, plan, settings.bridge, settings.lead_s, settings.rules)
    bridged = station("bridge", fused, bridge)
    return station("evidence", bridged, maker(Evidence, plan, settings.rules))


def flow(config: str | None = None, *, progress: bool = True) -> Dataflow:
    """Return the dataflow of a configuration: the entry point of `python -m bytewax.run`.

    Signal handlers, standard output and standard error are replaced for the rest of the process.

    Parameters
    ----------
    config : str, optional
        Path of the YAML file; else `$LUMEN_CONFIG`, else the shipped demo.
    progress : bool
        Report the progress of a replay on standard error.

    Raises
    ------
    SystemExit
        Code 2: the start was refused. Code 1: a file of the first pass failed. The lines are on
        standard error. Code 0: a stop was requested in the first of two passes.
    """
    shutdown = SignalShutdown()
    aside.install()
    guard()
    try:
        loaded = load(config or os.environ.get("LUMEN_CONFIG") or DEFAULT)
        output = loaded.config.output
        keep, folder = of_command()
        lifeline = Lifeline()
        if is_engine_command():
            watch_process(Path(output.dir), ACCESS[output.mode], folder, shutdown, lifeline)
        place = place_of_command()
        store = Store(folder, place.addresses, output.parts) if folder is not None else None
        if store is not None:
            atexit.register(store.release)
        followers = followed(loaded.config) if place.number == 0 else []
        for follower in followers:
            atexit.register(follower.finish, clean=False)
        dataflow = build(
            loaded,
            shutdown,
            progress=progress,
            keep=keep,
            store=store,
            place=place,
            followers=followers,
        )
        if len(place.all()) > 1:
            lifeline.join(place, loaded, shutdown)
            atexit.register(lifeline.close)
        return dataflow
    except START_REFUSALS as error:
        print(*error.lines(), sep="\n", file=sys.stderr)
        raise SystemExit(error.exit_code) from error


def build(
    loaded: Loaded,
    shutdown: Shutdown,
    *,
    progress: bool = True,
    keep: bool = False,
    store: Store | None = None,
    place: Place = ALONE,
    followers: Sequence[ResultFollowing] = (),
    from_earliest: bool = False,
) -> Dataflow:
    """Return the dataflow of a configuration.

    Parameters
    ----------
    loaded : Loaded
    shutdown : Shutdown
        Of the run.
    progress : bool
        Report the progress of a replay on standard error.
    keep : bool
        The run has a recovery store: a stop is a pause, not the end of the data.
    store : Store, optional
        That store, where its folder is known: one of another configuration is refused.
    place : Place
        Of this process in a cluster.
    followers : sequence of ResultFollowing
        That read the result files, for the history or a topic; their owner lets them finish.
    from_earliest : bool
        Go on behind offsets of a topic that were deleted, and count them.

    Raises
    ------
    InUseError, RecordingsError
        The output folder, recovery store, exporter port, tape or a recording cannot be used.
    TopicError, TopicStoppedError
        A topic lacks a selected partition, or had another number of them; a stop was requested
        before it was there.
    FirstPassError, FirstPassStoppedError
        The first of two passes failed, or was stopped.
    """
    cfg = loaded.config
    preflight(cfg)
    recordings(cfg)
    known = None
    if cfg.mode == "hindsight":
        known, loaded = hindsight(loaded, stations, shutdown, progress=progress, keep=keep)
    if store is not None:
        store.refuse_others(loaded.fingerprint)
    host = HostClock()
    topic = _topic(loaded, shutdown, progress, keep, from_earliest)
    if topic is not None and store is not None:
        topic.refuse_others(store.inputs())
    source = topic or _source(loaded, shutdown, progress, host, keep)
    dataflow = Dataflow("lumen")
    received: KeyedStream[Any] = op.input("receive", dataflow, source)
    station = partial(step, fingerprint=loaded.fingerprint, keep=keep)
    evidenced = stations(received, station, Settings.of(cfg, loaded.rules), known=known)
    rigs = rigs_of(cfg)
    conductor = conducted(cfg, host, f"{Port.__module__}:{Port.__qualname__}")
    destinations = played(cfg, Port, conductor.senders if conductor else None)
    packets = packet_senders(cfg, host)
    exporters = _served(cfg, rigs, host, place, conductor)
    discovery = _discovered(cfg, place, destinations)
    output = Output(
        cfg,
        rigs,
        loaded.path,
        loaded.fingerprint,
        keep,
        consumers=[
            each
            for each in (
                discovery,
                *exporters,
                destinations,
                packets,
                state_file(cfg),
                conductor,
                *followers,
            )
            if each is not None
        ],
        remarks=remarks_on,
        messages_lost=aside.lost,
        topic=topic.shown if topic is not None else None,
    )
    shutdown.at_abort(output.abort)
    op.output("sinks", evidenced, output)
    return dataflow


def followed(config: Config) -> list[ResultFollowing]:
    """Return the followers of the results: of the history, and of each topic.

    Raises
    ------
    HistoryError, SecurityFileError
        The store is foreign, newer or damaged; the security file of a topic cannot be used.
    """
    found: list[ResultFollowing] = []
    if config.store is not None:
        from sinks.history.following import Following  # only with a store

        found.append(Following(config, config.store))
    if topics_of(config):
        from sinks.kafka.topic_following import followings  # only with a topic

        found += followings(config)
    return found


def _topic(
    loaded: Loaded, shutdown: Shutdown, progress: bool, recovering: bool, from_earliest: bool
) -> TopicReplay | None:
    """Return the topic as source, once it is there; None where none is configured."""
    if loaded.config.topic is None:
        return None
    from sources.kafka.topic_replay import TopicReplay  # only with the extra

    return TopicReplay(
        loaded.config,
        progress,
        recovering=recovering,
        shutdown=shutdown,
        from_earliest=from_earliest,
    )


def _source(
    loaded: Loaded, shutdown: Shutdown, progress: bool, host: HostClock, recovering: bool
) -> Source[tuple[str, Batch]]:
    """Return the source of the flow: recordings, or the live streams."""
    if not loaded.config.live:
        heading = HEADINGS[1] if loaded.config.mode == "hindsight" else ""
        replay = Replay(loaded.config, progress, heading, recovering=recovering, shutdown=shutdown)
        if replay.undealt:
            print(f"lumen: one process reads all recordings: {replay.undealt}", file=sys.stderr)
        return replay
    from sources.live import live  # a replay needs neither sockets nor ports

    live.preflight(loaded.config)
    return live.Live(
        loaded.config, loaded.fingerprint, host, recovering=recovering, shutdown=shutdown
    )


def _served(
    config: Config,
    rigs: tuple[str, ...],
    host: HostClock,
    place: Place,
    conductor: Conductor | None,
) -> list[Server]:
    """Return the exporters that are configured; each process has ports of its own."""
    if config.exporter is None and not (config.bridge and config.bridge.exporter):
        return []
    from sinks.exporter.server import all_served  # only with an exporter
    from sources.osc.udp import listener

    played = conductor.played if conductor is not None else None
    board = LiveState(config, rigs, wall=host, played=played)
    return all_served(config, board, listener, _PORTS_APART * place.number)


def _discovered(config: Config, place: Place, destinations: Send | None) -> Discovery | None:
    """Return the discovery that is configured; of several processes, the first one has it."""
    if config.discovery is None or place.number:
        return None
    from sinks.discovery.discovery import discovered  # only with a discovery
    from sources.osc.udp import listener

    newest = destinations.newest if destinations is not None else {}
    return discovered(config, lambda: newest, listener)
