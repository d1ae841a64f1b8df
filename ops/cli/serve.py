"""`lumen serve`: the read-only API of a configuration's history, without a flow."""

from __future__ import annotations

import argparse
import sys

from msgspec.structs import replace

from configs.load import load
from configs.outputs import ExporterConfig
from operators.errors import ToolError
from sinks.exporter.api.resources import ApiRoutes
from sinks.exporter.routes import HistoryRoutes
from sinks.exporter.server import Server, bound
from sources.host.signal_shutdown import SignalShutdown
from sources.osc.udp import listener


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen serve`."""
    parser.add_argument("config", metavar="CONFIG", help="a configuration with `store`")
    parser.add_argument(
        "--port",
        type=int,
        metavar="N",
        help="TCP port; default exporter.http_port, which a run on this machine has too",
    )


def main(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C; return 0.

    Raises
    ------
    ToolError
        The configuration has no store, or the port is none.
    HttpPortError
        The port is taken.
    TokenFileError
        The token file cannot be used.
    """
    config = load(args.config).config
    if config.store is None:
        raise ToolError(f"{args.config} has no key store: there is no history to serve")
    exporter = config.exporter or ExporterConfig()
    if args.port is not None:
        if not 1 <= args.port <= 65535:
            raise ToolError("--port has to be from 1 to 65535")
        exporter = replace(exporter, http_port=args.port)
    api = ApiRoutes(config)
    if why := api.away():
        print(f"lumen serve: {why} (503 until it does)", file=sys.stderr)
    bound(exporter, listener).close()
    server = Server(exporter, None, listener, HistoryRoutes(api))
    with SignalShutdown() as shutdown:
        shutdown.start()
        server.start()
        shutdown.event.wait()
        server.stop()
    return 0
