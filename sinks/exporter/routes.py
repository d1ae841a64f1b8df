"""HTTP routes: pure functions from (method, path, query) to a response, without sockets.

| path | |
|---|---|
| `exporter.path` | the metrics |
| `bridge.exporter.path` | those of the bridge, if there is one |
| `/healthz` | the process lives |
| `/readyz` | data are fresh, else 503; then the rigs without a comparison |
| `/evidence/bundle` | findings since the start, a page at a time |
| `/state` | the state for the live page; with `since`, also the history of one `rig` |
| `/` | the live page |
| `/page/...` | its style and modules |
| `/v1/...` | the read-only API: see `sinks.exporter.api.resources` |

Other paths are 404, methods other than GET and HEAD 405, unknown Host headers 421. The port of the
bridge has its metrics, `/healthz` and `/readyz` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlencode

from sinks.exporter.answers import (
    HEADERS,
    JSON,
    LINES,
    Answer,
    Request,
    asked,
    numbers,
    text_answer,
)
from sinks.exporter.api.resources import PREFIX, ApiRoutes
from sinks.exporter.hosts import GUARD
from sinks.exporter.live_state import LiveState
from sinks.exporter.metrics import CONTENT_TYPE, MetricsPage
from sinks.exporter.state_json import state

Handler: TypeAlias = Callable[[Request], Answer]
MAX_FINDINGS, DEFAULT_FINDINGS = 1_000, 100
"""Findings a page."""
BUNDLE = "/evidence/bundle"
_LIVE = Path(__file__).with_name("page")
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_POLICY = (
    "default-src 'none'; connect-src 'self'; style-src 'self'; script-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class RouteTable:
    """Routes by path.

    Attributes
    ----------
    shown : tuple of str
        Path and name of the first page, for the line at the start.
    part : str
        Part of the configuration that has the port.
    remedy : str
        Settings that keep other machines out.
    """

    shown = "/", "look"
    part, remedy = "exporter", GUARD

    def __init__(self) -> None:
        self.routes: dict[str, Handler] = {"/healthz": _health}
        self.api: ApiRoutes | None = None

    def close(self) -> None:
        """Close the connections to the history."""
        if self.api is not None:
            self.api.close()

    def answer(self, method: str, path: str, query: str, accept: str = "") -> Answer:
        """Return the response, that of HEAD with its body; never raises."""
        found = self.routes.get(path)
        if found is None:
            status, headers, body = text_answer(404, "There is no such page.")
        elif method not in ("GET", "HEAD"):
            status, headers, body = text_answer(
                405, "Only GET and HEAD are answered.", Allow="GET, HEAD"
            )
        else:
            status, headers, body = found(Request(query, accept))
        return status, HEADERS | headers, body


class MetricsRoutes(RouteTable):
    """Pages of metrics, and whether the run lives and its data are fresh.

    Parameters
    ----------
    board : LiveState
    metrics : mapping
        Callables that return a page of metrics, by path.
    """

    def __init__(self, board: LiveState, metrics: Mapping[str, Callable[[], bytes]]) -> None:
        super().__init__()
        self._board = board
        self.routes |= {path: _metrics(text) for path, text in metrics.items()}
        self.routes["/readyz"] = self._ready
        self.shown = next(iter(metrics), "/readyz"), "metrics"

    def _ready(self, request: Request) -> Answer:
        why = self._board.stale()
        if why:
            return text_answer(503, f"not ready: {why}")
        return text_answer(200, "\n".join(("ready", *self._board.uncompared())))


class Routes(MetricsRoutes):
    """All pages of a run.

    Parameters
    ----------
    path : str
        Of the metrics.
    board : LiveState
    more : mapping, optional
        Further pages of metrics.
    api : ApiRoutes, optional
        The read-only API.
    """

    def __init__(
        self,
        path: str,
        board: LiveState,
        more: Mapping[str, Callable[[], bytes]] | None = None,
        api: ApiRoutes | None = None,
    ) -> None:
        super().__init__(board, {path: MetricsPage(board).text, **(more or {})})
        self.shown = RouteTable.shown
        self.api = api
        if api is not None:
            self.routes |= api.routes
        self.routes |= {
            BUNDLE: self._bundle,
            "/state": self._state,
            "/": _file(
                "index.html", "text/html; charset=utf-8", {"Content-Security-Policy": _POLICY}
            ),
        }
        for file in sorted(_LIVE.iterdir()):
            if file.suffix in _TYPES:
                self.routes[f"/page/{file.name}"] = _file(file.name, _TYPES[file.suffix], {})

    def _bundle(self, request: Request) -> Answer:
        try:
            given = numbers(asked(request.query, "since", "after", "limit"))
            since, after = given.get("since", -1e15), given.get("after", -1.0)
            limit = given.get("limit", float(DEFAULT_FINDINGS))
            if not (1 <= limit <= MAX_FINDINGS and limit.is_integer()):
                raise ValueError(f"limit has to be a whole number from 1 to {MAX_FINDINGS}")
            if not (-1 <= after <= 1e15 and after.is_integer()):
                raise ValueError("after has to be a whole number, from a Link")
        except ValueError as error:
            return text_answer(400, f"{error}.")
        found, more = self._board.found(since, int(after), int(limit))
        headers = {"Content-Type": LINES}
        if more:
            again = {"since": repr(given["since"])} if "since" in given else {}
            on = urlencode({**again, "after": found[-1].number, "limit": int(limit)})
            headers["Link"] = f'<{BUNDLE}?{on}>; rel="next"'
        return 200, headers, b"".join(finding.line for finding in found)

    def _state(self, request: Request) -> Answer:
        try:
            given = asked(request.query, "rig", "since")
            rig = given.pop("rig", None)
            since = numbers(given).get("since")
            if since is not None and not (0 <= since <= 1e15 and since.is_integer()):
                raise ValueError("since has to be a whole number, a former `version`")
        except ValueError as error:
            return text_answer(400, f"{error}.")
        if rig is not None and rig not in self._board.panels:
            return text_answer(404, "There is no such rig; `names` lists the rigs.")
        body = state(self._board, rig, None if since is None else int(since))
        return 200, {"Content-Type": JSON}, body


class HistoryRoutes(RouteTable):
    """The read-only API without a flow; ready while the history answers.

    Parameters
    ----------
    api : ApiRoutes
    """

    def __init__(self, api: ApiRoutes) -> None:
        super().__init__()
        self.api, self.shown = api, (f"{PREFIX}rigs", "history")
        self.routes |= {**api.routes, "/readyz": partial(_answering, api)}


def _health(request: Request) -> Answer:
    return text_answer(200, "ok")


def _answering(api: ApiRoutes, request: Request) -> Answer:
    why = api.away()
    return text_answer(503, f"not ready: {why}") if why else text_answer(200, "ready")


def busy() -> Answer:
    """Return the response of the API while too many responses are unread."""
    status, headers, body = text_answer(503, "Other clients are slow: ask later.", Retry_After="2")
    return status, HEADERS | headers, body


def misdirected(part: str = RouteTable.part) -> Answer:
    """Return the response to a request with an unknown Host header."""
    status, headers, body = text_answer(
        421, f"This host name is not served: name it in {part}.allow_hosts, or use the address."
    )
    return status, HEADERS | headers, body


def _metrics(text: Callable[[], bytes]) -> Handler:
    """Return a handler for a page of metrics."""
    return lambda request: (200, {"Content-Type": CONTENT_TYPE}, text())


def _file(name: str, kind: str, headers: dict[str, str]) -> Handler:
    """Return a handler for a file of the live page, as read at the start."""
    answer = 200, {"Content-Type": kind, **headers}, (_LIVE / name).read_bytes()
    return lambda request: answer
