"""`lumen record`: the live streams of a configuration, to a tape only.

The tape equals that of a live run with a tap. `lumen replay` plays it, and so does the
configuration itself with its streams replaced by the tape. With `--to kafka` the tape is sent to
a topic as well, as the edge of a cluster.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from configs.extras import missing
from configs.files import ACCESS
from configs.kafka_cluster import properties_of
from configs.load import load
from configs.outputs import TapConfig
from configs.schema import Config
from operators.errors import ToolError
from operators.events import Batch
from ops.cli.run import remark
from ops.text.table import table
from sources.host import stderr as aside
from sources.host.shutdown import Shutdown
from sources.host.signal_shutdown import SignalShutdown
from sources.live import LivePartition, preflight
from sources.tape.writer import TapError

if TYPE_CHECKING:
    from ops.edge.publisher import Publisher

_POLL_S = 0.01
_EXAMPLE = 'tap: {dir: tap, kafka: {brokers: ["127.0.0.1:9092"], topic: lumen.events}}'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen record`."""
    parser.add_argument(
        "config", type=Path, metavar="CONFIG", help="a configuration with live streams"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the tapes; default tap.dir of the configuration, else 'tap'",
    )
    parser.add_argument(
        "--to",
        choices=("kafka",),
        help="send the tape to the topic of tap.kafka as well, unsent rests of earlier tapes first",
    )
    parser.add_argument(
        "--seconds", type=float, default=math.inf, metavar="N", help="until Ctrl-C by default"
    )


class Count:
    """Received events by channel, and rejected events by source and reason.

    Attributes
    ----------
    sent : str
        What was sent of the tape, a line; empty where it is not sent.
    """

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.sent = ""

    def add(self, batch: Batch) -> None:
        """Count a batch."""
        names = batch.name[batch.name >= 0]
        for i, n in enumerate(np.bincount(names, minlength=1).tolist()):
            if n:
                self.events[":".join(batch.names[i])] += n
        for reject in batch.rejects:
            self.rejected[f"{reject.source}: {reject.reason}"] += reject.count

    def lines(self) -> str:
        """Return the counts as a table."""
        rows = [(channel, str(n)) for channel, n in sorted(self.events.items())]
        rows += [(f"not used: {why}", str(n)) for why, n in sorted(self.rejected.items())]
        return table(("channel", "events"), rows) if rows else "No event was received."


def record(
    path: Path,
    shutdown: Shutdown,
    out: Path | None = None,
    seconds: float = math.inf,
    show: Callable[[str], object] = lambda line: None,
    to: Literal["kafka"] | None = None,
) -> tuple[Path | None, Count]:
    """Record until the time is over or a stop is requested.

    Parameters
    ----------
    path : Path
        A configuration with live streams.
    shutdown : Shutdown
        Of the run.
    out : Path, optional
        Folder of the tapes.
    seconds : float
    show : callable
        Called with a line once the streams are open.
    to : "kafka", optional
        Where the tape is sent as well.

    Returns
    -------
    Path
        The tape.
    Count
        Its events.

    Raises
    ------
    ConfigError, InUseError
        The configuration is faulty; a port or the folder is another run's, or the tape cannot be
        written.
    ToolError
        The configuration has no live stream, or no topic for the tape.
    """
    loaded = load(path)
    if not loaded.config.live:
        raise ToolError(f"{path}: no live stream")
    tap = loaded.config.tap or TapConfig(dir="tap")
    tap = msgspec.structs.replace(tap, dir=str(out)) if out else tap
    _check(path, tap, to)
    # Without a bridge there are no commands, and no socket for them.
    config = msgspec.structs.replace(loaded.config, tap=tap, bridge=None)
    preflight(config)
    shutdown.start("Ctrl-C: the tape ends here; again to end at once")
    count, end = Count(), time.monotonic() + seconds
    try:
        partition = LivePartition(config, loaded.fingerprint, shutdown=shutdown)
        tape = partition.tape
        publisher = None
        try:
            if to and tape:
                publisher = _published(config, tape, show)
            show(f"recording to {tape}")
            while True:
                for _, batch in partition.next_batch():
                    count.add(batch)
                if time.monotonic() >= end:
                    shutdown.request()
                time.sleep(_POLL_S)
        except StopIteration:
            return tape, count
        finally:
            partition.close()
            if publisher is not None:
                publisher.finish()
                count.sent = publisher.summary()
    except OSError as error:
        raise TapError(str(error)) from error


def _check(path: Path, tap: TapConfig, to: str | None) -> None:
    """Refuse a topic that is not stated, or that cannot be sent to, before the start."""
    if to is None:
        return
    if tap.kafka is None:
        raise ToolError(f"{path}: --to kafka needs tap.kafka, such as {_EXAMPLE}")
    if remedy := missing("kafka"):
        raise ToolError(f"{path}: {remedy}")
    if tap.kafka.security is not None:
        properties_of(tap.kafka.security.file)


def _published(config: Config, tape: Path, show: Callable[[str], object]) -> Publisher:
    """Return the started publisher of a tape without events."""
    from ops.edge.publisher import Publisher  # an extra

    assert config.tap is not None
    assert config.tap.kafka is not None
    publisher = Publisher(config.tap.kafka, tape, show, ACCESS[config.output.mode])
    publisher.start()
    return publisher


def main(args: argparse.Namespace) -> int:
    """Record, and print the counts and the path of the tape."""
    aside.install()
    try:
        with SignalShutdown() as shutdown:
            tape, count = record(args.config, shutdown, args.out, args.seconds, remark, to=args.to)
    finally:
        aside.uninstall()
    sent = f"{count.sent}\n\n" if count.sent else ""
    print(f"{count.lines()}\n\n{sent}{tape}\n  lumen replay {tape}")
    return 0
